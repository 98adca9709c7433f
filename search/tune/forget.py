"""What Ray Tune need not remember of trials: it keeps every one, for tables of its own that we never ask for.

Of each figure of a report it keeps extremes, means and the last ten, and of each trial its configuration three times over: 90 kB a trial.
"""

from typing import Any

from ray import tune

from search.tune.driverside import DriverSide

_KEPT = {"trial_id", "training_iteration", "done", "pid", "node_ip"}
"""What Tune itself reads of a trial's last report."""


class Forget(DriverSide, tune.Callback):
    """Drops a report's figures once our scheduler has heard them, and an ended trial's configuration and statistics."""

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Tune lets a callback change what it keeps."""
        for key in result.keys() - _KEPT:
            del result[key]

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its name stays."""
        _forget(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Likewise; the traceback is in our records."""
        _forget(trial)


def _forget(trial: Any) -> None:
    trial.config["order"].pop("config", None)
    trial.evaluated_params = {}
    trial.experiment_tag = ""
    trial.run_metadata.metric_analysis.clear()
    trial.run_metadata.metric_n_steps.clear()
