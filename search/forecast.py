"""Where unfinished learning curves will end, judged by those that have.  Pure.

A value at some share of a training tells of its end what it told of the ends of finished ones: a straight line from their values at that
share to their last ones, drawn towards correlation one while few have finished.  What the line missed them by is how uncertain it is.

While many run and hardly any has finished, curves of different length would be compared at different points of a training: a good
configuration that has just begun looks worse than a bad one that is far.  All are then forecast to the share that some have reached
(`horizon`).  Where one or two run at a time the first trainings end while little else has begun, and their ends say more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.history import Trial

Floats = NDArray[np.float64]

_PRIOR_TRIALS = 2.0
"""A correlation of one counts as much as so many finished trials, and so does the prior doubt."""
_PRIOR_DOUBT = 0.4
"""Variance of a forecast from the very beginning while nothing is known, a share of the variance of what is foretold; it falls as the way
does that is left."""
_JUDGES = 3
"""So many trials must have come to where others are forecast."""
_OTHERS = 2
"""So many trials must run for another to be compared anywhere but at the end."""
_HAIR = 1e-9


@dataclass(frozen=True)
class Forecast:
    """A trial's value where it is forecast to, the end as a rule.

    Attributes:
        value: as reported, or as expected.
        variance: of the expectation; 0 for a trial that has come there.
    """

    value: float
    variance: float


def horizon(trials: Sequence[Trial]) -> float:
    """Where the next trial is compared with others: the share of a training that three have reached, in (0, 1].

    The furthest one's while fewer have reports; 1, the end, without any, and while fewer than two run.
    """
    if sum(trial.outcome is None for trial in trials) < _OTHERS:
        return 1.0
    curves = [_curve(trial) for trial in trials]
    reached = sorted((_reached(trial, curve) for trial, curve in zip(trials, curves, strict=True) if curve is not None), reverse=True)
    return reached[min(_JUDGES, len(reached)) - 1] if reached else 1.0


def forecasts(trials: Sequence[Trial], share: float = 1.0) -> list[Forecast | None]:
    """Every trial's value at a share of its training, its last one if that is 1, in order.

    None for one without a finite report, and for one that failed.
    """
    curves = [_curve(trial) for trial in trials]
    arrived = [curve is not None and _reached(trial, curve) >= share - _HAIR for trial, curve in zip(trials, curves, strict=True)]
    judges = [curve for curve, is_there in zip(curves, arrived, strict=True) if curve is not None and is_there]
    ends = _at(judges, share)
    lines: dict[float, tuple[float, float, float, float]] = {}
    found: list[Forecast | None] = []
    for curve, is_there in zip(curves, arrived, strict=True):
        if curve is None:
            found.append(None)
        elif is_there:
            found.append(Forecast(float(np.interp(share, *curve)), 0.0))
        else:
            now, value = float(curve[0][-1]), float(curve[1][-1])
            if now not in lines:
                every = [each for each in curves if each is not None and each[0][-1] >= now - _HAIR]
                lines[now] = _line(_at(every, now), _at(judges, now), ends, _PRIOR_DOUBT * (1 - now / share))
            middle, end, slope, variance = lines[now]
            found.append(Forecast(end + slope * (value - middle), variance))
    return found


def _line(every: Floats, before: Floats, ends: Floats, doubt: float) -> tuple[float, float, float, float]:
    """Middle of the values at a share, of those foretold, slope, and variance about the line.

    Args:
        every: values of all trials that came so far.
        before: of those that came to what is foretold, at the share.
        ends: what they came to.
        doubt: share of the variance that a forecast has before anything is known.
    """
    spread = float(every.var()) + 1e-12
    if not len(ends):
        return 0.0, 0.0, 1.0, doubt * spread
    middle, end = float(before.mean()), float(ends.mean())
    x, y = before - middle, ends - end
    prior_slope = min(1.0, math.sqrt((float(ends.var()) + 1e-12) / (float(before.var()) + 1e-12))) if len(ends) > 1 else 1.0
    slope = float((x @ y + _PRIOR_TRIALS * spread * prior_slope) / (x @ x + _PRIOR_TRIALS * spread))
    missed = y - slope * x
    variance = float((missed @ missed + _PRIOR_TRIALS * doubt * spread * prior_slope**2) / (len(ends) + _PRIOR_TRIALS))
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


def _reached(trial: Trial, curve: tuple[Floats, Floats]) -> float:
    """The share of its training that a trial has had."""
    return 1.0 if trial.outcome is not None and trial.outcome.kind == "complete" else min(1.0, float(curve[0][-1]))


def _at(curves: Sequence[tuple[Floats, Floats]], share: float) -> Floats:
    return np.array([np.interp(share, shares, values) for shares, values in curves])
