"""The search space as a unit cube: where random and quasi-random points become configurations.  Pure."""

import math
from collections.abc import Sequence
from typing import Any

from search.space.knobs import Knob, active


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


def _between(low: float, high: float, share: float, log: bool) -> float:
    if not log:
        return low + share * (high - low)
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
