"""One replay: a policy over curves, and what it had found when."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from search.cost import Timetable
from search.policy import Assignment, Policy
from search.records import Event
from search.replay.curves import Curve, Curves
from search.replay.timeline import Clock, Step, drive

NO_LIMIT = Timetable(float("inf"), 0.35)


class MemoryLedger:
    """A ledger of a run that no crash can end."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def append(self, event: Mapping[str, Any]) -> bool:
        """Keep an event; a replay tells each once."""
        self._events.append(dict(event))
        return True

    def append_searched(self, reason: str) -> bool:
        """No trial will be proposed any more."""
        return self.append({"event": "searched", "reason": reason})

    def events(self) -> Iterator[Event]:
        """All events in order."""
        yield from self._events


@dataclass(frozen=True, eq=False)
class Replayed:
    """What a replay came to.

    Attributes:
        policy: as it ended.
        events: of the ledger.
        found: (simulated seconds, value) whenever a report was the lowest so far.
        epochs: trained in all; seconds: of all workers that were trained; ended_s: simulated second of the last report.
    """

    policy: Policy
    events: tuple[Event, ...]
    found: tuple[tuple[float, float], ...]
    epochs: int
    seconds: float
    ended_s: float

    @property
    def stopped_share(self) -> float:
        """Of the trials that ended, how many were stopped early."""
        ended = self.policy.num_ended
        return ended["stopped"] / max(1, ended.total())

    def best_at(self, seconds: float) -> float:
        """The lowest value reported until then; infinite if there is none."""
        return min((value for at, value in self.found if at <= seconds), default=float("inf"))


@dataclass
class _Watching:
    curves: dict[str, Curve] = field(default_factory=dict)
    found: list[tuple[float, float]] = field(default_factory=list)
    epochs: int = 0
    seconds: float = 0.0


def replay(
    curves: Curves,
    *,
    seed: int,
    workers: int,
    until_s: float | None = None,
    timetable: Timetable = NO_LIMIT,
    ask_ahead: bool = False,
) -> Replayed:
    """Search the curves' space by its own sampler, rungs and budget.

    Args:
        seed: of the sampler.
        workers: trials at a time.
        until_s: simulated second at which it ends; None: with the space's last trial.
        timetable: of the whole run, promotion included: the search ends in time for it.
        ask_ahead: see `drive`.
    """
    clock, ledger, seen = Clock(), MemoryLedger(), _Watching()
    policy = Policy(curves.space, ledger, seed, workers, timetable, clock)

    def step(assignment: Assignment, epoch: int) -> Step:
        curve = seen.curves.get(assignment.trial)
        if curve is None:
            curve = seen.curves[assignment.trial] = curves.at(policy.trials[assignment.trial].values)
        place = epoch - 1
        seconds, value = float(curve.seconds[place]), float(curve.values[place])
        figures = {
            "epoch": epoch, "val_mre_mm": value, "validated": bool(curve.validated[place]), "seconds": seconds,
            "image_size": int(curve.image_sizes[place]),
        }  # fmt: skip
        return Step(seconds, figures)

    def on_report(trial: str, epoch: int) -> None:
        curve = seen.curves[trial]
        seen.epochs += 1
        seen.seconds += float(curve.seconds[epoch - 1])
        value = float(curve.values[epoch - 1])
        if value < (seen.found[-1][1] if seen.found else float("inf")):
            seen.found.append((clock.now, value))

    drive(policy, step, clock, until_s=until_s, ask_ahead=ask_ahead, on_report=on_report)
    return Replayed(policy, tuple(ledger.events()), tuple(seen.found), seen.epochs, seen.seconds, clock.now)
