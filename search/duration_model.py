"""How long the training of any configuration takes, from those that were timed: what cost-aware proposals are weighed by.  Pure.

The logarithm of the seconds is a sum of a curve for each knob, as it would be if network, film area and steps multiplied.  Unlike
`search.cost` it needs no configuration, only the knobs: thousands of candidates are judged at once, and tables of any knobs.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from search.cube import coordinates
from search.history import Trial
from search.space.knobs import Knob

Floats = NDArray[np.float64]

_RIDGE = 0.1
"""Variance of a measured logarithm over that of what a knob's whole range is expected to change."""


def log_seconds(knobs: Sequence[Knob], timed: Sequence[Trial]) -> Callable[[Floats], Floats] | None:
    """Natural logarithm (M,) of a whole training's seconds at coordinates (M, D); None while no trial was timed.

    Args:
        timed: trials whose `seconds` are known.
    """
    if not timed:
        return None
    features = _features(np.stack([coordinates(knobs, trial.values) for trial in timed]))
    seconds = np.log([trial.seconds for trial in timed if trial.seconds is not None])
    middle, level = features.mean(axis=0), float(seconds.mean())
    apart = features - middle
    slopes = np.linalg.solve(apart.T @ apart + _RIDGE * np.eye(apart.shape[1]), apart.T @ (seconds - level))

    def at(points: Floats) -> Floats:
        found: Floats = level + (_features(points) - middle) @ slopes
        return found

    return at


def _features(points: Floats) -> Floats:
    """(M, 2 D): a straight line and a bend a coordinate."""
    return np.concatenate([points, points**2], axis=1)
