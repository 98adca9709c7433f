"""Multi-scale training: the size of an epoch or of a batch is drawn from a list of shares of the stage's size."""

from math import fsum

import numpy as np

from ceph_core.config import Config, ScheduleConfig
from ceph_core.training.progressive import stage_size

_PURPOSE = 7  # keeps these draws apart from the order's, which hangs on the same seed and epoch


def step_sizes(schedule: ScheduleConfig, seed: int, epoch: int, size: int, num_steps: int) -> tuple[int, ...]:
    """Long side of each step's films, px: a function of seed and epoch alone."""
    if len(schedule.scales) == 1:
        return (stage_size(size, schedule.scales[0]),) * num_steps
    random = np.random.default_rng((seed, epoch, _PURPOSE))
    draws = random.integers(len(schedule.scales), size=num_steps if schedule.draw == "batch" else 1)
    drawn = tuple(stage_size(size, schedule.scales[draw]) for draw in draws)
    return drawn if schedule.draw == "batch" else drawn * num_steps


def mean_area(config: Config, size: int) -> float:
    """Mean area of the sizes that may be drawn, over that of `size`."""
    scales = config.schedule.scales
    return fsum((stage_size(size, scale) / size) ** 2 for scale in scales) / len(scales)


def sizes(config: Config) -> tuple[int, ...]:
    """Every long side that a run may show or be validated at, px, ascending."""
    nominal = {stage_size(config.data.image_size, stage.size) for stage in config.schedule.stages}
    return tuple(sorted(nominal | {stage_size(size, scale) for size in nominal for scale in config.schedule.scales}))
