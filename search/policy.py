"""Every decision of a search, in plain Python: what to try next, who goes on, when to end.  Live runs and replays only feed it.

All state follows from the ledger: a policy opened on the ledger of a killed driver decides as the dead one would have.
"""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ceph_core.config import Config, sharing
from ceph_core.errors import InputError
from ceph_core.training.health import names_in, stops_for
from search.candidates import Estimate, estimates
from search.cost import Timetable
from search.history import Kind, Outcome, Trial
from search.pace import Pace
from search.question import Proposal, Question
from search.records import Event, Journal, histories, past_trials
from search.retries import OUT_OF_MEMORY, Cause, Retries, last_line, lost_too_often, retry_event, shares_device
from search.room import Room
from search.rungs import Action, Rungs
from search.sampler import Sampler
from search.space import Space
from search.standings import Standings, TrialState, distinct

TIME_IS_UP = "time for the search is up"


@dataclass(frozen=True)
class Assignment:
    """A trial to run.

    Attributes:
        trial: its id in the run folder.
        number: its place in the search, from 0.
        config: the whole training.
        reported: epochs the ledger already holds; the trial goes on after them.
        alone: whether it must have a device to itself, where trials share one.
    """

    trial: str
    number: int
    config: Config
    reported: int
    alone: bool = False


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
        earlier: trials of earlier runs, for the sampler.
        room: what is known of the memory trials have; None: nothing before one fails.

    Attributes:
        trials: all, by id; running: those that have not ended; num_ended: how many have, by status.
        num_events: of search trials in the ledger: announcements, reports, second attempts and ends.
    """

    def __init__(
        self,
        space: Space,
        ledger: Journal,
        seed: int,
        workers: int,
        timetable: Timetable,
        elapsed_s: Callable[[], float] = time.monotonic,
        observers: Sequence[Observer] = (),
        earlier: Sequence[Trial] = (),
        room: Room | None = None,
    ) -> None:
        self.space, self.seed, self.workers = space, seed, workers
        self.rungs = Rungs(space.scheduler.rungs, space.scheduler.reduction_factor)
        self.room = room or Room()
        self._retries = Retries(shares_device=shares_device(space.resources, workers))
        chosen = space.sampler
        self.sampler = Sampler(
            space.knobs, space.start_from, chosen.name, startup_trials=chosen.startup_trials, seed=seed, stopped_as=chosen.stopped_as,
            earlier=earlier, fits=partial(self._fits, self.room), cost_aware=chosen.cost_aware,
        )  # fmt: skip
        self._standings = Standings()
        self.trials, self.running, self.num_ended = self._standings.trials, self._standings.running, self._standings.num_ended
        self.pace = Pace(space, seed, self.rungs, self._standings, workers, timetable, elapsed_s)
        self.is_searched = False
        self.num_events = 0
        self._offer: Proposal | None = None
        self._sections: dict[Any, Any] = {}
        self._num_reports = 0
        self._chosen: tuple[tuple[int, int, int], list[TrialState]] | None = None
        self._ledger, self._observers = ledger, tuple(observers)
        self._waiting: list[str] = []
        self._restore(list(ledger.events()))

    def next(self) -> Assignment | None:
        """The next trial: one that waits to go on, else a new one; None when the search has all the trials it may have.

        Nothing new comes after None, over resumes too, unless the run is extended: promotion may have begun.  A trial that is lost
        later still goes on, so None is final only when none runs.
        """
        time_is_up = self.pace.is_up(starting=True)
        if time_is_up:
            self._stop_waiting(TIME_IS_UP, lambda state: not state.is_baseline or self.pace.is_up_for(state))
        if self._waiting:
            state = self.trials[self._waiting.pop(0)]
            return Assignment(state.trial, state.number, state.config, state.epoch, self._retries.is_alone(state.trial))
        while not self.is_searched:
            number = self.next_number
            if time_is_up or number >= self.space.budget.trials:
                self._close(TIME_IS_UP if time_is_up else f"all {number} trials proposed")
            elif (assignment := self._announce(number)) is not None:
                return assignment
        return None

    def question(self) -> Question | None:
        """What the next new trial should try as things stand, to be answered while others run; None if there is nothing to ask.

        With one worker there never is: the trial that makes place is the one that a proposal must know.
        """
        number = self.next_number
        is_over = self.is_searched or number >= self.space.budget.trials
        if self.workers < 2 or is_over or self._waiting or number < self.sampler.num_given:
            return None
        return Question(number, self.num_events, self.sampler.copy(partial(self._fits, copy.deepcopy(self.room))))

    def offer(self, proposal: Proposal) -> None:
        """An answer: the next new trial tries it, unless a later answer comes first or it was for a trial that has begun since."""
        if proposal.number == self.next_number:
            self._offer = proposal

    @property
    def has_offer(self) -> bool:
        """Whether the next new trial's configuration is there."""
        return self._offer is not None

    @property
    def next_number(self) -> int:
        """Of the next new trial."""
        return self.sampler.num_trials

    def stop(self, reason: str) -> None:
        """Search no more: nothing new is proposed, and trials that wait to go on end as they stand."""
        self._stop_waiting(reason)
        if not self.is_searched:
            self._close(reason)

    def report(self, trial: str, figures: Mapping[str, Any]) -> Action:
        """A trial has ended an epoch; what becomes of it.

        Args:
            figures: `epoch`, `val_mre_mm`, `image_size`, `seconds` and whatever else a report of the ledger holds.
        """
        state = self.trials[trial]
        epoch, total = int(figures["epoch"]), state.config.train.epochs
        value, validated = figures.get("val_mre_mm"), bool(figures.get("validated", True))
        decision = self.rungs.report(trial, epoch, total, value, protected=state.is_baseline, validated=validated)
        action, reason = decision.action, decision.reason
        is_done = epoch >= total and action is Action.CONTINUE
        if action is Action.CONTINUE and not is_done and self.pace.is_up_for(state):
            action, reason = Action.STOP, f"epoch {epoch}: {TIME_IS_UP}"
        names = names_in(figures.get("health"))
        lost = None if state.is_baseline else stops_for(state.config, names, epoch)
        if action is Action.CONTINUE and lost is not None:
            action, reason = Action.STOP, f"epoch {epoch}: hopeless: {lost}"
        verdict = "done" if is_done else action.value
        fields = {key: item for key, item in figures.items() if key != "epoch"}
        entry = {"event": "report", "trial": trial, "epoch": epoch, **fields, "rung": decision.rung, "decision": verdict}
        if self._write(entry):
            self._take(state, entry)
            self._retries.take(entry)
            self._notify(entry)
        if is_done:
            self._end(state, "completed", f"all {total} epochs", Outcome("complete", state.value_mm))
        elif action is Action.STOP:
            self._end(state, "stopped", reason, _ended_early(state))
        elif action is Action.FAIL:
            self._end(state, "failed", reason, Outcome("infeasible"))
        return action

    def error(self, trial: str, text: str) -> None:
        """A trial has died with this traceback, its own; the search goes on.

        What ran out of memory on a device that it shared is tried once more, alone.
        """
        if not self._is_underway(trial):
            return
        state = self.trials[trial]
        kind: Kind = "failed"
        if OUT_OF_MEMORY in text.lower():
            if self._retries.may_be_crowded(trial):
                self._try_again(trial, "memory", text)
                return
            kind = "infeasible"
            self.room.failed(state.config, text)
        self._end(state, "failed", last_line(text), Outcome(kind), error=text)

    def lost(self, trial: str, text: str) -> None:
        """A trial's worker or its node is gone: it goes on from what it saved, unless that has come to nothing again and again.

        Args:
            text: what became of the worker.
        """
        if not self._is_underway(trial):
            return
        if self._retries.may_go_on(trial):
            self._try_again(trial, "lost", text)
        else:
            self._end(self.trials[trial], "failed", lost_too_often(text), Outcome("failed"), error=text)

    def is_live(self, trial: str) -> bool:
        """Whether the trial has not ended."""
        return self.trials[trial].status == "running"

    def _is_underway(self, trial: str) -> bool:
        """Whether the trial was handed out and has not ended: what is said of any other comes too late."""
        return self.is_live(trial) and trial not in self._waiting

    def _try_again(self, trial: str, cause: Cause, text: str) -> None:
        entry = retry_event(trial, cause, text)
        self._write(entry)
        self._retries.take(entry)
        self._waiting.append(trial)
        self._notify(entry)

    @property
    def baseline(self) -> TrialState | None:
        """See `Standings.baseline`."""
        return self._standings.baseline

    def ranking(self) -> list[TrialState]:
        """See `Standings.ranking`."""
        return self._standings.ranking()

    def promotion_s(self) -> float | None:
        """See `Pace.promotion_s`."""
        return self.pace.promotion_s()

    def remaining_s(self) -> float | None:
        """See `Pace.remaining_s`."""
        return self.pace.remaining_s(self.is_searched)

    def candidates(self) -> list[TrialState]:
        """What promotion works on: the baseline, and the best distinct configurations by what they can be expected to have."""
        seen = (len(self.trials), self._num_reports, self.num_ended.total())
        if self._chosen is None or self._chosen[0] != seen:
            expected = self.estimates()
            ranked = sorted(distinct(self.ranking()), key=lambda state: (expected[state.number].value_mm, state.number))
            self._chosen = seen, self._standings.with_baseline(ranked[: self.space.promotion.candidates])
        return list(self._chosen[1])

    def estimates(self) -> dict[int, Estimate]:
        """What each trial's configuration can be expected to have, by number; see `search.candidates`."""
        return estimates(self.space.knobs, self.sampler.trials)

    def _announce(self, number: int) -> Assignment | None:
        """Propose trial `number`; None if its configuration cannot exist, which the sampler is told."""
        asked_after, values = self._proposal(number)
        trial = f"t{number:04d}"
        is_baseline = number == 0
        try:
            config = sharing(self.space.configure(values, seed=self.seed), self._sections)
        except InputError as error:
            state = TrialState(trial, number, values, self.space.base_config(), is_baseline)
            self._open(state, asked_after)
            self._end(state, "failed", str(error), Outcome("infeasible"), error=str(error))
            return None
        state = TrialState(trial, number, values, config, is_baseline)
        self._open(state, asked_after)
        return Assignment(trial, number, config, 0)

    def _proposal(self, number: int) -> tuple[int, dict[str, Any]]:
        """What trial `number` tries, and how much of the history that knew; what was asked ahead, if it still fits."""
        offer, self._offer = self._offer, None
        if offer is None or offer.number != number or not self._fits(self.room, offer.values):
            return self.num_events, self.sampler.ask(number)
        self.sampler.take(number, offer.values)
        return offer.asked_after, offer.values

    def _fits(self, room: Room, values: Mapping[str, Any]) -> bool:
        """Whether memory would suffice, as far as failures have shown; what cannot exist at all is told apart later."""
        try:
            return room.fits(self.space.configure(values, seed=self.seed))
        except InputError:
            return True

    def _open(self, state: TrialState, asked_after: int) -> None:
        self._standings.begin(state)
        entry = {
            "event": "trial",
            "trial": state.trial,
            "number": state.number,
            "role": "search",
            "candidate": state.trial,
            "is_baseline": state.is_baseline,
            "asked_after": asked_after,
            "values": state.values,
            "config": state.config.model_dump(mode="json"),
            "seed": self.seed,
            "fold": -1,
        }
        self._write(entry)
        self._notify(entry)

    def _take(self, state: TrialState, report: Event) -> None:
        """A report of the ledger, new or of an earlier driver."""
        epoch, value_mm, seconds = int(report["epoch"]), report.get("val_mre_mm"), float(report["seconds"])
        if report.get("validated", True):
            self.sampler.report(state.number, epoch, state.config.train.epochs, value_mm)
        self._num_reports += 1
        state.epoch = max(state.epoch, epoch)
        state.seconds += seconds
        state.health = names_in(report.get("health"))
        state.peak_memory_mb = max(state.peak_memory_mb, report.get("peak_memory_mb") or 0.0)
        if report.get("validated", True):
            state.sdr_2mm = report.get("val_sdr_2mm")
        self.pace.cost.observe(state.config, epoch, int(report["image_size"]), seconds, report.get("micro_batch"))
        self.room.observe(state.config, epoch, report.get("micro_batch"), report.get("peak_memory_mb"))
        if state.seconds > 0:
            self.sampler.timed(state.number, self.pace.cost.whole_by_own(state.config, state.epoch, state.seconds))
        if value_mm is not None and math.isfinite(value_mm):
            self._standings.measured(state, value_mm)

    def _retire(self, state: TrialState, status: str, reason: str) -> None:
        self._standings.retire(state, status, reason)
        self.pace.retired(state)

    def _end(self, state: TrialState, status: str, reason: str, outcome: Outcome, error: str | None = None) -> None:
        if state.status != "running":
            return
        infeasible = outcome.kind == "infeasible"
        entry: Event = {
            "event": "end", "trial": state.trial, "status": status, "reason": reason, "error": error, "infeasible": infeasible,
        }  # fmt: skip
        self._write(entry)
        self.rungs.ended(state.trial)
        self._retire(state, status, reason)
        self.sampler.tell(state.number, outcome)
        self._notify(entry)

    def _write(self, entry: Event) -> bool:
        entry["time"] = time.time()
        is_new = self._ledger.append(entry)
        self.num_events += is_new
        return is_new

    def _notify(self, entry: Event) -> None:
        """After the state has changed, so that observers see it as the event left it."""
        for observer in self._observers:
            observer(entry)

    def _stop_waiting(self, reason: str, is_meant: Callable[[TrialState], bool] = lambda state: True) -> None:
        meant = [trial for trial in self._waiting if is_meant(self.trials[trial])]
        self._waiting = [trial for trial in self._waiting if trial not in meant]
        for trial in meant:
            state = self.trials[trial]
            self._end(state, "stopped", reason, _ended_early(state))

    def _close(self, reason: str) -> None:
        self.is_searched = True
        self._ledger.append_searched(reason)

    def _restore(self, events: list[Event]) -> None:
        """Rebuild sampler, rungs and trials from the ledger; trials that had not ended wait to go on."""
        past = [entry for entry in histories(events) if entry.trial["role"] == "search"]
        self.sampler.replay(past_trials(past))
        for entry in past:
            told = entry.trial
            config = sharing(Config.model_validate(told["config"]), self._sections)
            state = TrialState(told["trial"], told["number"], told["values"], config, told["is_baseline"])
            self._standings.begin(state)
        self.num_events = sum(event.get("trial") in self.trials for event in events)
        for event in events:
            if event["event"] == "report" and event["trial"] in self.trials:
                self._replay_report(self.trials[event["trial"]], event)
            elif event["event"] == "end":
                self.rungs.ended(event["trial"])
            self._retries.take(event)
        marks = [event["event"] for event in events if event["event"] in ("searched", "extended")]
        self.is_searched = bool(marks) and marks[-1] == "searched"
        for entry in past:
            state = self.trials[entry.trial["trial"]]
            if entry.end is not None:
                if entry.end["infeasible"] and OUT_OF_MEMORY in (entry.end["error"] or "").lower():
                    self.room.failed(state.config, entry.end["error"])
                self._retire(state, entry.end["status"], entry.end["reason"] or "")
            else:
                self._settle(state, entry.reports)

    def _replay_report(self, state: TrialState, event: Event) -> None:
        total = state.config.train.epochs
        value, validated = event["val_mre_mm"], event.get("validated", True)
        self.rungs.report(state.trial, event["epoch"], total, value, protected=state.is_baseline, validated=validated)
        self._take(state, event)

    def _settle(self, state: TrialState, reports: Sequence[Event]) -> None:
        """A trial whose last report decided its end, but whose end was not written, ends now; any other goes on."""
        verdict = reports[-1]["decision"] if reports else "continue"
        if verdict == "done":
            self._end(state, "completed", f"all {state.config.train.epochs} epochs", Outcome("complete", state.value_mm))
        elif verdict == Action.STOP.value:
            self._end(state, "stopped", "stopped at its last report", _ended_early(state))
        elif verdict == Action.FAIL.value:
            self._end(state, "failed", "failed at its last report", Outcome("infeasible"))
        else:
            self._waiting.append(state.trial)


def _ended_early(state: TrialState) -> Outcome:
    """What the sampler is told of a trial that did not have all its epochs; without a report it says nothing."""
    return Outcome("failed") if state.value_mm is None else Outcome("stopped", state.value_mm)
