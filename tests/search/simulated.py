"""A policy driven in simulated time over made-up trainings: what the live driver does, without Ray and without waiting."""

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ceph_core.training.plan import is_validated
from search.cost import Timetable
from search.policy import Assignment, Policy
from search.records import Event, Ledger
from search.space import Space
from tests.search.made_up import SPACE, failure_of, mre_mm, result_of

NO_LIMIT = Timetable(math.inf, 0.35)
TICKS_A_SECOND = 10


def made_up_space(**changes: dict[str, Any]) -> Space:
    """The made-up space, entries of sections replaced."""
    return Space.from_dict({**SPACE, **{name: {**SPACE.get(name, {}), **change} for name, change in changes.items()}})


class Clock:
    """Simulated seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Killed(Exception):
    """The driver is gone."""


def simulate(
    policy: Policy,
    *,
    clock: Clock | None = None,
    epoch_s: float = 1.0,
    fail: str = "",
    stop_after: int | None = None,
    on_tick: Callable[[], None] | None = None,
) -> None:
    """Run until nothing is left: time moves on, then every live trial has trained an epoch, by number.

    Args:
        fail: as MADE_UP_FAIL.
        stop_after: raise `Killed` after so many reports.
        on_tick: called ten times a simulated second, as the live driver does.
    """
    live: dict[int, tuple[Assignment, int]] = {}
    clock = clock or Clock()
    asking = True
    reported = 0
    while True:
        while asking and len(live) < policy.workers:
            assignment = policy.next()
            if assignment is None:
                asking = False
            else:
                live[assignment.number] = assignment, assignment.reported
        if not live:
            return
        if on_tick is None:
            clock.now += epoch_s
        else:
            for _ in range(ticks := round(epoch_s * TICKS_A_SECOND)):
                clock.now += epoch_s / ticks
                on_tick()
        for number, (assignment, epoch) in sorted(live.items()):
            if reported == stop_after:
                raise Killed
            reported += 1
            kind = failure_of(assignment.config, fail)
            if kind == "raise":
                policy.error(assignment.trial, 'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: made to fail')
            else:
                validated = is_validated(assignment.config, epoch + 1, policy.space.scheduler.rungs)
                value = math.nan if kind == "nan" or not validated else mre_mm(assignment.config, epoch + 1)
                figures = {**result_of(assignment.config, epoch + 1, value).figures(), "seconds": epoch_s, "validated": validated}
                policy.report(assignment.trial, figures)
            if policy.is_live(assignment.trial):
                live[number] = assignment, epoch + 1
            else:
                del live[number]


def search(
    folder: Path,
    space: Space,
    *,
    seed: int = 3,
    workers: int = 1,
    elapsed_s: Callable[[], float] | None = None,
    timetable: Timetable = NO_LIMIT,
    **how: Any,
) -> tuple[Policy, list[Event]]:
    """Open a policy on the folder's ledger, simulate, and give back the policy and the whole ledger."""
    folder.mkdir(exist_ok=True)
    with Ledger(folder) as ledger:
        policy = Policy(space, ledger, seed, workers, timetable, elapsed_s or Clock())
        with suppress(Killed):
            simulate(policy, **how)
        return policy, list(ledger.events())


def decided(events: list[Event]) -> list[tuple[Any, ...]]:
    """What a search decided, without times and wording: proposals, verdicts, rungs and ends, by trial."""
    kept = {"trial": ("values", "is_baseline"), "report": ("epoch", "val_mre_mm", "rung", "decision"), "end": ("status", "infeasible")}
    lines = [
        (event["trial"], event["event"], *(repr(event[key]) for key in kept[event["event"]])) for event in events if event["event"] in kept
    ]
    return sorted(lines, key=lambda line: line[0])  # stable: each trial's own events keep their order
