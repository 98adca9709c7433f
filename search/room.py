"""What fits on a trial's device: as far as its memory is known, and as trials that did not fit have shown.  Pure.

Memory rises with the network, the area of a film and the films at once.  Where a training ran out of it, every one that needs as much will.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ceph_core.check.memory import ALLOCATOR
from ceph_core.config import Config, apply
from search.memory_model import MemoryModel
from search.records.run import TrialHistory

_ONE_FILM = "with one film"
"""In what a training says that could not even train one film at once: then its batch is not to blame."""
_PROCESS_MB = 600.0
"""What a process takes of a GPU beside PyTorch's tensors: the CUDA context, kernels, libraries."""


@dataclass(frozen=True)
class Gpu:
    """One GPU: its name, its memory, and what of it nobody had taken, MB."""

    name: str
    total_mb: float
    free_mb: float


class Room:
    """The limits known so far.

    Args:
        gpus: that trials may be given; none: only failures tell.
        model: of the memory trainings need.
    """

    def __init__(self, gpus: Sequence[Gpu] = (), model: MemoryModel | None = None) -> None:
        self.gpus = tuple(gpus)
        self.model = model or MemoryModel()
        self._largest_mb = max((gpu.total_mb for gpu in gpus), default=math.inf)
        self._wanted, self._least = math.inf, math.inf

    def failed(self, config: Config, said: str) -> None:
        """A training of its own device ran out of memory and said so."""
        need = self.model.counted(config)
        if _ONE_FILM in said:
            self._least = min(self._least, need.least)
        else:
            self._wanted = min(self._wanted, need.wanted)

    def recall(self, past: Iterable[TrialHistory]) -> None:
        """Take over the peaks that trials of the records reported; doing so again changes nothing."""
        for told in past:
            config = Config.model_validate(told.trial["config"])
            for report in told.reports:
                self.observe(config, int(report["epoch"]), report.get("micro_batch"), report.get("peak_memory_mb"))

    def observe(self, config: Config, epoch: int, micro_batch: int | None, peak_mb: float | None) -> None:
        """The peak that a training reported; where no GPU is known it says nothing, for a process's memory outlives its trials."""
        if self.gpus and peak_mb is not None:
            self.model.observe(config, epoch, micro_batch, peak_mb)

    def fits(self, config: Config) -> bool:
        """Whether nothing that needed as little has failed, and some GPU may hold it, be it one film at a time."""
        if math.isfinite(self._wanted) or math.isfinite(self._least):
            need = self.model.counted(config)
            if need.wanted >= self._wanted or need.least >= self._least:
                return False
        return not self.gpus or self.surely_needs_mb(config) <= self._largest_mb

    def surely_needs_mb(self, config: Config) -> float:
        """The least that a training can do with, MB, if the estimate is as far too high as it may be: one film at a time, its activations
        computed again where they would not fit otherwise."""
        needed = self.model.need(config).least * self.model.doubt(config).low
        if needed > self._largest_mb:
            frugal = apply(config, {"train.checkpoint_activations": True})
            needed = min(needed, self.model.need(frugal).least * self.model.doubt(frugal).low)
        return needed

    def may_take_mb(self, config: Config) -> float:
        """What a training may take of a GPU, MB, with as many films at once as it wants: allocator, process and doubt included."""
        return self.model.need(config).wanted * self.model.doubt(config).high * ALLOCATOR + _PROCESS_MB
