"""The search space as a unit cube: where random and quasi-random points become configurations.  Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.space.knobs import Knob, active, same

Floats = NDArray[np.float64]

ABSENT = -0.5
"""Coordinate of a number knob that does not exist at a point."""


def point_at(knobs: Sequence[Knob], shares: Sequence[float]) -> dict[str, Any]:
    """The configuration at a point of the cube, one coordinate in [0, 1) a knob; those of inactive knobs are not used."""
    values: dict[str, Any] = {}
    for knob, share in zip(knobs, shares, strict=True):
        if knob.key in active(knobs, values):
            values[knob.key] = value_at(knob, share)
    return values


def value_at(knob: Knob, share: float) -> Any:
    """The knob's value at `share` of its range; every choice or grid point has an equal part of it (of its logarithm)."""
    if knob.kind == "categorical":
        return knob.choices[int(share * len(knob.choices))]
    assert knob.low is not None and knob.high is not None
    step = knob.step or (1 if knob.kind == "int" else None)
    if step is None:
        return min(max(_between(knob.low, knob.high, share, knob.log), knob.low), knob.high)
    last = math.floor((knob.high - knob.low) / step + 1e-9)
    if knob.log:
        between = _between(knob.low - step / 2, knob.low + (last + 0.5) * step, share, log=True)
        place = min(max(round((between - knob.low) / step), 0), last)
    else:
        place = int(share * (last + 1))
    value = knob.low + place * step
    return int(value) if knob.kind == "int" else min(value, knob.high)


def place_in(knobs: Sequence[Knob], values: Mapping[str, Any]) -> Floats:
    """(knobs,) shares that `point_at` makes this point of; 0.5 for an inactive knob."""
    return np.array([_share(knob, values[knob.key]) if knob.key in values else 0.5 for knob in knobs])


def coordinates(knobs: Sequence[Knob], values: Mapping[str, Any]) -> Floats:
    """A point as distances see it: a coordinate a number knob, one a choice of a categorical, 0.5 for the one it has.

    Two choices are thus as far apart, in the sum of differences, as the ends of a range.  A number may lie off its grid.
    """
    found: list[float] = []
    for knob in knobs:
        exists = knob.key in values
        if knob.kind == "categorical":
            found += [0.5 if exists and same(choice, values[knob.key]) else 0.0 for choice in knob.choices]
        else:
            found.append(share_of(knob, values[knob.key]) if exists else ABSENT)
    return np.array(found)


def snapped(knobs: Sequence[Knob], shares: Floats) -> Floats:
    """(M, D) `coordinates` of the configurations at M points (M, knobs) of the cube."""
    columns: list[Floats] = []
    chosen: dict[str, NDArray[np.intp]] = {}
    exists: dict[str, NDArray[np.bool_]] = {}
    by_key = {knob.key: knob for knob in knobs}
    for place, knob in enumerate(knobs):
        there = np.ones(len(shares), dtype=bool)
        for parent, options in knob.when.items():
            allowed = [any(same(value, option) for option in options) for value in _grid(by_key[parent])]
            there &= exists[parent] & np.array(allowed)[chosen[parent]]
        exists[knob.key] = there
        if knob.kind == "categorical":
            chosen[knob.key] = _steps(shares[:, place], len(knob.choices))
            columns += [np.where(there & (chosen[knob.key] == choice), 0.5, 0.0) for choice in range(len(knob.choices))]
            continue
        at = shares[:, place]
        if (step := _step(knob)) is not None:
            assert knob.low is not None and knob.high is not None
            chosen[knob.key] = _places(knob, step, shares[:, place])
            grid = [share_of(knob, knob.low + taken * step) for taken in range(int(chosen[knob.key].max()) + 1)]
            at = np.array(grid)[chosen[knob.key]]
        columns.append(np.where(there, at, ABSENT))
    return np.stack(columns, axis=1)


def _grid(knob: Knob) -> Sequence[Any]:
    grid = knob.grid()
    assert grid is not None, f"{knob.key} is a condition and has no countable values"
    return grid


def _step(knob: Knob) -> float | None:
    return knob.step or (1 if knob.kind == "int" else None)


def _steps(shares: Floats, number: int) -> NDArray[np.intp]:
    return np.minimum((shares * number).astype(np.intp), number - 1)


def _places(knob: Knob, step: float, shares: Floats) -> NDArray[np.intp]:
    """Grid points by number, as `value_at` chooses them."""
    assert knob.low is not None and knob.high is not None
    last = math.floor((knob.high - knob.low) / step + 1e-9)
    if not knob.log:
        return _steps(shares, last + 1)
    low, high = math.log(knob.low - step / 2), math.log(knob.low + (last + 0.5) * step)
    between = np.exp(low + shares * (high - low))
    return np.clip(np.round((between - knob.low) / step), 0, last).astype(np.intp)


def _share(knob: Knob, value: Any) -> float:
    """The middle of what `value_at` makes this value of."""
    if knob.kind == "categorical":
        return (next(place for place, choice in enumerate(knob.choices) if same(choice, value)) + 0.5) / len(knob.choices)
    assert knob.low is not None and knob.high is not None
    step = _step(knob)
    if step is None:
        return min(max(share_of(knob, value), 0.0), 1 - 1e-9)
    last = math.floor((knob.high - knob.low) / step + 1e-9)
    if knob.log:
        low, high = math.log(knob.low - step / 2), math.log(knob.low + (last + 0.5) * step)
        return (math.log(value) - low) / (high - low)
    return float(round((value - knob.low) / step) + 0.5) / (last + 1)


def share_of(knob: Knob, value: float) -> float:
    """Where a number knob's value lies in its range, 0 to 1 (of its logarithm): what `value_at` would need, but for grid points."""
    assert knob.low is not None and knob.high is not None
    low, high, at = (math.log(each) if knob.log else each for each in (knob.low, knob.high, value))
    return (at - low) / (high - low) if high > low else 0.0


def _between(low: float, high: float, share: float, log: bool) -> float:
    if not log:
        return low + share * (high - low)
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
