"""Time: what an epoch costs, measured; what the rest of a run will take; when a search must end so that promotion can finish.  Pure."""

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from ceph_core.config import Config
from ceph_core.training.curriculum import share_admitted
from ceph_core.training.plan import relative_cost

FINISH_S = 90.0
"""Seconds kept for selection, test, export and report beside the candidates' training."""

_SAFETY = 1.15
"""Estimates of remaining training are taken this much longer: other trials, other loads."""


@dataclass
class EpochCost:
    """Seconds an epoch, from reports: proportional to input area and share of the films shown, one constant (the median) a network."""

    # Kept in order: the live view asks for estimates many times a second, of every trial.
    _per_area: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _areas: dict[tuple[object, ...], tuple[int, ...]] = field(default_factory=dict)

    def observe(self, config: Config, epoch: int, image_size: int, seconds: float) -> None:
        """An epoch of `config` at `image_size` took so long."""
        if seconds > 0:
            films = share_admitted(config.curriculum, epoch, config.train.epochs)
            insort(self._per_area[config.model.name], seconds / (image_size**2 * films))

    def seconds(self, config: Config, from_epoch: int = 0, to_epoch: int | None = None) -> float | None:
        """Estimate of epochs from_epoch + 1 ... to_epoch (default: the end); None before anything was measured.

        A network not measured yet is taken as the slowest that was.
        """
        return self.seconds_of(config.model.name, self.area(config, from_epoch, to_epoch))

    def seconds_of(self, network: str, area_px: int) -> float | None:
        """Estimate of epochs whose inputs have this area in all (see `area`)."""
        if not self._per_area:
            return None
        constants = {name: values[len(values) // 2] for name, values in self._per_area.items()}
        return constants.get(network, max(constants.values())) * area_px

    def area(self, config: Config, from_epoch: int = 0, to_epoch: int | None = None) -> int:
        """Squares of the input's long side, px, added up over epochs from_epoch + 1 ... to_epoch (default: the end).

        An epoch that shows a share of the films counts that share.
        """
        size, epochs = config.data.image_size, config.train.epochs
        key = (size, epochs, config.schedule, config.curriculum)
        upto = self._areas.get(key)
        if upto is None:
            each = (round(size**2 * relative_cost(config, epoch)) for epoch in range(1, epochs + 1))
            upto = self._areas[key] = tuple(accumulate(each, initial=0))
        return max(0, upto[epochs if to_epoch is None else to_epoch] - upto[from_epoch])


@dataclass(frozen=True)
class Timetable:
    """When things must happen, in seconds since the run began (time without a driver does not count).

    Attributes:
        total_s: everything up to the exported ensemble; infinite without a limit.
        share: most of `total_s` that promotion may take.
    """

    total_s: float
    share: float

    def search_end_s(self, promotion_s: float | None) -> float:
        """When the search must stop so that a promotion of `promotion_s` (None: not known yet) still fits."""
        if math.isinf(self.total_s):
            return math.inf
        most = self.share * self.total_s
        needed = most if promotion_s is None else min(most, promotion_s * _SAFETY + FINISH_S)
        return self.total_s - needed

    def jobs_end_s(self) -> float:
        """When promotion's trainings must stop so that selection, test and export still fit."""
        return self.total_s - FINISH_S


def makespan_s(jobs_s: Sequence[float], workers: int) -> float:
    """Wall time of jobs on so many workers, the longest first."""
    free = [0.0] * max(1, workers)
    for job in sorted(jobs_s, reverse=True):
        place = free.index(min(free))
        free[place] += job
    return max(free)
