"""What each epoch trains on: a pure function of configuration, epoch and feedback.  The trainer carries plans out."""

import math
from dataclasses import dataclass

import numpy as np

from ceph_core.config import Config, ScheduleConfig, Stage
from ceph_core.config.data import SIZE_STEP


@dataclass(frozen=True)
class Feedback:
    """What a plan may look at besides the configuration.

    Attributes:
        film_ids: training films, in data-set order.
        num_landmarks: K.
        marks: shares of the run at which trials are compared (rungs).
    """

    film_ids: tuple[str, ...]
    num_landmarks: int
    marks: tuple[float, ...] = ()


@dataclass(frozen=True)
class EpochPlan:
    """One epoch.

    Attributes:
        size: long side of the input, px.
        batch: films a step.
        micro_batch: films on the device at once.
        film_ids: films in the order they are shown.
        landmark_weights: (K,) weight of each landmark in the loss.
        sigma_px: (K,) standard deviation of each target, input px.
        validates: whether the epoch ends with a validation.
    """

    size: int
    batch: int
    micro_batch: int
    film_ids: tuple[str, ...]
    landmark_weights: tuple[float, ...]
    sigma_px: tuple[float, ...]
    validates: bool

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the epoch; a last, smaller batch counts."""
        return -(-len(self.film_ids) // self.batch)


def stage_size(image_size: int, ratio: float) -> int:
    """A share of the image size on the grid of 32 px, at least 64."""
    return max(2 * SIZE_STEP, round(image_size * ratio / SIZE_STEP) * SIZE_STEP)


def stage_batch(batch_size: int, multiple: float) -> int:
    """A multiple of the batch, at least one film."""
    return max(1, round(batch_size * multiple))


def stage_at(config: Config, epoch: int) -> Stage:
    """The stage that epoch (from 1) belongs to; borders are rounded to whole epochs, the last epoch is always of the last stage."""
    *earlier, last = config.schedule.stages
    share = 0.0
    for stage in earlier:
        share += stage.epochs
        if epoch <= min(round(share * config.train.epochs), config.train.epochs - 1):
            return stage
    return last


def largest_batch(config: Config) -> int:
    """Films of the largest step of any stage."""
    return max(stage_batch(config.train.batch_size, stage.batch) for stage in config.schedule.stages)


def stage_alone(config: Config, stage: Stage) -> Config:
    """A run that is this stage from beginning to end: its size, its batch, no other stages."""
    size, batch = stage_size(config.data.image_size, stage.size), stage_batch(config.train.batch_size, stage.batch)
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"image_size": size}),
            "train": config.train.model_copy(update={"batch_size": batch}),
            "schedule": ScheduleConfig(),
        }
    )


def plan(config: Config, epoch: int, feedback: Feedback) -> EpochPlan:
    """The plan of one epoch, counted from 1."""
    stage = stage_at(config, epoch)
    size = stage_size(config.data.image_size, stage.size)
    batch = stage_batch(config.train.batch_size, stage.batch)
    order = np.random.default_rng((config.train.seed, epoch)).permutation(len(feedback.film_ids))
    return EpochPlan(
        size=size,
        batch=batch,
        micro_batch=min(config.train.micro_batch or batch, batch),
        film_ids=tuple(feedback.film_ids[i] for i in order),
        landmark_weights=(1.0,) * feedback.num_landmarks,
        sigma_px=(config.heatmap.sigma_rel * size,) * feedback.num_landmarks,
        validates=is_validated(config, epoch, feedback.marks),
    )


def epoch_of_share(share: float, epochs: int) -> int:
    """The epoch of a run by whose end this share of it is over."""
    # A hair of slack: 0.1 * 30 computed as 3.0000000000000004 must not become 4.
    return max(1, math.ceil(share * epochs - 1e-9))


def is_validated(config: Config, epoch: int, marks: tuple[float, ...] = ()) -> bool:
    """Whether an epoch is validated: so many spread evenly over the run, the last one, and those at which trials are compared."""
    epochs = config.train.epochs
    wanted = min(config.train.validations, epochs)
    in_turn = epoch * wanted // epochs > (epoch - 1) * wanted // epochs
    return in_turn or epoch == epochs or epoch in {epoch_of_share(share, epochs) for share in marks}


def learning_rate(config: Config, progress_epochs: float) -> float:
    """Rate after so many epochs (fractions count): linear warm-up, then half a cosine to zero (Loshchilov & Hutter, ICLR 2017, eq. 5)."""
    train = config.train
    warmup = min(train.resolved_warmup(), float(train.epochs))
    if progress_epochs < warmup:
        return train.lr * progress_epochs / warmup
    share = (progress_epochs - warmup) / max(train.epochs - warmup, 1e-9)
    return float(train.lr * 0.5 * (1 + np.cos(np.pi * min(share, 1.0))))
