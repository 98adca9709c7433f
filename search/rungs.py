"""Rungs: which trials go on (asynchronous successive halving, the stopping kind), decided in plain Python.

A rung is a share of a trial's own epochs, so that trials of different length meet at comparable points.  The rule, whole:

- A report of a validated epoch without a finite value fails the trial there and then.
- Not every epoch of a long run is validated; those at which trials are judged always are.
- A trial is judged at its first report at or beyond a rung's epoch, by that report's value (not by its best so far: each
  trial has had the same share of its schedule, and a lucky early epoch should not carry a trial past later rungs).
- It goes on if its rank among all values recorded at that rung, its own among them, is at most max(1, ceil(n / factor)).
  A tie goes to the earlier arrival.  So the first arrival passes, and every later one has to earn it.
- Passing is not for good: at each later report its place at the rung it passed last is looked at again, and it stops once newer
  arrivals have pushed it out of the share that goes on.  (With few workers the first trials pass rungs alone, and would otherwise
  take whole trainings from better ones.)
- Where many trials run, the one in the lead, whose value is the lowest that anybody has reported, is not pushed out: what trains fast
  is ahead of others who come to the rung later with better values.  It takes one place of many; among few it would take too much.
  A trial that ended by anything else (an error, the clock) runs no longer: see `Rungs.ended`.
- A protected trial (the baseline) always goes on; its value is recorded like any other.

Progressive schedules: a trial whose first epochs train on smaller images is judged at the same share of its epochs as any other, by
its error in mm at the size that it trains at then.  Rates, curriculum and augmentation follow the share of epochs, so that there all
trials have had the same part of what shapes a curve.  At the same share of their cost they have not: of two trainings with one and the
same curve, the one whose first 0.4 train at 0.75 of the size would be judged at 0.42 of its epochs where the other is at 0.3, and win
by as much as a curve falls in between.

Stock ASHA instead compares with the (1 - 1 / factor) quantile of the earlier arrivals, interpolated: with few of them a
trial that is second of two already passes or falls by the distance between two numbers.  Here only ranks count.

Decisions depend on the order of reports and ends and on nothing else: feeding them a ledger's restores them.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ceph_core.errors import InputError
from ceph_core.training.progressive import epoch_of_share

_MANY = 8
"""So many trials that run are many."""


class Action(Enum):
    """What becomes of a trial after a report."""

    CONTINUE = "continue"
    STOP = "stop"
    FAIL = "fail"


@dataclass(frozen=True)
class Report:
    """One line of the ledger: a trial's validation MRE after an epoch (counted from 1); None or NaN if it has none.

    An epoch that was not `validated` has none to have.
    """

    trial: str
    epoch: int
    total_epochs: int
    value_mm: float | None
    protected: bool = False
    validated: bool = True


@dataclass(frozen=True)
class Decision:
    """What to do with a trial, at which rung (None: between rungs), and why, in words for people."""

    action: Action
    rung: int | None
    reason: str


@dataclass(frozen=True)
class RungRow:
    """A rung as a table shows it; the next trial goes on only below `cutoff_mm` (None: whatever its value)."""

    rung: int
    fraction: float
    recorded: int
    best_mm: float | None
    cutoff_mm: float | None


@dataclass
class _Rung:
    fraction: float
    arrivals: list[tuple[str, float]] = field(default_factory=list)
    ranked_mm: list[float] = field(default_factory=list)


@dataclass
class _Course:
    """One trial so far: the last epoch seen, its last value, the highest rung it was judged at and its value there, decisions by epoch,
    how it ended.
    """

    epoch: int = 0
    total_epochs: int = 0
    value_mm: float = math.inf
    rung: int = -1
    rung_value_mm: float = math.nan
    decisions: dict[int, Decision] = field(default_factory=dict)
    end: Decision | None = None
    is_over: bool = False

    @property
    def goes_on(self) -> bool:
        return not self.is_over and self.end is None and self.epoch < self.total_epochs


class Rungs:
    """The rungs of one search.

    Args:
        fractions: shares of a trial's epochs, each in (0, 1), increasing; none: nothing is stopped early.
        reduction_factor: about one in this many goes on from a rung; above 1.

    Raises:
        InputError: fractions or factor out of range; all problems at once.
    """

    def __init__(self, fractions: Sequence[float], reduction_factor: float) -> None:
        problems = [
            f"scheduler.rungs: {share} is not a share of a trial's epochs; give numbers in (0, 1)"
            for share in fractions
            if not 0 < share < 1
        ]
        if list(fractions) != sorted(set(fractions)):
            problems.append(f"scheduler.rungs: {list(fractions)} must increase, each share once")
        if not 1 < reduction_factor < math.inf:
            problems.append(f"scheduler.reduction_factor: {reduction_factor} must be above 1 (3: the best third goes on)")
        if problems:
            raise InputError(problems)
        self.reduction_factor = float(reduction_factor)
        self._rungs = [_Rung(float(share)) for share in fractions]
        self._courses: dict[str, _Course] = {}
        self._lowest_mm = math.inf

    def epochs_of(self, total_epochs: int) -> dict[int, int]:
        """The rungs that a trial of this length has: epoch by rung index, distinct, in 1 ... total_epochs - 1.

        Where two rungs of a short trial fall on one epoch, the higher keeps it: its share is nearer to the epoch's own.
        """
        epochs = {rung: epoch_of_share(level.fraction, total_epochs) for rung, level in enumerate(self._rungs)}
        highest = {epoch: rung for rung, epoch in epochs.items()}
        return {rung: epoch for epoch, rung in highest.items() if epoch < total_epochs}

    def report(
        self, trial: str, epoch: int, total_epochs: int, value_mm: float | None, protected: bool = False, validated: bool = True
    ) -> Decision:
        """Judge a trial by its validation MRE (mm) after `epoch` of `total_epochs`.

        The same epoch reported again (a trial that resumed from a checkpoint) gets the decision it got, whatever its value
        now, and records nothing; a trial that has ended stays ended.  A trial that jumps over rungs is judged at the highest.
        """
        course = self._courses.setdefault(trial, _Course())
        if epoch <= course.epoch:
            return course.decisions.get(epoch, Decision(Action.CONTINUE, None, f"epoch {epoch}: seen before"))
        if course.end is not None:
            return course.end
        course.epoch, course.total_epochs = epoch, total_epochs
        decision = self._judge(course, Report(trial, epoch, total_epochs, value_mm, protected, validated))
        if decision.action is not Action.CONTINUE:
            course.end = decision
        if decision.rung is not None or course.end is not None:
            course.decisions[epoch] = decision
        return decision

    def ended(self, trial: str) -> None:
        """A trial is over, whoever decided that."""
        if trial in self._courses:
            self._courses[trial].is_over = True

    def runs(self, trial: str) -> bool:
        """Whether the trial counts as running."""
        return trial in self._courses and self._courses[trial].goes_on

    def replay(self, reports: Iterable[Report]) -> list[Decision]:
        """Feed reports in the ledger's order; these rungs then equal those that first saw them, where nothing but rungs ended a trial."""
        return [self.report(line.trial, line.epoch, line.total_epochs, line.value_mm, line.protected, line.validated) for line in reports]

    def state(self) -> tuple[tuple[tuple[str, float], ...], ...]:
        """Every recorded (trial, value in mm) by rung, in order of arrival."""
        return tuple(tuple(level.arrivals) for level in self._rungs)

    def rung_table(self) -> list[RungRow]:
        """The rungs as they stand, for people."""
        rows = []
        for rung, level in enumerate(self._rungs):
            ranked = level.ranked_mm
            places = self._places(len(ranked) + 1)
            cutoff = ranked[places - 1] if places <= len(ranked) else None
            rows.append(RungRow(rung, level.fraction, len(ranked), ranked[0] if ranked else None, cutoff))
        return rows

    def _places(self, recorded: int) -> int:
        """How many of so many recorded trials go on."""
        return max(1, math.ceil(recorded / self.reduction_factor - 1e-9))

    def _judge(self, course: _Course, report: Report) -> Decision:
        if not report.validated:
            return self._look_again(course, report, f"epoch {report.epoch}: not validated")
        if report.value_mm is None or not math.isfinite(report.value_mm):
            given = "no value" if report.value_mm is None else f"value {report.value_mm}"
            return Decision(Action.FAIL, None, f"epoch {report.epoch}: {given} reported; the training diverged or did not validate")
        course.value_mm = report.value_mm
        self._lowest_mm = min(self._lowest_mm, report.value_mm)
        reached = [rung for rung, epoch in self.epochs_of(report.total_epochs).items() if course.rung < rung and epoch <= report.epoch]
        if report.epoch >= report.total_epochs:
            return Decision(Action.CONTINUE, None, f"epoch {report.epoch}: {report.value_mm:.2f} mm")
        if not reached:
            return self._look_again(course, report, f"epoch {report.epoch}: {report.value_mm:.2f} mm")
        course.rung = rung = max(reached)
        course.rung_value_mm = report.value_mm
        level = self._rungs[rung]
        rank = bisect_right(level.ranked_mm, report.value_mm) + 1
        insort(level.ranked_mm, report.value_mm)
        level.arrivals.append((report.trial, report.value_mm))
        places = self._places(len(level.ranked_mm))
        passes = rank <= places
        reason = (
            f"rung {rung} (epoch {report.epoch}): {report.value_mm:.2f} mm is rank {rank} of {len(level.ranked_mm)}, top {places} go on"
        )
        if report.protected and not passes:
            reason += "; goes on all the same, being the baseline"
        return Decision(Action.CONTINUE if passes or report.protected else Action.STOP, rung, reason)

    def _look_again(self, course: _Course, report: Report, said: str) -> Decision:
        """Between rungs: whether the trial's place at the rung it passed last still goes on."""
        stays = Decision(Action.CONTINUE, None, said)
        if course.rung < 0 or report.protected:
            return stays
        ranked = self._rungs[course.rung].ranked_mm
        rank = bisect_left(ranked, course.rung_value_mm) + 1
        places = self._places(len(ranked))
        if rank <= places or self._leads_many(course):
            return stays
        reason = (
            f"rung {course.rung}, looked at again at epoch {report.epoch}: its {course.rung_value_mm:.2f} mm there is now rank {rank} of "
            f"{len(ranked)}, top {places} go on"
        )
        return Decision(Action.STOP, None, reason)

    def _leads_many(self, course: _Course) -> bool:
        """Whether its value is the lowest of all, and many trials run, by their reports."""
        return course.value_mm <= self._lowest_mm and sum(map(self.runs, self._courses)) >= _MANY
