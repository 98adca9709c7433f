"""What each epoch trains on: a pure function of configuration, epoch and feedback.  The trainer carries plans out.

Each technique shapes the plan in a file of its own: stages (progressive.py), drawn sizes (multi_scale.py), easy films first
(curriculum.py), attention to hard landmarks (hard_landmarks.py).
"""

from dataclasses import dataclass

import numpy as np

from ceph_core.config import Config
from ceph_core.training import curriculum, hard_landmarks
from ceph_core.training.curriculum import share_admitted
from ceph_core.training.feedback import Feedback
from ceph_core.training.multi_scale import mean_area, step_sizes
from ceph_core.training.progressive import epoch_of_share, stage_at, stage_batch, stage_size


@dataclass(frozen=True)
class EpochPlan:
    """One epoch.

    Attributes:
        size: long side of the stage's input, px, at which the epoch is validated.
        step_sizes: long side of each step's films, px.
        batch: films a step.
        micro_batch: films on the device at once.
        checkpoints: whether activations are computed again for the gradient.
        frozen_norm: whether batch norms keep their statistics.
        film_ids: films in the order they are shown.
        landmark_weights: (K,) weight of each landmark in the loss.
        sigma_px: (K,) standard deviation of each target, px of an input of `size`.
        validates: whether the epoch ends with a validation.
        watches_landmarks: whether the training answers are compared with their targets.
        watches_films: whether the epoch ends with each training film's loss.
    """

    size: int
    step_sizes: tuple[int, ...]
    batch: int
    micro_batch: int
    checkpoints: bool
    frozen_norm: bool
    film_ids: tuple[str, ...]
    landmark_weights: tuple[float, ...]
    sigma_px: tuple[float, ...]
    validates: bool
    watches_landmarks: bool
    watches_films: bool

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the epoch; a last, smaller batch counts."""
        return len(self.step_sizes)


def plan(config: Config, epoch: int, feedback: Feedback) -> EpochPlan:
    """The plan of one epoch, counted from 1."""
    stage = stage_at(config, epoch)
    size = stage_size(config.data.image_size, stage.size)
    places = curriculum.admitted(config, epoch, len(feedback.film_ids), feedback.difficulty)
    shown = places[np.random.default_rng((config.train.seed, epoch)).permutation(len(places))]
    batch = min(stage_batch(config.train.batch_size, stage.batch), len(shown))
    limits = [limit for limit in (config.train.micro_batch, feedback.micro_batch) if limit is not None]
    widened = hard_landmarks.widening(config, epoch, feedback.num_landmarks, feedback.landmark_error)
    factors = feedback.sigma_factors or (1.0,) * feedback.num_landmarks
    return EpochPlan(
        size=size,
        step_sizes=step_sizes(config.schedule, config.train.seed, epoch, size, -(-len(shown) // batch)),
        batch=batch,
        micro_batch=min([batch, *limits]),
        checkpoints=config.train.checkpoint_activations or feedback.checkpoints,
        frozen_norm=_is_frozen(config, epoch),
        film_ids=tuple(feedback.film_ids[place] for place in shown),
        landmark_weights=hard_landmarks.weights(config, epoch, feedback.num_landmarks, feedback.landmark_error),
        sigma_px=tuple(config.heatmap.sigma_rel * size * fixed * wide for fixed, wide in zip(factors, widened, strict=True)),
        validates=is_validated(config, epoch, feedback.marks),
        watches_landmarks=config.hard_landmarks.is_on,
        watches_films=curriculum.measures_losses(config, epoch),
    )


def relative_cost(config: Config, epoch: int) -> float:
    """What an epoch is expected to cost, over one that shows all films at the searched size: cost follows films and area."""
    size = stage_size(config.data.image_size, stage_at(config, epoch).size)
    films = share_admitted(config.curriculum, epoch, config.train.epochs)
    return (size / config.data.image_size) ** 2 * mean_area(config, size) * films


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


def _is_frozen(config: Config, epoch: int) -> bool:
    if config.model.norm != "frozen":
        return False
    return config.model.pretrained is not False or epoch > config.model.norm_frozen_after * config.train.epochs
