"""`--warm-start`: what the trials of earlier runs teach the sampler of a new one.  Pure.

Only what can be compared counts: the same films, and a configuration that the new space could have proposed, fixed settings and all, but
for its seed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ceph_core.config import Config, get
from ceph_core.errors import InputError
from search import records
from search.cost import EpochCost
from search.history import Outcome, Trial
from search.space import SCHEDULE, Space
from search.space.knobs import active


@dataclass(frozen=True)
class WarmStart:
    """Trials that count, numbered anew, and what is to be said of them."""

    trials: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()


def read(runs: Sequence[Path], space: Space, fingerprint: str) -> WarmStart:
    """The trials of these runs, in order.

    Args:
        fingerprint: of the new run's films.

    Raises:
        InputError: a folder is no run, holds other films, or nothing of it fits the space; all problems at once.
    """
    trials: list[Trial] = []
    notes: list[str] = []
    problems: list[str] = []
    for run in runs:
        try:
            found, seen = _of_run(run, space, fingerprint)
        except InputError as error:
            problems += error.problems
            continue
        trials += found
        notes.append(f"--warm-start {run}: {len(found)} of {seen} trials teach the sampler")
        if not found:
            problems.append(
                f"--warm-start {run}: none of its {seen} trials is one that this space could propose: other fixed settings, other knobs, "
                "or out of range; leave it out, or search a space that holds them"
            )
    if problems:
        raise InputError(problems)
    numbered = [replace(each, number=number) for number, each in enumerate(trials)]
    return WarmStart(tuple(numbered), tuple(notes))


def _of_run(run: Path, space: Space, fingerprint: str) -> tuple[list[Trial], int]:
    """Those that fit, and how many there are."""
    data = records.load(run).plan.get("data") or {}
    if data.get("fingerprint") != fingerprint:
        raise InputError(
            f"--warm-start {run}: its films ({data.get('name')}, {data.get('root')}) are not this run's, so that its errors "
            "cannot be compared; leave it out"
        )
    histories = {told.trial["trial"]: told for told in records.history(run)}
    past = records.past_trials(histories.values())
    found = []
    for trial in past:
        try:
            config = Config.model_validate(histories[trial.name].trial["config"])
        except ValidationError:  # of another version: counted among those that do not fit
            continue
        values = _values(space, config, trial.values.get(SCHEDULE))
        outcome = trial.outcome or _as_it_stands(trial)
        if values is not None and outcome is not None:
            name, seconds = f"{run.resolve().name}/{trial.name}", _seconds(config, histories[trial.name].reports)
            found.append(Trial(trial.number, values, trial.curve, outcome, name, seconds=seconds))
    return found, len(past)


def _values(space: Space, config: Config, schedule: Any) -> dict[str, Any] | None:
    """The point of the space that means this training; None if there is none."""
    choices = next((knob.choices for knob in space.knobs if knob.key == SCHEDULE), (None,))
    for name in sorted(choices, key=lambda choice: choice != schedule):  # its own name first
        values: dict[str, Any] = {}
        for knob in space.knobs:
            if knob.key in active(space.knobs, values):
                values[knob.key] = name if knob.key == SCHEDULE else get(config, knob.key)
        try:
            if space.contains(values) and space.configure(values, config.train.seed) == config:
                return values
        except InputError:
            continue
    return None


def _seconds(config: Config, reports: Sequence[records.Event]) -> float | None:
    """What its whole training would have taken, by its own epochs; None without any."""
    spent = math.fsum(float(report["seconds"]) for report in reports)
    return EpochCost().whole_by_own(config, int(reports[-1]["epoch"]), spent) if spent > 0 else None


def _as_it_stands(trial: Trial) -> Outcome | None:
    """A trial that had not ended counts as stopped at its last report."""
    value = trial.curve[max(trial.curve)].value_mm if trial.curve else None
    return None if value is None else Outcome("stopped", value)
