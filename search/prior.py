"""What a space file's priors say of each knob, on the unit cube: densities for the acquisition, draws for the start-up.  Pure.

A prior of a range is a normal distribution about its mode, cut off at the range's ends, on the knob's own scale; one of a categorical
prefers some choices.  Both are mixed with the uniform distribution, so that nothing is ever ruled out.  Knobs without a prior are uniform.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from search.cube import ABSENT, place_in
from search.space.knobs import Knob, same

Floats = NDArray[np.float64]

_TRUST = 0.75
"""Share of the mixture that the prior itself has; the uniform distribution has the rest."""


def has_prior(knobs: Sequence[Knob]) -> bool:
    """Whether any knob has one."""
    return any(knob.prior is not None for knob in knobs)


def log_density(knobs: Sequence[Knob], points: Floats) -> Floats:
    """(M,) logarithm of the priors' density relative to the uniform one at coordinates (M, D), summed over knobs.

    A knob that does not exist at a point adds nothing.
    """
    total = np.zeros(len(points))
    column = 0
    for knob in knobs:
        own = points[:, column : column + max(1, len(knob.choices))]
        column += own.shape[1]
        if knob.prior is None:
            continue
        if knob.kind == "categorical":
            ratios = len(knob.choices) * _weights(knob)
            total += (own > 0) @ np.log(ratios)
        else:
            total += np.where(own[:, 0] == ABSENT, 0.0, np.log(_TRUST * _normal_density(knob, own[:, 0]) + 1 - _TRUST))
    return total


def drawn(knobs: Sequence[Knob], shares: Floats) -> Floats:
    """Points (M, knobs) of the cube moved to where the priors have as much probability below them: evenly spread ones follow the priors.

    Coordinates of knobs without a prior stay as they are.
    """
    moved = np.array(shares)
    for place, knob in enumerate(knobs):
        if knob.prior is None:
            continue
        if knob.kind == "categorical":
            ends = np.cumsum(_weights(knob))
            chosen = np.minimum(np.searchsorted(ends, moved[:, place], side="right"), len(ends) - 1)
            moved[:, place] = (chosen + 0.5) / len(ends)
        else:
            moved[:, place] = _normal_quantile(knob, moved[:, place])
    return moved


def _weights(knob: Knob) -> Floats:
    """(choices,) probabilities of a categorical's choices."""
    assert knob.prior is not None and knob.prior.prefer is not None
    preferred = np.array([any(same(choice, each) for each in knob.prior.prefer) for choice in knob.choices], dtype=np.float64)
    weights: Floats = _TRUST * preferred / preferred.sum() + (1 - _TRUST) / len(preferred)
    return weights


def _normal_density(knob: Knob, shares: Floats) -> Floats:
    """(M,) density of the truncated normal distribution at shares of the range, as `coordinates` has them."""
    mode, width = _mode_and_width(knob)
    first, last = (float(place_in([knob], {knob.key: end})[0]) for end in (knob.low, knob.high))
    places = first + shares * (last - first)  # a grid's first and last point are the middles of a part of the range each
    inside = ndtr((1 - mode) / width) - ndtr(-mode / width)
    density: Floats = np.exp(-0.5 * ((places - mode) / width) ** 2) / (math.sqrt(2 * math.pi) * width * inside)
    return density


def _normal_quantile(knob: Knob, levels: Floats) -> Floats:
    """(M,) points of the cube's coordinate below which the truncated normal distribution has these probabilities."""
    mode, width = _mode_and_width(knob)
    low, high = ndtr(-mode / width), ndtr((1 - mode) / width)
    quantiles: Floats = np.clip(mode + width * ndtri(low + levels * (high - low)), 0.0, 1 - 1e-9)
    return quantiles


def _mode_and_width(knob: Knob) -> tuple[float, float]:
    """Of the cube's coordinate."""
    assert knob.prior is not None and knob.prior.mode is not None and knob.prior.width is not None
    return float(place_in([knob], {knob.key: knob.prior.mode})[0]), knob.prior.width
