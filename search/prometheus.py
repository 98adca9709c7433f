"""What a run tells Prometheus: names, meanings and values.  Pure; `search.tune.exporter` hands them to Ray.

All of it is told by the driver, which hears every report anyway.  Ray forgets a gauge some 20 s after it was last set, wherever that was: a
trial that told of itself would vanish between two long epochs, and need a thread to prevent it.  The driver tells of the trials
that run, again and again; a trial that has ended is told of no more, and its series ends by itself.  So the number of series is
that of trials at a time, not of all there ever were, whichever actors come, go or are used again.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from search.policy import TIME_IS_UP, Policy
from search.records import Event

Status = Literal["pending", "running", "completed", "stopped", "failed"]
STATUSES: tuple[Status, ...] = ("pending", "running", "completed", "stopped", "failed")
ROLES = ("search", "confirm", "final")
RETRY_CAUSES = ("memory", "lost")


@dataclass(frozen=True)
class Metric:
    """One metric as Prometheus knows it.

    Attributes:
        name: with its unit, as Prometheus asks for: seconds, bytes, ratio (of 1); mm stay mm, since nobody reads an error in metres.
        help: what it is.
        labels: that tell its series apart.
    """

    name: str
    help: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """One value of one series."""

    metric: str
    value: float
    labels: dict[str, str]


_RUN, _TRIAL = ("run",), ("run", "trial")

METRICS = (
    Metric("ceph_search_trials", "Trials by role (search, confirm, final) and status", ("run", "role", "status")),
    Metric("ceph_search_best_val_mre_mm", "Lowest validation MRE of a search trial's last validation, mm", _RUN),
    Metric("ceph_search_baseline_val_mre_mm", "Last validation MRE of the baseline, mm", _RUN),
    Metric("ceph_search_elapsed_seconds", "Time the run has lived, earlier drivers included", _RUN),
    Metric("ceph_search_time_left_seconds", "Estimated time until the search is over; promotion comes after it", _RUN),
    Metric("ceph_search_epochs", "Epochs trained by all trials", _RUN),
    Metric("ceph_search_device_seconds", "Seconds of training times the share of a GPU, or the CPU cores, it held", ("run", "device")),
    Metric("ceph_search_saved_device_seconds", "Estimated device seconds that early stops spared", ("run", "device")),
    Metric("ceph_search_retries", "Trials tried again, by cause: memory (none left beside others), lost (its worker)", ("run", "cause")),
    Metric("ceph_trial_epoch", "Epochs the trial has ended", _TRIAL),
    Metric("ceph_trial_planned_epochs", "Epochs of a whole training of the trial", _TRIAL),
    Metric("ceph_trial_val_mre_mm", "Validation MRE at the last validation, mm", _TRIAL),
    Metric("ceph_trial_val_sdr_2mm_ratio", "Share of landmarks within 2 mm at the last validation, of 1", _TRIAL),
    Metric("ceph_trial_train_loss", "Mean training loss of the last epoch", _TRIAL),
    Metric("ceph_trial_val_loss", "Validation loss at the last validation", _TRIAL),
    Metric("ceph_trial_learning_rate", "Learning rate at the end of the last epoch", _TRIAL),
    Metric("ceph_trial_epoch_seconds", "Seconds of the last epoch, validation included", _TRIAL),
    Metric("ceph_trial_films_per_second", "Training films a second in the last epoch", _TRIAL),
    Metric("ceph_trial_peak_memory_bytes", "Peak memory of the trial's GPU, or of its process without one", _TRIAL),
)  # fmt: skip
"""Everything that is exported, all as gauges: totals come from the ledger, so that a resumed run goes on counting where it was, which
a counter of a new process would not.  Ray puts `ray_` before each name."""

_FIGURES = {
    "ceph_trial_epoch": ("epoch", 1.0),
    "ceph_trial_val_mre_mm": ("val_mre_mm", 1.0),
    "ceph_trial_val_sdr_2mm_ratio": ("val_sdr_2mm", 0.01),
    "ceph_trial_train_loss": ("train_loss", 1.0),
    "ceph_trial_val_loss": ("val_loss", 1.0),
    "ceph_trial_learning_rate": ("lr", 1.0),
    "ceph_trial_epoch_seconds": ("seconds", 1.0),
    "ceph_trial_films_per_second": ("films_per_s", 1.0),
    "ceph_trial_peak_memory_bytes": ("peak_memory_mb", 2.0**20),
}
"""A trial's metric -> the figure of a report, and what it is multiplied with."""


@dataclass
class _Told:
    """What is kept of a trial: constant in size, and dropped when it has ended."""

    role: str
    planned_epochs: int
    places: int = 1
    figures: dict[str, float] = field(default_factory=dict)


class Measures:
    """An observer of the ledger that knows what to tell Prometheus at any time.

    Args:
        run: name of the run, the label of everything.
        policy: of the search, as the ledger's events leave it.
        device: "gpu" or "cpu".
        share: of a device that one place has: a share of a GPU, or CPU cores.
        past: the ledger of earlier drivers.
    """

    def __init__(self, run: str, policy: Policy, device: str, share: float, past: Iterable[Event] = ()) -> None:
        self._run, self._policy, self._share = {"run": run}, policy, share
        self._device = {**self._run, "device": device}
        self._live: dict[str, _Told] = {}
        self._stopped: dict[str, _Told] = {}
        self._statuses: Counter[tuple[str, str]] = Counter()
        self._running: set[str] = set()
        self._retries: Counter[str] = Counter()
        self._epochs = 0
        self._spent_s = self._saved_s = 0.0
        for event in past:
            self.on_event(event)

    def begun(self, trial: str, places: int) -> None:
        """A trial, new or to go on, was given so many places."""
        if trial in self._live:
            self._running.add(trial)
            self._live[trial].places = places

    def on_event(self, event: Event) -> None:
        """What entered the ledger."""
        kind = event["event"]
        if kind == "trial":
            self._live[event["trial"]] = _Told(event["role"], int(event.get("config", {}).get("train", {}).get("epochs", 0)))
        elif kind == "report" and event["trial"] in self._live:
            self._report(self._live[event["trial"]], event)
        elif kind == "retry":
            self._retries[event["cause"]] += 1
            self._running.discard(event["trial"])
        elif kind == "reopened":
            told = self._live[event["trial"]] = self._stopped.pop(event["trial"])
            self._statuses[told.role, "stopped"] -= 1
        elif kind == "end" and event["trial"] in self._live:
            told = self._live.pop(event["trial"])
            self._running.discard(event["trial"])
            self._statuses[told.role, event["status"]] += 1
            if told.role != "search" and event["status"] == "stopped":
                self._stopped[event["trial"]] = told
            if event["status"] == "stopped" and TIME_IS_UP not in (event["reason"] or ""):  # the clock saves nothing
                self._saved_s += self._left_s(event["trial"]) * told.places * self._share

    def samples(self, elapsed_s: float) -> Iterator[Sample]:
        """Every series that there is now."""
        for role in ROLES:
            own = [trial for trial, told in self._live.items() if told.role == role]
            running = sum(trial in self._running for trial in own)
            counts = {"pending": len(own) - running, "running": running}
            for status in STATUSES:
                count = counts.get(status, self._statuses[role, status])
                yield Sample("ceph_search_trials", count, {**self._run, "role": role, "status": status})
        ranking, baseline, left_s = self._policy.ranking(), self._policy.baseline, self._policy.remaining_s()
        if ranking:
            yield from self._of_run("ceph_search_best_val_mre_mm", ranking[0].value_mm)
        if baseline is not None:
            yield from self._of_run("ceph_search_baseline_val_mre_mm", baseline.value_mm)
        yield from self._of_run("ceph_search_elapsed_seconds", elapsed_s)
        yield from self._of_run("ceph_search_time_left_seconds", left_s)
        yield from self._of_run("ceph_search_epochs", self._epochs)
        yield Sample("ceph_search_device_seconds", self._spent_s, self._device)
        yield Sample("ceph_search_saved_device_seconds", self._saved_s, self._device)
        for cause in RETRY_CAUSES:
            yield Sample("ceph_search_retries", self._retries[cause], {**self._run, "cause": cause})
        for trial in self._running:
            told, labels = self._live[trial], {**self._run, "trial": trial}
            yield Sample("ceph_trial_planned_epochs", told.planned_epochs, labels)
            for name, value in told.figures.items():
                yield Sample(name, value, labels)

    def _report(self, told: _Told, event: Event) -> None:
        self._epochs += 1
        self._spent_s += (event.get("seconds") or 0.0) * told.places * self._share
        for name, (figure, scale) in _FIGURES.items():
            value = event.get(figure)
            if value is not None and math.isfinite(value):  # an epoch without a validation leaves the last validation's
                told.figures[name] = value * scale

    def _left_s(self, trial: str) -> float:
        """Seconds that a search trial would still have trained, by its own pace; 0 for any other."""
        state = self._policy.trials.get(trial)
        if state is None or not state.epoch or not state.seconds:
            return 0.0
        return max(0.0, self._policy.pace.cost.whole_by_own(state.config, state.epoch, state.seconds) - state.seconds)

    def _of_run(self, name: str, value: float | None) -> Iterator[Sample]:
        if value is not None and math.isfinite(value):
            yield Sample(name, value, self._run)
