"""Stages: small films in large batches first, then the searched size and batch (Howard's progressive resizing, fast.ai 2018)."""

import math

from ceph_core.config import Config, ScheduleConfig, Stage
from ceph_core.config.data import SIZE_STEP


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
    """A run that is this stage from beginning to end: its size, its batch, all films, no other stages or sizes."""
    size, batch = stage_size(config.data.image_size, stage.size), stage_batch(config.train.batch_size, stage.batch)
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"image_size": size}),
            "train": config.train.model_copy(update={"batch_size": batch}),
            "schedule": ScheduleConfig(),
            "curriculum": config.curriculum.model_copy(update={"difficulty": "off", "csv": None}),
        }
    )


def epoch_of_share(share: float, epochs: int) -> int:
    """The epoch of a run by whose end this share of it is over."""
    # A hair of slack: 0.1 * 30 computed as 3.0000000000000004 must not become 4.
    return max(1, math.ceil(share * epochs - 1e-9))
