"""Ray tells this what trials report, and how they die; it asks the run's judge who goes on."""

import re
from pathlib import Path
from typing import Any, Protocol

from ray import cloudpickle
from ray.exceptions import RayActorError, RayTaskError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.tune.driverside import DriverSide

_RAY_KEYS = {
    "trial_id", "done", "training_iteration", "time_this_iter_s", "time_total_s", "time_since_restore", "iterations_since_restore",
    "pid", "hostname", "node_ip", "date", "timestamp", "experiment_tag", "timesteps_total", "episodes_total",
}  # fmt: skip

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

_LOSSES = re.compile(
    r"ray\.exceptions\.(ObjectLost|ObjectFetchTimedOut|ObjectReconstructionFailed|OwnerDied|NodeDied|WorkerCrashed|LocalRayletDied)Error"
)
"""What a trial raises when Ray could not give it its data, since a node had gone."""


class Judge(Protocol):
    """Who decides: the search's policy, or promotion."""

    def heard(self, trial: str, figures: dict[str, Any]) -> bool:
        """An epoch has ended; whether the trial goes on."""

    def died(self, trial: str, text: str) -> None:
        """The trial has failed with this traceback, its own."""

    def lost(self, trial: str, text: str) -> None:
        """The trial's worker or its node is gone; the training had no say in it."""


class JudgeScheduler(DriverSide, FIFOScheduler):
    """First come, first served; stops what the judge stops."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._judge = judge

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """One report."""
        figures = {key: value for key, value in result.items() if key not in _RAY_KEYS and not key.startswith("config/")}
        goes_on = self._judge.heard(trial.config["order"]["trial"], figures)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A trial has died of its own error, or with its worker; what is known of it goes to the records."""
        path = trial.error_file
        text = (
            Path(path).read_text(encoding="utf-8", errors="replace")
            if path and Path(path).exists()
            else f"trial ended: {trial.get_error()}"
        )
        tell = self._judge.died if _is_its_own(trial, text) else self._judge.lost
        tell(trial.config["order"]["trial"], _COLOURS.sub("", text))


def _is_its_own(trial: Trial, text: str) -> bool:
    """Whether the training raised; else its process ended under it, or its node did."""
    path = trial.pickled_error_file  # beside the text, on this machine; `get_pickled_error` looks in the storage, where it is not yet
    error = cloudpickle.loads(Path(path).read_bytes()) if path and Path(path).exists() else None
    raised = isinstance(error, RayTaskError) or (isinstance(error, RayActorError) and error.actor_init_failed)
    return raised and not _LOSSES.search(text)
