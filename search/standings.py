"""Where the trials of a search stand: which run, which have ended and how, and who leads.  Pure."""

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ceph_core.config import Config
from search.history import Identity, identity


@dataclass
class TrialState:
    """A trial as the policy sees it: the last validation's MRE and SDR (percent), its best MRE, what it has taken so far."""

    trial: str
    number: int
    values: dict[str, Any]
    config: Config
    is_baseline: bool
    epoch: int = 0
    value_mm: float | None = None
    best_mm: float = math.inf
    seconds: float = 0.0
    sdr_2mm: float | None = None
    peak_memory_mb: float = 0.0
    health: tuple[str, ...] = ()
    status: str = "running"
    reason: str = ""


def distinct(states: Iterable[TrialState]) -> list[TrialState]:
    """One trial of each configuration, in the order in which these come: the baseline, else the one that came furthest, else the first."""
    by_values: dict[Identity, TrialState] = {}
    for state in states:
        same = by_values.setdefault(identity(state.values), state)
        if (state.is_baseline, state.epoch, -state.number) > (same.is_baseline, same.epoch, -same.number):
            by_values[identity(state.values)] = state
    return list(by_values.values())


class Standings:
    """All trials of a search.

    Attributes:
        trials: all, by id, in the order they began.
        running: those that have not ended.
        num_ended: how many have, by status.
    """

    def __init__(self) -> None:
        self.trials: dict[str, TrialState] = {}
        self.running: dict[str, TrialState] = {}
        self.num_ended: Counter[str] = Counter()
        self._ranked: list[tuple[float, int, TrialState]] = []

    @property
    def baseline(self) -> TrialState | None:
        """The known-good setting, the first trial; None before it was announced."""
        return next((state for state in self.trials.values() if state.is_baseline), None)

    def begin(self, state: TrialState) -> None:
        """A new trial."""
        self.trials[state.trial] = self.running[state.trial] = state

    def measured(self, state: TrialState, value_mm: float) -> None:
        """The trial's validation MRE is this now."""
        self._unrank(state)
        state.value_mm = value_mm
        state.best_mm = min(state.best_mm, value_mm)
        insort(self._ranked, (value_mm, state.number, state))

    def retire(self, state: TrialState, status: str, reason: str) -> None:
        """The trial runs no more; one that failed is ranked no more."""
        state.status, state.reason = status, reason
        del self.running[state.trial]
        self.num_ended[status] += 1
        if status == "failed":
            self._unrank(state)

    def ranking(self) -> list[TrialState]:
        """Trials with a value, the best last validation MRE first."""
        return [state for _, _, state in self._ranked]

    def leading(self, number: int) -> list[TrialState]:
        """So many of the best configurations by their last value, and the baseline; asked at every report, so no further than needed."""
        best: dict[Identity, TrialState] = {}
        for _, _, state in self._ranked:
            if len(best) == number:
                break
            best.setdefault(identity(state.values), state)
        return self.with_baseline(list(best.values()))

    def with_baseline(self, best: list[TrialState]) -> list[TrialState]:
        """These after the baseline, if it has a value and is not one of them."""
        baseline = self.baseline
        return best if baseline is None or self._place(baseline) is None or any(state is baseline for state in best) else [baseline, *best]

    def _place(self, state: TrialState) -> int | None:
        """Where the trial stands in the ranking; None if it does not."""
        if state.value_mm is None:
            return None
        place = bisect_left(self._ranked, (state.value_mm, state.number))
        return place if place < len(self._ranked) and self._ranked[place][2] is state else None

    def _unrank(self, state: TrialState) -> None:
        place = self._place(state)
        if place is not None:
            del self._ranked[place]
