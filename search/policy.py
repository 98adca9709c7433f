"""Every decision of a search, in plain Python: what to try next, who goes on, when to end.  Live runs and replays only feed it.

All state follows from the ledger: a policy opened on the ledger of a killed driver decides as the dead one would have.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ceph_core.config import Config
from ceph_core.errors import InputError
from search.cost import EpochCost, Timetable, makespan_s
from search.history import Kind, Outcome, Trial
from search.records import Event, Ledger, histories
from search.rungs import Action, Rungs
from search.sampler import Sampler
from search.space import Space

_OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True)
class Assignment:
    """A trial to run.

    Attributes:
        trial: its id in the run folder.
        number: its place in the search, from 0.
        config: the whole training.
        reported: epochs the ledger already holds; the trial goes on after them.
    """

    trial: str
    number: int
    config: Config
    reported: int


@dataclass
class TrialState:
    """A trial as the policy sees it."""

    trial: str
    number: int
    values: dict[str, Any]
    config: Config
    is_baseline: bool
    epoch: int = 0
    value_mm: float | None = None
    best_mm: float = math.inf
    status: str = "running"
    reason: str = ""


Observer = Callable[[Event], None]
"""Told of every event that enters the ledger (live view, TensorBoard)."""


class Policy:
    """The decisions of one search.

    Args:
        space: what is searched.
        ledger: where events go and, on resume, where history comes from.
        workers: trials that run at a time.
        timetable: of the whole run.
        elapsed_s: seconds the run has lived; of this driver and those before.
        observers: told of every new event, in order.
    """

    def __init__(
        self,
        space: Space,
        ledger: Ledger,
        seed: int,
        workers: int,
        timetable: Timetable,
        elapsed_s: Callable[[], float] = time.monotonic,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.space, self.seed, self.workers, self.timetable = space, seed, workers, timetable
        self.rungs = Rungs(space.scheduler.rungs, space.scheduler.reduction_factor)
        self.sampler = Sampler(space.knobs, space.start_from, space.sampler.name, startup_trials=space.sampler.startup_trials, seed=seed)
        self.cost = EpochCost()
        self.trials: dict[str, TrialState] = {}
        self.out_of_time = False
        self._ledger, self._elapsed_s, self._observers = ledger, elapsed_s, tuple(observers)
        self._waiting: list[str] = []
        self._restore(list(ledger.events()))

    def next(self) -> Assignment | None:
        """The next trial; None when the search has all the trials it may have."""
        while True:
            if self._time_is_up(starting=True):
                return None
            if self._waiting:
                state = self.trials[self._waiting.pop(0)]
                return Assignment(state.trial, state.number, state.config, state.epoch)
            number = len(self.sampler.trials)
            if number >= self.space.budget.trials:
                return None
            assignment = self._announce(number)
            if assignment is not None:
                return assignment

    def report(self, trial: str, figures: Mapping[str, Any]) -> Action:
        """A trial has ended an epoch; what becomes of it.

        Args:
            figures: `epoch`, `val_mre_mm`, `image_size`, `seconds` and whatever else a report of the ledger holds.
        """
        state = self.trials[trial]
        epoch, total = int(figures["epoch"]), state.config.train.epochs
        value = figures.get("val_mre_mm")
        decision = self.rungs.report(trial, epoch, total, value, protected=state.is_baseline)
        action, reason = decision.action, decision.reason
        is_done = epoch >= total and action is Action.CONTINUE
        # The baseline is every table's yardstick: the clock of the search does not cut it, only the end of the run.
        if action is Action.CONTINUE and not is_done and not state.is_baseline and self._time_is_up(starting=False):
            action, reason = Action.STOP, f"epoch {epoch}: time for the search is up"
        verdict = "done" if is_done else action.value
        fields = {key: item for key, item in figures.items() if key != "epoch"}
        entry = {"event": "report", "trial": trial, "epoch": epoch, **fields, "rung": decision.rung, "decision": verdict}
        if self._write(entry):
            self._take(state, epoch, value)
            self.cost.observe(state.config, int(figures["image_size"]), float(figures["seconds"]))
            self._notify(entry)
        if is_done:
            self._end(state, "completed", f"all {total} epochs", Outcome("complete", state.value_mm))
        elif action is Action.STOP:
            self._end(state, "stopped", reason, Outcome("stopped", state.value_mm))
        elif action is Action.FAIL:
            self._end(state, "failed", reason, Outcome("infeasible"))
        return action

    def error(self, trial: str, text: str) -> None:
        """A trial has died with this traceback; the search goes on."""
        kind: Kind = "infeasible" if _OUT_OF_MEMORY in text.lower() else "failed"
        last = text.strip().splitlines()[-1] if text.strip() else "no message"
        self._end(self.trials[trial], "failed", last, Outcome(kind), error=text)

    def is_live(self, trial: str) -> bool:
        """Whether the trial has not ended."""
        return self.trials[trial].status == "running"

    def ranking(self) -> list[TrialState]:
        """Trials with a value, the best last validation MRE first; what promotion takes its candidates from."""
        ranked = [state for state in self.trials.values() if state.value_mm is not None and state.status != "failed"]
        return sorted(ranked, key=lambda state: (state.value_mm, state.number))

    def promotion_s(self) -> float | None:
        """Estimated wall time to finish the candidates as they stand; None before anything was measured."""
        jobs = []
        for state in self.ranking()[: self.space.promotion.candidates]:
            seconds = self.cost.seconds(state.config, from_epoch=state.epoch)
            if seconds is None:
                return None
            jobs.append(seconds)
        return makespan_s(jobs, self.workers) if jobs else None

    def remaining_s(self) -> float | None:
        """Estimate of the search's time left: the clock's, or what the trials still need; None before anything was measured."""
        clock = self.timetable.search_end_s(self.promotion_s()) - self._elapsed_s()
        done = [state.epoch for state in self.trials.values() if state.status in ("completed", "stopped")]
        live = [self.cost.seconds(s.config, s.epoch) for s in self.trials.values() if s.status == "running"]
        per_trial = [self.cost.seconds(s.config, 0, s.epoch) or 0.0 for s in self.trials.values() if s.status != "running"]
        to_come = max(0, self.space.budget.trials - len(self.trials))
        known = [seconds for seconds in live if seconds is not None]
        if not known and not done:
            return clock if math.isfinite(clock) else None
        mean = sum(per_trial) / len(per_trial) if per_trial else max(known)
        work = makespan_s([*known, *[mean] * to_come], self.workers) if known or to_come else 0.0
        return max(0.0, min(clock, work))

    def _announce(self, number: int) -> Assignment | None:
        """Propose trial `number`; None if its configuration cannot exist, which the sampler is told."""
        values = self.sampler.ask(number)
        trial = f"t{number:04d}"
        is_baseline = number == 0
        try:
            config = self.space.configure(values, seed=self.seed)
        except InputError as error:
            state = TrialState(trial, number, values, self.space.base_config(), is_baseline)
            self._open(state)
            self._end(state, "failed", str(error), Outcome("infeasible"), error=str(error))
            return None
        state = TrialState(trial, number, values, config, is_baseline)
        self._open(state)
        return Assignment(trial, number, config, 0)

    def _open(self, state: TrialState) -> None:
        self.trials[state.trial] = state
        entry = {
            "event": "trial",
            "trial": state.trial,
            "number": state.number,
            "role": "search",
            "candidate": state.trial,
            "is_baseline": state.is_baseline,
            "values": state.values,
            "config": state.config.model_dump(mode="json"),
            "seed": self.seed,
            "fold": -1,
        }
        self._write(entry)
        self._notify(entry)

    def _take(self, state: TrialState, epoch: int, value_mm: float | None) -> None:
        self.sampler.report(state.number, epoch, state.config.train.epochs, value_mm)
        state.epoch = max(state.epoch, epoch)
        if value_mm is not None and math.isfinite(value_mm):
            state.value_mm = value_mm
            state.best_mm = min(state.best_mm, value_mm)

    def _end(self, state: TrialState, status: str, reason: str, outcome: Outcome, error: str | None = None) -> None:
        if state.status != "running":
            return
        if outcome.kind == "stopped" and outcome.value_mm is None:
            outcome = Outcome("failed")
        entry = {"event": "end", "trial": state.trial, "status": status, "reason": reason, "error": error}
        entry["infeasible"] = outcome.kind == "infeasible"
        self._write(entry)
        state.status, state.reason = status, reason
        self.sampler.tell(state.number, outcome)
        self._notify(entry)

    def _write(self, entry: Event) -> bool:
        entry["time"] = time.time()
        return self._ledger.append(entry)

    def _notify(self, entry: Event) -> None:
        """After the state has changed, so that observers see it as the event left it."""
        for observer in self._observers:
            observer(entry)

    def _time_is_up(self, starting: bool) -> bool:
        """Whether the search must end now or, for a trial about to start, before it could reach its first rung."""
        if math.isinf(self.timetable.total_s):
            return False
        left = self.timetable.search_end_s(self.promotion_s()) - self._elapsed_s()
        needed = 0.0
        if starting and self.trials:
            config = self.space.configure(self.space.baseline, seed=self.seed)
            first = min(self.rungs.epochs_of(config.train.epochs).values(), default=config.train.epochs)
            needed = self.cost.seconds(config, 0, first) or 0.0
        self.out_of_time = left < needed
        return self.out_of_time

    def _restore(self, events: list[Event]) -> None:
        """Rebuild sampler, rungs and trials from the ledger; trials that had not ended wait to go on."""
        past = [entry for entry in histories(events) if entry.trial["role"] == "search"]
        restored = []
        for entry in past:
            config = Config.model_validate(entry.trial["config"])
            announced = entry.trial
            state = TrialState(announced["trial"], announced["number"], announced["values"], config, announced["is_baseline"])
            self.trials[state.trial] = state
            restored.append(Trial(state.number, dict(state.values), name=state.trial, is_baseline=state.is_baseline))
        self.sampler.replay(restored)
        for event in events:
            if event["event"] == "report" and event["trial"] in self.trials:
                self._replay_report(self.trials[event["trial"]], event)
        for entry in past:
            state = self.trials[entry.trial["trial"]]
            if entry.end is not None:
                state.status, state.reason = entry.end["status"], entry.end["reason"] or ""
                self.sampler.tell(state.number, _outcome(state, entry.end))
            else:
                self._settle(state, entry.reports)

    def _replay_report(self, state: TrialState, event: Event) -> None:
        total = state.config.train.epochs
        self.rungs.report(state.trial, event["epoch"], total, event["val_mre_mm"], protected=state.is_baseline)
        self._take(state, event["epoch"], event["val_mre_mm"])
        self.cost.observe(state.config, int(event["image_size"]), float(event["seconds"]))

    def _settle(self, state: TrialState, reports: Sequence[Event]) -> None:
        """A trial whose last report decided its end, but whose end was not written, ends now; any other goes on."""
        verdict = reports[-1]["decision"] if reports else "continue"
        if verdict == "done":
            self._end(state, "completed", f"all {state.config.train.epochs} epochs", Outcome("complete", state.value_mm))
        elif verdict == Action.STOP.value:
            self._end(state, "stopped", "stopped at its last report", Outcome("stopped", state.value_mm))
        elif verdict == Action.FAIL.value:
            self._end(state, "failed", "failed at its last report", Outcome("infeasible"))
        else:
            self._waiting.append(state.trial)


def _outcome(state: TrialState, end: Event) -> Outcome:
    """What the sampler is told of a trial that the ledger says has ended."""
    if end["status"] == "completed":
        return Outcome("complete", state.value_mm)
    if end["status"] == "stopped" and state.value_mm is not None:
        return Outcome("stopped", state.value_mm)
    return Outcome("infeasible" if end["infeasible"] else "failed")
