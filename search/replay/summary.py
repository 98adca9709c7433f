"""Replays in figures."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.cube import point_at
from search.replay.curves import Curves, Recorded
from search.replay.run import Replayed

_PROBES = 64


def unit_seconds(curves: Curves) -> float:
    """Simulated seconds of a training to the end: the mean of the recorded ones, or of points all over the space."""
    if isinstance(curves, Recorded):
        every = list(curves.curves)
    else:
        shares = np.random.default_rng(0).random((_PROBES, len(curves.space.knobs)))
        every = [curves.at(point_at(curves.space.knobs, row.tolist())) for row in shares]
    return float(np.mean([curve.seconds.sum() for curve in every]))


def regrets(replays: Sequence[Replayed], curves: Curves, budgets: Sequence[float], workers: int) -> NDArray[np.float64]:
    """(replays, budgets) normalised regret of the lowest value reported within the time in which the workers could do so many trainings.

    Infinite where nothing was reported by then.
    """
    unit_s = unit_seconds(curves)
    return np.array([[(each.best_at(budget * unit_s / workers) - curves.best) / curves.scale for budget in budgets] for each in replays])


def interval(figures: NDArray[np.float64]) -> str:
    """Mean and 95 % interval of it."""
    half = 1.96 * float(np.std(figures, ddof=1)) / math.sqrt(len(figures)) if len(figures) > 1 else math.nan
    return f"{float(np.mean(figures)):.3f} ± {half:.3f}"


def write(path: Path, rows: Iterable[tuple[Any, ...]]) -> None:
    """A row a replay and budget."""
    pd.DataFrame(rows, columns=["sampler", "seed", "trainings", "regret"]).to_csv(path, index=False)
