"""The search as an Optuna study on disk, for people: `optuna-dashboard study.journal` opens it while the run lives.

It is a copy and never read back: decisions come from the ledger.  So it is rebuilt whole whenever a driver starts, which
also mends a journal torn by a crash (an append after half a line would make it unreadable), drops the lock of a killed
driver and leaves no trial running that is not.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState, create_trial
from optuna.visualization import plot_parallel_coordinate

from search.history import Point, Trial
from search.space.knobs import Knob
from search.told import distribution, quiet_optuna

Notes = dict[str, str | int | float | bool]

METRIC = "validation MRE, mm"

_STATES = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL, "infeasible": TrialState.FAIL}

_MIN_TRIALS, _MIN_COMPLETE = 8, 3
"""Fewer say nothing about importance."""

_TOP_SHARE, _TOP_TRIALS = 0.1, 5
"""PED-ANOVA compares the best tenth with all; its authors want five trials there, so a short search compares more."""


class _Copy(JournalFileBackend):
    """Optuna's journal file, appended under its lock but not synced: every line can be made again from the ledger, which is."""

    def __init__(self, path: Path) -> None:
        self._copy, self._guard = path, JournalFileSymlinkLock(str(path))
        super().__init__(str(path), self._guard)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        self._guard.acquire()
        try:
            with self._copy.open("ab") as file:
                file.write(lines.encode())
        finally:
            self._guard.release()


class StudyMirror:
    """Writes the study; one driver at a time.  Values are validation MRE in mm, intermediate ones by epoch.

    Args:
        path: the journal; what lies there is replaced.
        name: of the study.
        knobs: what is searched.
        trials: the history so far; those without an outcome are shown as running.
        notes: what people may want to know of a trial that has ended, beside its values; kept as attributes.
    """

    def __init__(
        self, path: Path, name: str, knobs: Sequence[Knob], trials: Iterable[Trial] = (), notes: Callable[[Trial], Notes] = lambda trial: {}
    ) -> None:
        self._notes = notes
        self._distributions = {knob.key: distribution(knob) for knob in knobs}
        self._written: dict[int, tuple[int, set[int]]] = {}
        building = path.with_name(f"{path.name}.building")
        for leftover in path.parent.glob(f"{path.name}.*"):  # locks of a killed driver, a rebuild cut short
            leftover.unlink()
        with quiet_optuna():
            self._storage = JournalStorage(_Copy(building))
            study = optuna.create_study(storage=self._storage, study_name=name, direction="minimize")
            study.set_metric_names([METRIC])
            self._study_id = self._storage.get_study_id_from_name(study.study_name)
            for trial in sorted(trials, key=lambda trial: trial.number):
                self.update(trial)
            building.replace(path)
            self._storage = JournalStorage(_Copy(path))

    def update(self, trial: Trial) -> None:
        """Write what the journal lacks of a trial: its announcement, new reports, its end."""
        with quiet_optuna():
            if trial.number not in self._written:
                trial_id = self._storage.create_new_trial(self._study_id, self._frozen(trial))
                self._written[trial.number] = trial_id, set(trial.curve)
                return
            trial_id, epochs = self._written[trial.number]
            if self._storage.get_trial(trial_id).state.is_finished():
                return
            for epoch in sorted(trial.curve.keys() - epochs):
                if not epochs:
                    self._storage.set_trial_user_attr(trial_id, "epochs", trial.curve[epoch].total_epochs)
                self._storage.set_trial_intermediate_value(trial_id, epoch, _or_nan(trial.curve[epoch]))
                epochs.add(epoch)
            if trial.outcome is not None:
                value_mm = trial.outcome.value_mm
                for key, note in {"outcome": trial.outcome.kind, **self._notes(trial)}.items():
                    self._storage.set_trial_user_attr(trial_id, key, note)
                self._storage.set_trial_state_values(trial_id, _STATES[trial.outcome.kind], None if value_mm is None else [value_mm])

    def _frozen(self, trial: Trial) -> FrozenTrial:
        attributes: Notes = {"trial": trial.name or str(trial.number), "baseline": trial.is_baseline}
        if trial.curve:
            attributes["epochs"] = next(iter(trial.curve.values())).total_epochs
        if trial.outcome is not None:
            attributes |= {"outcome": trial.outcome.kind, **self._notes(trial)}
        return create_trial(
            state=_STATES[trial.outcome.kind] if trial.outcome else TrialState.RUNNING,
            value=trial.outcome.value_mm if trial.outcome else None,
            params=trial.values,
            distributions={key: self._distributions[key] for key in trial.values},
            user_attrs=attributes,
            intermediate_values={epoch: _or_nan(point) for epoch, point in trial.curve.items()},
        )


@dataclass(frozen=True)
class Importances:
    """Each knob's share (they add up to 1) in what sets the best trials apart; none, and the reason, if nothing can be said."""

    shares: dict[str, float]
    reason: str | None = None


def importances(trials: Sequence[Trial], knobs: Sequence[Knob]) -> Importances:
    """PED-ANOVA (Watanabe et al., IJCAI 2023) over finished and stopped trials.

    It looks at ranks only, so a stopped trial takes part: behind every finished one, the earlier stopped the further.
    """
    valued = [(trial, trial.outcome) for trial in trials if trial.outcome is not None and trial.outcome.value_mm is not None]
    num_complete = sum(outcome.kind == "complete" for _, outcome in valued)
    if len(valued) < _MIN_TRIALS or num_complete < _MIN_COMPLETE:
        needed = f"importance needs {_MIN_TRIALS} trials with a value, {_MIN_COMPLETE} of them complete"
        return Importances({}, f"{needed}; this search has {len(valued)}, {num_complete} of them complete")
    ranked = [trial for trial, _ in sorted(valued, key=lambda pair: _rank(pair[0]))]
    distributions = {knob.key: distribution(knob) for knob in knobs}
    present = [key for key in distributions if any(key in trial.values for trial in ranked)]
    with quiet_optuna():
        study = optuna.create_study()
        for rank, trial in enumerate(ranked):
            own = {key: distributions[key] for key in trial.values}
            study.add_trial(create_trial(value=float(rank), params=trial.values, distributions=own))
        top = max(_TOP_SHARE, min(0.5, _TOP_TRIALS / len(ranked)))
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=top), params=present)
    return Importances(dict(sorted(shares.items(), key=lambda item: -item[1])))


def parallel_coordinates(trials: Sequence[Trial], knobs: Sequence[Knob]) -> dict[str, Any] | str:
    """Optuna's own plot, as Plotly.js data and layout: a line a trial through the values of its knobs; or why there is none.

    A stopped trial stands with its last validation MRE.  Knobs that some trials lack are left out: a line must cross every axis.
    """
    valued = [(trial, trial.outcome.value_mm) for trial in trials if trial.outcome is not None and trial.outcome.value_mm is not None]
    common = [knob for knob in knobs if all(knob.key in trial.values for trial, _ in valued)]
    if len(valued) < 2 or not common:
        found = f"{len(valued)} and {len(common)}"
        return f"parallel coordinates need two trials with a value and a knob that all have; this search has {found}"
    with quiet_optuna():
        study = optuna.create_study()
        for trial, value_mm in valued:
            own = {knob.key: distribution(knob) for knob in common}
            study.add_trial(create_trial(value=value_mm, params={key: trial.values[key] for key in own}, distributions=own))
        figure: dict[str, Any] = plot_parallel_coordinate(study, target_name="MRE, mm").to_plotly_json()
    return figure


def _rank(trial: Trial) -> tuple[float, float]:
    """Finished before stopped, late-stopped before early-stopped, then by value."""
    assert trial.outcome is not None and trial.outcome.value_mm is not None
    if trial.outcome.kind == "complete":
        return -1.0, trial.outcome.value_mm
    return -max((epoch / point.total_epochs for epoch, point in trial.curve.items()), default=0.0), trial.outcome.value_mm


def _or_nan(point: Point) -> float:
    return math.nan if point.value_mm is None else point.value_mm
