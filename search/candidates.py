"""Who is promoted, and what promotion trains of each: the best by what they can be expected to have, not by how lucky they were.  Pure.

The lowest of many noisy errors is low in part by luck (the winner's curse).  A Gaussian process over the configurations takes each
trial's error as one draw about a smooth mean: where neighbours did worse, a low one is drawn towards them, and by more the noisier
errors are found to be.  Trials that were stopped count by the forecast of their end (`search.forecast`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ceph_core.config import Config
from search.cube import coordinates
from search.forecast import forecasts
from search.history import Trial
from search.levels import levelled
from search.process import Process
from search.space.knobs import Knob
from search.space.schema import PromotionSettings

_STRENGTH_PER_LOG_LENGTH = 0.55
"""What `augment.strength` gains where a training is e times as long: on ISBI films 0.6 is best at 20 epochs, 1.5 or more at 100."""
_STRONGEST = 2.0
_FEWEST = 4
"""Trials with a value that a process can be fitted to; with fewer their forecasts stand."""


@dataclass(frozen=True)
class Estimate:
    """The error a configuration can be expected to end with when it is trained anew, and its standard deviation, mm."""

    value_mm: float
    deviation_mm: float


@dataclass(frozen=True)
class Training:
    """One training of a candidate.

    Attributes:
        seed: 0: its search trial, trained on to the end; from 1: a fresh one.
        fold: of the films, which it is judged on; -1: the search's own validation films.
    """

    seed: int
    fold: int


def estimates(knobs: Sequence[Knob], trials: Sequence[Trial]) -> dict[int, Estimate]:
    """What each trial's configuration can be expected to end with, by number; none for those without a finite report, or that failed."""
    told = [(trial, forecast) for trial, forecast in zip(trials, forecasts(trials), strict=True) if forecast is not None]
    if len(told) < _FEWEST:
        return {trial.number: Estimate(forecast.value, forecast.variance**0.5) for trial, forecast in told}
    levels, values, noise = levelled([forecast for _, forecast in told])
    points = np.stack([coordinates(knobs, trial.values) for trial, _ in told])
    means, deviations = Process.fit(points, values, noise).at(points)
    expected, doubt = levels.values_of(means), levels.deviations_of(means, deviations)
    return {trial.number: Estimate(float(at), float(by)) for (trial, _), at, by in zip(told, expected, doubt, strict=True)}


def longer(config: Config, epochs: int) -> Config:
    """The training of a final network: this configuration over so many epochs, its augmentation stronger the longer they are.

    A short training learns most with little augmentation, a long one with much of it (docs/recipe.md).
    """
    strength = config.augment.strength
    stronger = strength + _STRENGTH_PER_LOG_LENGTH * math.log(epochs / config.train.epochs)
    return config.model_copy(
        update={
            "train": config.train.model_copy(update={"epochs": epochs}),
            "augment": config.augment.model_copy(update={"strength": max(strength, min(stronger, _STRONGEST))}),
        }
    )


def size_limit(settings: PromotionSettings) -> str:
    """How large the ensemble may become, in words."""
    networks, picks, folds = settings.most_networks, settings.most_picks, settings.folds
    if folds == 1:
        return f"at most {networks} networks (promotion.max_members)"
    if picks == 1:
        return f"a single pick of {folds} networks, one a fold: promotion.max_members {networks} has no room for a second, {2 * folds} has"
    return f"at most {picks} picks of {folds} networks each, one a fold (promotion.max_members {networks})"


def trainings(settings: PromotionSettings) -> list[Training]:
    """What is trained of each candidate, in this order for all of them."""
    if settings.folds > 1:
        return [Training(seed, fold) for seed in range(1, settings.seeds + 1) for fold in range(settings.folds)]
    return [Training(seed, -1) for seed in range(settings.seeds + 1)]
