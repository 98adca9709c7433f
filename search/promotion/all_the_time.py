"""The question that a search must answer: what would the measured recipe have come to, given all the time that the search had?

Nobody trains it only to know.  Its error on the locked test is predicted from that of the exported ensemble: by what the search expects of
both settings at a trial's length, and by what recorded trainings say of longer trainings and of averaging (`final.relative_error`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ceph_core.config import Config
from ceph_core.config.profiles import profile
from ceph_core.data.films import EVERY_FILM, TrainingData
from search.candidates import longer
from search.cost import in_turn_s
from search.policy import Policy
from search.promotion.final import relative_error
from search.promotion.networks import Entry
from search.space import Space

_SAME_STRENGTH = 0.05
"""Most that the augmentation of two settings may differ in and be called the same."""
_MOST_NETWORKS = 64


@dataclass(frozen=True)
class AllTheTime:
    """The recipe, trained by one seed after another for as long as the whole run took.

    Attributes:
        trial: the search's trial of its setting.
        networks: that would have been trained to their end, and averaged; epochs: of each.
        predicted_mm: MRE on the locked test.  It was not run.
    """

    trial: str
    networks: int
    epochs: int
    predicted_mm: float


def recipe_with_all_the_time(policy: Policy, exported: Sequence[Entry], data: TrainingData, ensemble_mm: float) -> AllTheTime | None:
    """Predict it; None where the search did not try the recipe's setting, or where not even one network would have been trained in time."""
    recipe = profile(policy.space.profile)
    expected = policy.estimates()
    trial = next(
        (state for state in policy.trials.values() if state.number in expected and is_setting_of(policy.space, state.config, recipe)), None
    )
    if trial is None:
        return None
    pace, num_films = policy.pace, len(data.for_fold(EVERY_FILM).train_ids)
    each_s = (pace.cost.seconds(longer(trial.config, recipe.train.epochs)) or math.inf) * num_films / len(data.train_ids)
    limit_s = pace.elapsed_s() if math.isinf(pace.timetable.total_s) else pace.timetable.jobs_end_s()
    number = max((count for count in range(_MOST_NETWORKS + 1) if in_turn_s([each_s] * count, pace.workers) <= limit_s), default=0)
    if not number:
        return None
    networks = [network for entry in exported for network in entry.networks]
    passes = float(np.mean([network.epoch * len(data.for_fold(network.fold).train_ids) for network in networks]))
    theirs_mm = float(np.mean([expected[policy.trials[entry.candidate].number].value_mm for entry in exported for _ in entry.networks]))
    ratio = relative_error(recipe.train.epochs * num_films, number) / relative_error(passes, len(networks))
    predicted_mm = ensemble_mm * ratio * expected[trial.number].value_mm / theirs_mm
    return AllTheTime(trial.trial, number, recipe.train.epochs, predicted_mm)


def is_setting_of(space: Space, config: Config, recipe: Config) -> bool:
    """Whether a trial of this configuration, trained for as long as the recipe, would be the recipe but for its seed."""
    same = longer(config, recipe.train.epochs)
    ours, theirs = same.augment.resolved().model_dump(), recipe.augment.resolved().model_dump()
    moved = {
        key for key, value in ours.items() if isinstance(value, float) and not math.isclose(value, theirs[key], rel_tol=_SAME_STRENGTH)
    }
    sections = ("data", "model", "heatmap", "schedule")
    return (
        not moved
        and same.train.batch_size == recipe.train.batch_size
        and all(getattr(same, key) == getattr(recipe, key) for key in sections)
    )
