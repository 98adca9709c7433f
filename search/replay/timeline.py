"""Simulated time: what the live driver does between a policy and its workers, without Ray and without waiting."""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from search.policy import Assignment, Policy
from search.question import Question

_TICKS_A_SECOND = 10


class Clock:
    """Simulated seconds since the run began."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now


@dataclass(frozen=True)
class Step:
    """One epoch of a trial as a worker would live it.

    Attributes:
        seconds: it takes.
        figures: of its report, as `Policy.report` takes them; None where the training dies instead.
        error: the traceback of one that dies.
    """

    seconds: float
    figures: Mapping[str, Any] | None
    error: str = ""


def drive(
    policy: Policy,
    step: Callable[[Assignment, int], Step],
    clock: Clock,
    *,
    until_s: float | None = None,
    ask_ahead: bool = False,
    on_report: Callable[[str, int], None] | None = None,
    on_tick: Callable[[], None] | None = None,
) -> None:
    """Run a search until nothing is left, or until a simulated second.

    Whatever happens at one instant is reported by trial number, and freed workers are given new trials after it.

    Args:
        step: what training a trial's epoch (from 1) comes to.
        until_s: reports of later seconds do not come.
        ask_ahead: a new trial's configuration is what would have been proposed at the instant before the one that makes place for it;
            that of a second trial of one instant knows everything.
        on_report: told of the trial and epoch before each report.
        on_tick: called ten times a simulated second, as a live driver does.
    """
    live: list[tuple[float, int, Assignment, int, Step]] = []
    asking = True
    question: Question | None = None

    def begin(assignment: Assignment, epoch: int) -> None:
        coming = step(assignment, epoch)
        heapq.heappush(live, (clock.now + coming.seconds, assignment.number, assignment, epoch, coming))

    while True:
        while asking and len(live) < policy.workers:
            if question is not None:
                policy.offer(question.answer())
                question = None
            assignment = policy.next()
            if assignment is None:
                asking = False
            else:
                begin(assignment, assignment.reported + 1)
        if not live or (until_s is not None and live[0][0] > until_s):
            return
        if ask_ahead:
            question = policy.question()
        _move_on(clock, live[0][0], on_tick)
        now = []
        while live and live[0][0] <= clock.now + 1e-9:
            now.append(heapq.heappop(live))
        for _, _, assignment, epoch, ended in sorted(now, key=lambda entry: entry[1]):
            if on_report is not None:
                on_report(assignment.trial, epoch)
            if ended.figures is None:
                policy.error(assignment.trial, ended.error)
                asking = True  # it may be handed out again
                continue
            policy.report(assignment.trial, ended.figures)
            if policy.is_live(assignment.trial):
                begin(assignment, epoch + 1)


def _move_on(clock: Clock, to_s: float, on_tick: Callable[[], None] | None) -> None:
    if on_tick is not None:
        ticks = max(1, round((to_s - clock.now) * _TICKS_A_SECOND))
        began, length = clock.now, to_s - clock.now
        for tick in range(1, ticks):
            clock.now = began + length * tick / ticks
            on_tick()
    clock.now = to_s
    if on_tick is not None:
        on_tick()
