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
from search.replay import Clock, Step, drive
from search.space import Space
from tests.search.made_up import SPACE, failure_of, mre_mm, result_of

NO_LIMIT = Timetable(math.inf, 0.35)


def made_up_space(**changes: dict[str, Any]) -> Space:
    """The made-up space, entries of sections replaced."""
    return Space.from_dict({**SPACE, **{name: {**SPACE.get(name, {}), **change} for name, change in changes.items()}})


class Killed(Exception):
    """The driver is gone."""


def simulate(
    policy: Policy,
    *,
    clock: Clock | None = None,
    epoch_s: float = 1.0,
    fail: str = "",
    stop_after: int | None = None,
    ask_ahead: bool = False,
    on_tick: Callable[[], None] | None = None,
) -> None:
    """Run until nothing is left: every live trial trains an epoch in the same time.

    Args:
        fail: as MADE_UP_FAIL.
        stop_after: raise `Killed` after so many reports.
        ask_ahead: see `drive`.
        on_tick: called ten times a simulated second, as the live driver does.
    """
    reported = 0

    def step(assignment: Assignment, epoch: int) -> Step:
        kind = failure_of(assignment.config, fail)
        if kind == "raise":
            return Step(epoch_s, None, 'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: made to fail')
        validated = is_validated(assignment.config, epoch, policy.space.scheduler.rungs)
        value = math.nan if kind == "nan" or not validated else mre_mm(assignment.config, epoch)
        return Step(epoch_s, {**result_of(assignment.config, epoch, value).figures(), "seconds": epoch_s, "validated": validated})

    def on_report(trial: str, epoch: int) -> None:
        nonlocal reported
        if reported == stop_after:
            raise Killed
        reported += 1

    drive(policy, step, clock or Clock(), ask_ahead=ask_ahead, on_report=on_report, on_tick=on_tick)


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
