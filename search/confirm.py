"""The judge of promotion's trainings: all go on to the end unless they diverge or time runs out."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from search.policy import Observer
from search.promotion import Job
from search.records import Ledger, histories


class Confirmation:
    """Keeps the records of jobs; on resume a job goes on where its ledger ends."""

    def __init__(
        self, jobs: Sequence[Job], ledger: Ledger, seed: int, first_number: int, is_over: Callable[[], bool], observers: Sequence[Observer]
    ) -> None:
        past = {entry.trial["trial"]: entry for entry in histories(list(ledger.events()))}
        self._ledger, self._is_over, self._observers = ledger, is_over, tuple(observers)
        self._epochs = {job.trial: job.config.train.epochs for job in jobs}
        self._ended = {job.trial for job in jobs if job.trial in past and past[job.trial].end is not None}
        self.reported = {job.trial: max((r["epoch"] for r in past[job.trial].reports), default=0) if job.trial in past else 0 for job in jobs}
        self.waiting = [job for job in jobs if job.trial not in self._ended]
        for number, job in enumerate(self.waiting, start=first_number):
            self._write(
                "trial",
                trial=job.trial,
                number=number,
                role="confirm",
                candidate=job.candidate,
                is_baseline=False,
                values={},
                config=job.config.model_dump(mode="json"),
                seed=seed,
                fold=-1,
            )

    def heard(self, trial: str, figures: Mapping[str, Any]) -> bool:
        """An epoch has ended; whether the job goes on."""
        value = figures.get("val_mre_mm")
        diverged = value is None or not math.isfinite(value)
        done = figures["epoch"] >= self._epochs[trial]
        over = not diverged and not done and self._is_over()
        verdict = "fail" if diverged else "done" if done else "stop" if over else "continue"
        self._write("report", trial=trial, **figures, rung=None, decision=verdict)
        if diverged:
            self._end(trial, "failed", f"epoch {figures['epoch']}: no finite value")
        elif done:
            self._end(trial, "completed", f"all {self._epochs[trial]} epochs")
        elif over:
            self._end(trial, "stopped", f"epoch {figures['epoch']}: time for promotion is up")
        return verdict == "continue"

    def died(self, trial: str, text: str) -> None:
        """The job has failed with this traceback."""
        self._end(trial, "failed", text.strip().splitlines()[-1] if text.strip() else "no message", text)

    def _end(self, trial: str, status: str, reason: str, error: str | None = None) -> None:
        if trial not in self._ended:
            self._ended.add(trial)
            self._write("end", trial=trial, status=status, reason=reason, error=error)

    def _write(self, event: str, **fields: Any) -> None:
        entry = {"event": event, "time": time.time(), **fields}
        if self._ledger.append(entry):
            for observer in self._observers:
                observer(entry)
