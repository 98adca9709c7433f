"""What the history tells an Optuna model: the policy of stopped and infeasible trials."""

import contextlib
import copy
import logging
import warnings
from collections.abc import Container, Iterator, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.forecast import forecasts
from search.history import Trial
from search.space.knobs import Knob

StoppedAs = Literal["complete", "pruned", "failed", "predicted"]
"""What a trial stopped early tells the model.

complete: its last value as if it were final.  pruned: that it is worse than every finished trial, the more so the earlier it
stopped (TPE only: a GP does not look at pruned trials).  failed: nothing.  predicted: the end of its curve as `search.forecast` expects it
by now, as if it had come there.  Until some trial has finished that is its last value, as it is for a trial without a finite report.
"""

_PROGRESS_STEPS = 1000
"""Optuna ranks pruned trials by a whole-number step: ours is the share of a trial's own epochs, in thousandths."""


class Told:
    """The history in Optuna's terms; a trial is put into them when it is new and when what it says has changed, not at every proposal.

    A running trial shows its configuration, for the constant liar; a failed one is not looked at.  An infeasible one breaks
    a constraint: TPE ranks it below all others; a GP wants the constraint of every trial, and a value (the worst told).
    """

    def __init__(self, distributions: dict[str, BaseDistribution], stopped_as: StoppedAs, with_gp: bool) -> None:
        self._distributions, self._stopped_as, self._with_gp = distributions, stopped_as, with_gp
        self._frozen: list[tuple[object, FrozenTrial]] = []

    def trials(self, trials: Sequence[Trial]) -> list[FrozenTrial]:
        """The trials, numbered by their place; those asked for before come first, in the same order."""
        values_mm = _values_mm(trials, self._stopped_as)
        worst_mm = max((value_mm for value_mm in values_mm if value_mm is not None), default=None)
        constrained = self._with_gp and any(trial.outcome is not None and trial.outcome.kind == "infeasible" for trial in trials)
        for place, (trial, value_mm) in enumerate(zip(trials, values_mm, strict=True)):
            depends_on = (trial.outcome, value_mm, constrained, worst_mm if constrained else None)
            if place == len(self._frozen):
                self._frozen.append((depends_on, self._freeze(place, trial, value_mm, constrained, worst_mm)))
            elif self._frozen[place][0] != depends_on:
                self._frozen[place] = depends_on, self._freeze(place, trial, value_mm, constrained, worst_mm)
        return [frozen for _, frozen in self._frozen]

    def _freeze(self, place: int, trial: Trial, value_mm: float | None, constrained: bool, worst_mm: float | None) -> FrozenTrial:
        said = _said(trial, value_mm, self._stopped_as)
        if trial.outcome is not None and trial.outcome.kind == "infeasible":
            said = {"value": worst_mm} if self._with_gp else {"state": TrialState.PRUNED}
            said["constraints"] = {"infeasible": 1.0}
        elif constrained:
            said["constraints"] = {"infeasible": -1.0}
        frozen = create_trial(params=trial.values, distributions={key: self._distributions[key] for key in trial.values}, **said)
        frozen.number = place
        return frozen


class HistoryStorage(InMemoryStorage):
    """A study whose past is handed over as it stands; Optuna's own storage copies every trial of it at every proposal."""

    def __init__(self, past: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._past = past

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Numbered after the past."""
        trial_id = super().create_new_trial(study_id, template_trial)
        self.get_trial(trial_id).number += len(self._past)
        return trial_id

    def get_trial_number_from_id(self, trial_id: int) -> int:
        """As in the study, the past included."""
        return self.get_trial(trial_id).number

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """The past, then what was drawn."""
        past = [trial for trial in self._past if states is None or trial.state in states]
        return [*(copy.deepcopy(past) if deepcopy else past), *super().get_all_trials(study_id, deepcopy, states)]


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


def _values_mm(trials: Sequence[Trial], stopped_as: StoppedAs) -> list[float | None]:
    """What trials that ended are told with; None for those without a value."""
    values_mm = [trial.outcome.value_mm if trial.outcome is not None else None for trial in trials]
    if stopped_as == "predicted":
        for place, (trial, forecast) in enumerate(zip(trials, forecasts(trials), strict=True)):
            if forecast is not None and trial.outcome is not None and trial.outcome.kind == "stopped":
                values_mm[place] = forecast.value
    return values_mm


def _said(trial: Trial, value_mm: float | None, stopped_as: StoppedAs) -> dict[str, Any]:
    """State and value of a feasible trial."""
    if trial.outcome is None:
        return {"state": TrialState.RUNNING}
    if trial.outcome.kind == "failed" or not informs(trial, stopped_as):
        return {"state": TrialState.FAIL}
    if trial.outcome.kind == "stopped" and stopped_as == "pruned":
        # Of its curve TPE looks at the last report alone; more would only be copied at every proposal.
        progress = max((_PROGRESS_STEPS * epoch // point.total_epochs for epoch, point in trial.curve.items()), default=0)
        return {"state": TrialState.PRUNED, "intermediate_values": {progress: value_mm}}
    return {"value": value_mm}
