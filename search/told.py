"""What the history tells an Optuna model: the policy of stopped and infeasible trials."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.history import Trial
from search.space.knobs import Knob

StoppedAs = Literal["complete", "pruned", "failed"]
"""What a trial stopped early tells the model.

complete: its last value as if it were final.  pruned: that it is worse than every finished trial, the more so the earlier it
stopped (TPE only: a GP does not look at pruned trials).  failed: nothing.
"""

_PROGRESS_STEPS = 1000
"""Optuna ranks pruned trials by a whole-number step: ours is the share of a trial's own epochs, in thousandths."""


def told(trials: Sequence[Trial], distributions: dict[str, BaseDistribution], stopped_as: StoppedAs, with_gp: bool) -> list[FrozenTrial]:
    """The trials in Optuna's terms, in order.

    A running trial shows its configuration, for the constant liar; a failed one is not looked at.  An infeasible one breaks
    a constraint: TPE ranks it below all others; a GP wants the constraint of every trial, and a value (the worst seen).
    """
    values_mm = [trial.outcome.value_mm for trial in trials if trial.outcome is not None and trial.outcome.value_mm is not None]
    constrained = with_gp and any(trial.outcome is not None and trial.outcome.kind == "infeasible" for trial in trials)
    frozen = []
    for trial in trials:
        said = _said(trial, stopped_as)
        if trial.outcome is not None and trial.outcome.kind == "infeasible":
            said = {"value": max(values_mm)} if with_gp else {"state": TrialState.PRUNED}
            said["constraints"] = {"infeasible": 1.0}
        elif constrained:
            said["constraints"] = {"infeasible": -1.0}
        frozen.append(create_trial(params=trial.values, distributions={key: distributions[key] for key in trial.values}, **said))
    return frozen


def informs(trial: Trial, stopped_as: StoppedAs) -> bool:
    """Whether the model learns from this trial."""
    kind = trial.outcome.kind if trial.outcome is not None else None
    return kind in ("complete", "infeasible") or (kind == "stopped" and stopped_as != "failed")


def distribution(knob: Knob) -> BaseDistribution:
    """A knob in Optuna's terms."""
    if knob.kind == "categorical":
        return CategoricalDistribution(knob.choices)
    assert knob.low is not None and knob.high is not None
    if knob.kind == "int":
        return IntDistribution(int(knob.low), int(knob.high), log=knob.log, step=int(knob.step or 1))
    return FloatDistribution(knob.low, knob.high, log=knob.log, step=knob.step)


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """No line of Optuna's log a study, no warning that a feature we chose is experimental."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


def _said(trial: Trial, stopped_as: StoppedAs) -> dict[str, Any]:
    """State and value of a feasible trial."""
    if trial.outcome is None:
        return {"state": TrialState.RUNNING}
    if trial.outcome.kind == "failed" or not informs(trial, stopped_as):
        return {"state": TrialState.FAIL}
    if trial.outcome.kind == "stopped" and stopped_as == "pruned":
        # Of its curve TPE looks at the last report alone; more would only be copied at every proposal.
        progress = max((_PROGRESS_STEPS * epoch // point.total_epochs for epoch, point in trial.curve.items()), default=0)
        return {"state": TrialState.PRUNED, "intermediate_values": {progress: trial.outcome.value_mm}}
    return {"value": trial.outcome.value_mm}
