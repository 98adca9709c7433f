"""The judge of promotion's trainings: all go on to the end unless they diverge or time runs out."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from search.policy import Observer
from search.promotion import Job
from search.records import Event, Ledger, histories
from search.retries import OUT_OF_MEMORY, Cause, Retries, last_line, lost_too_often, retry_event

_TIME_IS_UP = "time for promotion is up"
_NO_TIME = "time for promotion does not suffice for a whole training"


class Confirmation:
    """Keeps the records of jobs; on resume a job goes on where its ledger ends.

    What the clock had stopped before the run was extended is reopened: there is more time now.

    Args:
        jobs: what promotion wants trained.
        ledger: where events go and, on resume, where history comes from.
        is_over: whether trainings must stop so that selection, test and export still fit.
        observers: told of every new event, in order.
        has_time: whether a job that has had so many epochs would reach its end; a fresh one is of no use otherwise and does not begin.
        shares_device: whether jobs stand on one device with others.

    Attributes:
        reported: last epoch that the ledger holds, by job.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        ledger: Ledger,
        is_over: Callable[[], bool],
        observers: Sequence[Observer] = (),
        has_time: Callable[[Job, int], bool] = lambda job, reported: True,
        shares_device: bool = False,
    ) -> None:
        self._ledger, self._is_over, self._observers, self._has_time = ledger, is_over, tuple(observers), has_time
        self._jobs = {job.trial: job for job in jobs}
        self._retries = Retries(shares_device)
        for event in ledger.events():
            self._retries.take(event)
        stopped_before = _stopped_before_extension(list(ledger.events()))
        for trial in self._jobs:
            if trial in stopped_before:
                self._write({"event": "reopened", "trial": trial})
        past = {entry.trial["trial"]: entry for entry in histories(list(ledger.events()))}
        reports = {job.trial: past[job.trial].reports if job.trial in past else [] for job in jobs}
        self._epochs = {job.trial: job.config.train.epochs for job in jobs}
        self._ended = {job.trial for job in jobs if job.trial in past and past[job.trial].end is not None}
        self.reported: dict[str, int] = {trial: max((report["epoch"] for report in told), default=0) for trial, told in reports.items()}
        first = 1 + max((int(entry.trial["number"]) for entry in past.values()), default=-1)
        for number, job in enumerate((job for job in jobs if job.trial not in past), start=first):
            self._announce(job, number)
        for trial, told in reports.items():
            # The last report may have decided an end that a killed driver did not write.
            if told and len(told) > past[trial].reports_before:
                self._settle(trial, told[-1]["epoch"], told[-1]["decision"])
        self._waiting = [job for job in jobs if job.trial not in self._ended]

    def next(self) -> Job | None:
        """The next job to train; None when all are under way, or time is up.  One that is lost comes again."""
        if self._is_over():
            for job in self._waiting:
                self._end(job.trial, "stopped", _TIME_IS_UP)
            self._waiting.clear()
        while self._waiting:
            job = self._waiting.pop(0)
            if not job.is_fresh or self._has_time(job, self.reported[job.trial]):
                return job
            self._end(job.trial, "stopped", _NO_TIME)
        return None

    def heard(self, trial: str, figures: Mapping[str, Any]) -> bool:
        """An epoch has ended; whether the job goes on."""
        epoch, value = int(figures["epoch"]), figures.get("val_mre_mm")
        if figures.get("validated", True) and (value is None or not math.isfinite(value)):
            verdict = "fail"
        elif epoch >= self._epochs[trial]:
            verdict = "done"
        else:
            verdict = "stop" if self._is_over() else "continue"
        self.reported[trial] = max(self.reported[trial], epoch)
        self._write({"event": "report", "trial": trial, **figures, "rung": None, "decision": verdict})
        self._settle(trial, epoch, verdict)
        return verdict == "continue"

    def died(self, trial: str, text: str) -> None:
        """The job has failed with this traceback, its own; one that ran out of memory beside others is tried once more, alone."""
        if self._is_underway(trial):
            if OUT_OF_MEMORY in text.lower() and self._retries.may_be_crowded(trial):
                self._try_again(trial, "memory", text)
            else:
                self._end(trial, "failed", last_line(text), text)

    def lost(self, trial: str, text: str) -> None:
        """The job's worker or its node is gone; it goes on from what it saved, unless that has come to nothing again and again."""
        if self._is_underway(trial):
            if self._retries.may_go_on(trial):
                self._try_again(trial, "lost", text)
            else:
                self._end(trial, "failed", lost_too_often(text), text)

    def unfinished(self) -> list[Job]:
        """Jobs that have not ended, in order."""
        return [job for trial, job in self._jobs.items() if trial not in self._ended]

    def is_alone(self, trial: str) -> bool:
        """Whether the job must have a device to itself, where jobs share one."""
        return self._retries.is_alone(trial)

    def _is_underway(self, trial: str) -> bool:
        return trial not in self._ended and all(job.trial != trial for job in self._waiting)

    def _try_again(self, trial: str, cause: Cause, text: str) -> None:
        self._write(retry_event(trial, cause, text))
        self._waiting.append(self._jobs[trial])

    def _announce(self, job: Job, number: int) -> None:
        entry = {
            "event": "trial",
            "trial": job.trial,
            "number": number,
            "role": job.role,
            "candidate": job.candidate,
            "is_baseline": False,
            "values": dict(job.values),
            "config": job.config.model_dump(mode="json"),
            "seed": job.config.train.seed,
            "fold": job.fold,
        }
        self._write(entry)

    def _settle(self, trial: str, epoch: int, verdict: str) -> None:
        if verdict == "fail":
            self._end(trial, "failed", f"epoch {epoch}: no finite value")
        elif verdict == "done":
            self._end(trial, "completed", f"all {self._epochs[trial]} epochs")
        elif verdict == "stop":
            self._end(trial, "stopped", f"epoch {epoch}: {_TIME_IS_UP}")

    def _end(self, trial: str, status: str, reason: str, error: str | None = None) -> None:
        if trial not in self._ended:
            self._ended.add(trial)
            self._write({"event": "end", "trial": trial, "status": status, "reason": reason, "error": error, "infeasible": False})

    def _write(self, entry: Event) -> None:
        entry["time"] = time.time()
        if self._ledger.append(entry):
            self._retries.take(entry)
            for observer in self._observers:
                observer(entry)


def _stopped_before_extension(events: Sequence[Event]) -> set[str]:
    """Trials that had been stopped when the run was last extended, and have not gone on since."""
    extended = max((place for place, event in enumerate(events) if event["event"] == "extended"), default=0)
    last = {event["trial"]: (place, event) for place, event in enumerate(events) if event["event"] in ("end", "reopened")}
    return {trial for trial, (place, event) in last.items() if place < extended and event.get("status") == "stopped"}
