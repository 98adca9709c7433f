"""Which configuration a Gaussian process over forecasts of all learning curves would try next.  Pure.

Every trial with a report says something of the end of its training, the surer the further it came (`search.forecast`); running trials
speak, too.  While hardly any has ended, it is the point that some have come to that all are forecast to.  The next configuration has
the largest expected improvement, times the chance that it can be trained at all, times the knobs' priors to a power that falls with the
number of trials (Hvarfner et al., "piBO: Augmenting acquisition functions with user beliefs for Bayesian optimization", ICLR 2022).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr
from scipy.stats import qmc

from search.cube import coordinates, place_in, point_at, snapped
from search.forecast import forecasts, horizon
from search.history import Trial
from search.levels import levelled
from search.prior import drawn, has_prior, log_density
from search.process import Process, log_expected_improvement
from search.space.knobs import Knob

Floats = NDArray[np.float64]
Seconds = Callable[[Floats], Floats]

_SPREAD_OUT = 512
"""Candidates all over the space."""
_AROUND, _BEST, _REACHES = 40, 5, (0.02, 0.1, 0.3)
"""Candidates around each of the best trials, at each of these distances."""
_CLIMBS, _CLIMBERS, _STEPS = (0.1, 0.03, 0.01), 6, 30
"""Then the best candidates move on, in ever smaller steps."""
_DOUBT, _REACH = 0.05, 0.2
"""Variance of a label that says whether a configuration could be trained, and how far it speaks, times the root of the dimensions."""
_COST_EXPONENT = 0.5
"""Of the seconds that expected improvement is divided by.  1 is improvement a second (Snoek et al., NeurIPS 2012), which shuns the dear for
too long (Lee et al. 2020, "Cost-aware Bayesian optimization"); on tasks that it was chosen on the two were even."""
_PRIOR_WEIGHT = 15.0
"""Weight of the logarithm of the priors' density, over the square of the number of trials.  piBO divides by the number itself; on the half
of the films that policies are chosen on good priors then gained no more and wrong ones cost no less (docs/search.md)."""
_LEAST_CHANCE, _NEVER = 0.25, 1e6
"""What is less likely to be trainable is tried only if nothing else is left, whatever it promises."""


def proposals(
    knobs: Sequence[Knob], trials: Sequence[Trial], random: np.random.Generator, number: int, log_seconds: Seconds | None = None
) -> list[dict[str, Any]]:
    """The most promising configurations, distinct, the best first.

    Args:
        trials: the history; some must have a report.
        random: of every draw.
        number: of configurations.
        log_seconds: of the training at points (M, D) of the cube's coordinates; expected improvement is then taken by the time it costs.
    """
    known = forecasts(trials, horizon(trials))
    told = [(trial, forecast) for trial, forecast in zip(trials, known, strict=True) if forecast is not None]
    points = np.stack([coordinates(knobs, trial.values) for trial, _ in told])
    _, values, noise = levelled([forecast for _, forecast in told])
    waiting = [trial for trial, forecast in zip(trials, known, strict=True) if forecast is None and trial.outcome is None]
    process = Process.fit(points, values, noise)
    expected, _ = process.at(points)
    awaiting = process.believing(np.array([coordinates(knobs, trial.values) for trial in waiting]).reshape(-1, points.shape[1]))
    best = float(awaiting.at(awaiting.points)[0].min())
    possible = _possible(knobs, trials)

    def score(shares: Floats) -> Floats:
        at = snapped(knobs, shares)
        chance = 0.0 if possible is None else _log_chance(possible, at)
        burden = 0.0 if log_seconds is None else _COST_EXPONENT * log_seconds(at)
        belief = _PRIOR_WEIGHT / len(trials) ** 2 * log_density(knobs, at) if has_prior(knobs) else 0.0
        return log_expected_improvement(*awaiting.at(at), best) + chance - burden + belief

    near = [place_in(knobs, told[place][0].values) for place in np.argsort(expected)[:_BEST]]
    spread = _all_over(len(knobs), random)
    if has_prior(knobs):
        spread = np.concatenate([spread, drawn(knobs, spread)])
    shares = np.concatenate([spread, *(_near(each, reach, _AROUND, random) for each in near for reach in _REACHES)])
    scores = score(shares)
    for reach in _CLIMBS:
        ahead = shares[np.argsort(-scores)[:_CLIMBERS]]
        moved = np.concatenate([_near(each, reach, _STEPS, random) for each in ahead])
        shares, scores = np.concatenate([shares, moved]), np.concatenate([scores, score(moved)])
    found: list[dict[str, Any]] = []
    for place in np.argsort(-scores):
        if (values_there := point_at(knobs, shares[place].tolist())) not in found:
            found.append(values_there)
        if len(found) == number:
            break
    return found


def _possible(knobs: Sequence[Knob], trials: Sequence[Trial]) -> Process | None:
    """Above 0 where configurations can be trained; None while every one could."""
    ended = [trial for trial in trials if trial.outcome is not None and trial.outcome.kind != "failed"]
    labels = np.array([-1.0 if trial.outcome is not None and trial.outcome.kind == "infeasible" else 1.0 for trial in ended])
    if not (labels < 0).any():
        return None
    points = np.stack([coordinates(knobs, trial.values) for trial in ended])
    # A limit is no smooth function: scales that explain labels best would explain it away as noise.
    return Process.of(points, labels, np.full(len(labels), _DOUBT), np.full(points.shape[1], _REACH * math.sqrt(points.shape[1])))


def _log_chance(possible: Process, at: Floats) -> Floats:
    means, deviations = possible.at(at)
    found: Floats = log_ndtr(means / np.sqrt(deviations**2 + _DOUBT))
    found[found < math.log(_LEAST_CHANCE)] -= _NEVER
    return found


def _all_over(dimensions: int, random: np.random.Generator) -> Floats:
    return np.asarray(qmc.Sobol(dimensions, scramble=True, rng=random).random(_SPREAD_OUT))


def _near(shares: Floats, reach: float, number: int, random: np.random.Generator) -> Floats:
    """Points around one, each moved in a third of its coordinates or more."""
    moved = random.random((number, len(shares))) < max(1 / 3, min(1.0, 2 / len(shares)))
    return np.clip(shares + moved * random.normal(0, reach, (number, len(shares))), 0, 1 - 1e-9)
