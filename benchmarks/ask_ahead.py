"""How long a free place waits for its next configuration, with slow samplers asked ahead and not.

A search with hundreds of made-up trials behind it goes on in real time: two places whose epochs take as long as a proposal (at least half a
second), ten ticks a second as in a live run, no Ray.  Contestants take turns over the same history.
"""

import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import arguments, publish

from search.ask_ahead import AskAhead
from search.cost import Timetable
from search.policy import Assignment, Policy
from search.records import Ledger
from search.replay import Clock, Step, drive
from tests.search.made_up import mre_mm, result_of
from tests.search.simulated import made_up_space, search

BEHIND = {"curve_gp": (100, 300, 600), "gp": (100, 300)}
"""Trials of the history."""
MEASURED, PLACES, LEAST_EPOCH_S = 12, 2, 0.5


def main() -> None:
    parser = arguments(__doc__)
    args = parser.parse_args()
    rows = []
    for sampler, sizes in ({"curve_gp": (20,)} if args.quick else BEHIND).items():
        for behind in sizes:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(compared(Path(folder), sampler, behind, 3 if args.quick else MEASURED))
            print(rows[-1], file=sys.stderr)
    publish("ask_ahead", {f"What a free place waits for its next configuration, {PLACES} places": rows}, args.quick)


def compared(folder: Path, sampler: str, behind: int, measured: int) -> dict[str, Any]:
    """A row."""
    plain = waits(folder / "plain", sampler, behind, measured, LEAST_EPOCH_S, ask_ahead=False)
    ahead = waits(folder / "ahead", sampler, behind, measured, max(LEAST_EPOCH_S, float(np.median(plain))), ask_ahead=True)
    return {
        "sampler": sampler,
        "trials behind": behind,
        "asked when free, s": float(np.median(plain)),
        "nine in ten within, s": float(np.quantile(plain, 0.9)),
        "asked ahead, s": float(np.median(ahead)),
        "nine in ten of these within, s": float(np.quantile(ahead, 0.9)),
    }


class Waiting:
    """A policy, each of whose answers is timed."""

    def __init__(self, policy: Policy, asking: AskAhead) -> None:
        self._policy, self._asking = policy, asking
        self.workers, self.report, self.error, self.is_live = policy.workers, policy.report, policy.error, policy.is_live
        self.seconds: list[float] = []

    def next(self) -> Assignment | None:
        began = time.perf_counter()
        assignment = self._asking.next()
        self.seconds.append(time.perf_counter() - began)
        return assignment


def waits(folder: Path, sampler: str, behind: int, measured: int, epoch_s: float, ask_ahead: bool) -> list[float]:
    """Seconds that each new trial's place waited."""
    search(folder, made_up_space(sampler={"name": "random"}, budget={"trials": behind}), workers=PLACES)
    space = made_up_space(sampler={"name": sampler}, budget={"trials": behind + PLACES + measured})
    with Ledger(folder) as ledger:
        ledger.append_extended(space.budget.trials, None)
        policy = Policy(space, ledger, 0, PLACES, Timetable(math.inf, 0.35))
        asking = AskAhead(policy, ask_ahead)
        waiting = Waiting(policy, asking)

        def step(assignment: Assignment, epoch: int) -> Step:
            seconds = epoch_s * (1 + 0.1 * assignment.number % 0.7)  # places become free one after the other
            figures = result_of(assignment.config, epoch, mre_mm(assignment.config, epoch)).figures()
            return Step(seconds, {**figures, "seconds": seconds})

        def on_tick() -> None:
            time.sleep(0.1)
            asking.tick()

        try:
            drive(waiting, step, Clock(), on_tick=on_tick)  # type: ignore[arg-type]  # as much of a policy as it asks for
        finally:
            asking.close()
    return waiting.seconds[PLACES : PLACES + measured]


if __name__ == "__main__":
    main()
