"""Time: what an epoch costs, measured; what the rest of a run will take; when a search must end so that promotion can finish.  Pure."""

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from ceph_core.config import Config
from ceph_core.training.curriculum import share_admitted
from ceph_core.training.multi_scale import mean_area
from ceph_core.training.plan import is_validated
from ceph_core.training.progressive import stage_at, stage_batch, stage_size

Floats = NDArray[np.float64]
Network = tuple[str, int, bool]
"""Network, stride of its head, whether activations are computed again: what an epoch's constants hang on."""

FINISH_S = 90.0
"""Seconds kept for selection, test, export and report beside the candidates' training."""

_SAFETY = 1.15
"""Estimates of remaining training are taken this much longer: other trials, other loads."""

_PARTS = 5
"""An epoch's cost: film area trained on, steps, area validated on, the first epoch of a stage, and every epoch's own."""
_SAME = 0.1
"""Variance of what the parts do not explain, over that of one epoch measured twice."""
_PRIOR = 0.1
"""How much all parts but the film area are drawn to nothing, over the variance of one epoch measured twice."""


@dataclass
class EpochCost:
    """Seconds an epoch, from reports: a constant a network for each of its parts, none below 0.

    What no report tells apart is put down to film area.  Epochs alike count by their median, and all by their relative error.

    Attributes:
        marks: shares of a training after which it is validated in any case.
    """

    marks: tuple[float, ...] = ()
    # Kept up to date: the live view asks for estimates many times a second, of every trial.
    _measured: dict[Network, dict[tuple[float, ...], list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    _constants: dict[Network, Floats] = field(default_factory=dict)
    _stale: set[Network] = field(default_factory=set)
    _parts_upto: dict[tuple[object, ...], Floats] = field(default_factory=dict)

    def observe(self, config: Config, epoch: int, image_size: int, seconds: float, micro_batch: int | None = None) -> None:
        """An epoch of `config` at `image_size` took so long, with so many films at once (None: as configured)."""
        if seconds > 0:
            network = network_of(config)
            insort(self._measured[network][self._parts(config, epoch, image_size, micro_batch)], seconds)
            self._stale.add(network)

    def seconds(self, config: Config, from_epoch: int = 0, to_epoch: int | None = None) -> float | None:
        """Estimate of epochs from_epoch + 1 ... to_epoch (default: the end); None before anything was measured.

        A network not measured yet is taken as the slowest that was.
        """
        return self.seconds_of(network_of(config), self.parts(config, from_epoch, to_epoch))

    def seconds_of(self, network: Network, parts: Floats) -> float | None:
        """Estimate of epochs that come to these parts in all (see `parts`)."""
        if not self._measured:
            return None
        for stale in self._stale:
            self._constants[stale] = _fitted(self._measured[stale])
        self._stale.clear()
        if network in self._constants:
            return float(self._constants[network] @ parts)
        return max(float(constants @ parts) for constants in self._constants.values())

    def whole_by_own(self, config: Config, epoch: int, seconds: float) -> float:
        """Estimate of a whole training by its own epochs alone, of which the first `epoch` took so long: time follows film area."""
        return seconds * float(self.parts(config)[0] / self.parts(config, 0, epoch)[0])

    def parts(self, config: Config, from_epoch: int = 0, to_epoch: int | None = None) -> Floats:
        """(5,) what epochs from_epoch + 1 ... to_epoch (default: the end) come to of each part of a cost."""
        train = config.train
        key = (
            config.data,
            config.schedule,
            config.curriculum,
            train.epochs,
            train.batch_size,
            train.micro_batch,
            train.validations,
        )
        upto = self._parts_upto.get(key)
        if upto is None:
            each = [self._parts(config, epoch) for epoch in range(1, train.epochs + 1)]
            upto = self._parts_upto[key] = np.concatenate([np.zeros((1, _PARTS)), np.cumsum(each, axis=0)])
        found: Floats = upto[train.epochs if to_epoch is None else to_epoch] - upto[from_epoch]
        return np.clip(found, 0, None)

    def _parts(self, config: Config, epoch: int, image_size: int | None = None, micro_batch: int | None = None) -> tuple[float, ...]:
        stage = stage_at(config, epoch)
        size = image_size or stage_size(config.data.image_size, stage.size)
        films = share_admitted(config.curriculum, epoch, config.train.epochs)
        limits = [limit for limit in (config.train.micro_batch, micro_batch) if limit]
        at_once = min([stage_batch(config.train.batch_size, stage.batch), *limits])
        is_first = epoch == 1 or stage_at(config, epoch - 1) != stage
        passes = is_validated(config, epoch, self.marks) * (1 if config.data.zoom == 1 else 2)
        return (
            films * size**2 * mean_area(config, size),
            films / at_once,
            float(passes * size**2),
            float(is_first),
            1.0,
        )


def network_of(config: Config) -> Network:
    """What the constants of its epochs hang on."""
    return config.model.name, config.model.head_stride, config.train.checkpoint_activations


def _fitted(measured: dict[tuple[float, ...], list[float]]) -> Floats:
    """(5,) seconds a unit of each part: least squares of relative errors, none below 0."""
    parts = np.array(list(measured))
    seconds = np.array([times[len(times) // 2] for times in measured.values()])
    usual = np.maximum(parts.mean(axis=0), 1e-300)
    certain = 1 / np.sqrt(_SAME + 1 / np.array([len(times) for times in measured.values()]))
    rows = parts / usual / seconds[:, None] * seconds.mean() * certain[:, None]
    pull = math.sqrt(_PRIOR) * np.eye(_PARTS)[1:]
    shares, _ = nnls(np.concatenate([rows, pull]), np.concatenate([certain, np.zeros(_PARTS - 1)]))
    constants: Floats = shares * seconds.mean() / usual
    return constants


@dataclass(frozen=True)
class Timetable:
    """When things must happen, in seconds since the run began (time without a driver does not count).

    Attributes:
        total_s: everything up to the exported ensemble; infinite without a limit.
        share: most of `total_s` that promotion may take.
        final_share: most of promotion's time that is kept for the final networks.
        final_epochs: most epochs that a final network may have where its length is planned; infinite: as many as there is time for.
    """

    total_s: float
    share: float
    final_share: float = 0.0
    final_epochs: float = math.inf

    def search_end_s(self, promotion_s: float | None) -> float:
        """When the search must stop so that a promotion of `promotion_s` (None: not known yet) still fits."""
        if math.isinf(self.total_s):
            return math.inf
        most = self.share * self.total_s
        needed = most if promotion_s is None else min(most, promotion_s * _SAFETY + FINISH_S)
        return self.total_s - needed

    def confirmation_end_s(self, final_s: float) -> float:
        """When confirming trainings must stop so that final networks which take `final_s` still fit."""
        most = self.final_share * max(0.0, self.share * self.total_s - FINISH_S) if math.isfinite(self.total_s) else 0.0
        return self.jobs_end_s() - min(most, final_s * _SAFETY)

    def jobs_end_s(self) -> float:
        """When promotion's trainings must stop so that selection, test and export still fit."""
        return self.total_s - FINISH_S


def makespan_s(jobs_s: Sequence[float], workers: int) -> float:
    """Wall time of jobs on so many workers, the longest first."""
    return in_turn_s(sorted(jobs_s, reverse=True), workers)


def in_turn_s(jobs_s: Sequence[float], workers: int) -> float:
    """Wall time of jobs on so many workers, begun in this order."""
    free = [0.0] * max(1, workers)
    for job in jobs_s:
        place = free.index(min(free))
        free[place] += job
    return max(free)
