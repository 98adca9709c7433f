"""Where unfinished learning curves will end, judged by those that have.  Pure.

A value at some share of a training tells of its end what it told of the ends of finished ones: a straight line from their values at that
share to their last ones, drawn towards slope one while few have finished.  What the line missed them by is how uncertain it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.history import Trial

Floats = NDArray[np.float64]

_PRIOR_TRIALS = 2.0
"""Slope one counts as much as so many finished trials, and so does the prior doubt."""
_PRIOR_DOUBT = 0.1
"""Variance of the forecast while nothing is known, a share of the variance of all values at that point of a training."""


@dataclass(frozen=True)
class Forecast:
    """A trial's last value.

    Attributes:
        value: as reported, or as expected.
        variance: of the expectation; 0 for a finished trial.
    """

    value: float
    variance: float


def forecasts(trials: Sequence[Trial]) -> list[Forecast | None]:
    """Every trial's last value, in order; None for one without a finite report, and for one that failed."""
    curves = [_curve(trial) for trial in trials]
    finished = [curve for trial, curve in zip(trials, curves, strict=True) if curve is not None and _is_complete(trial, curve)]
    ends = np.array([values[-1] for _, values in finished])
    lines: dict[float, tuple[float, float, float, float]] = {}
    found: list[Forecast | None] = []
    for trial, curve in zip(trials, curves, strict=True):
        if curve is None:
            found.append(None)
        elif _is_complete(trial, curve):
            found.append(Forecast(float(curve[1][-1]), 0.0))
        else:
            share, value = float(curve[0][-1]), float(curve[1][-1])
            if share not in lines:
                reached = [each for each in curves if each is not None and each[0][-1] >= share - 1e-9]
                lines[share] = _line(_at(reached, share), _at(finished, share), ends)
            middle, end, slope, variance = lines[share]
            found.append(Forecast(end + slope * (value - middle), variance))
    return found


def _line(every: Floats, before: Floats, ends: Floats) -> tuple[float, float, float, float]:
    """Middle of the values at a share, of the ends, slope, and variance about the line.

    Args:
        every: values of all trials that came so far.
        before: values of the finished ones, at the share.
        ends: their last ones.
    """
    spread = float(every.var()) + 1e-12
    if not len(ends):
        return 0.0, 0.0, 1.0, _PRIOR_DOUBT * spread
    middle, end = float(before.mean()), float(ends.mean())
    x, y = before - middle, ends - end
    slope = float((x @ y + _PRIOR_TRIALS * spread) / (x @ x + _PRIOR_TRIALS * spread))
    missed = y - slope * x
    variance = float((missed @ missed + _PRIOR_TRIALS * _PRIOR_DOUBT * spread) / (len(ends) + _PRIOR_TRIALS))
    return middle, end, slope, variance


def _curve(trial: Trial) -> tuple[Floats, Floats] | None:
    """Shares of its training, rising, and the values there."""
    if trial.outcome is not None and trial.outcome.kind in ("failed", "infeasible"):
        return None
    points = sorted((epoch / point.total_epochs, point.value_mm) for epoch, point in trial.curve.items() if point.value_mm is not None)
    if not points:
        return None
    shares, values = zip(*points, strict=True)
    return np.array(shares), np.array(values)


def _is_complete(trial: Trial, curve: tuple[Floats, Floats]) -> bool:
    return (trial.outcome is not None and trial.outcome.kind == "complete") or curve[0][-1] >= 1 - 1e-9


def _at(curves: Sequence[tuple[Floats, Floats]], share: float) -> Floats:
    return np.array([np.interp(share, shares, values) for shares, values in curves])
