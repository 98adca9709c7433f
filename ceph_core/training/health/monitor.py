"""A running training's health: its curve so far, which outlives a stop, and the verdict on it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ceph_core.config import Config
from ceph_core.data.films import TrainingData
from ceph_core.metrics import mean_shape_mm, radial_errors_mm, summarize
from ceph_core.training.health.curve import HISTORY_FIGURES
from ceph_core.training.health.verdict import Health, judge
from ceph_core.training.result import EpochResult


class Monitor:
    """Judges a training at each validated epoch.

    Args:
        config: of the run.
        mean_shape_mm: MRE of the mean shape on the validation films.

    Attributes:
        health: the verdict after the last validated epoch.
    """

    def __init__(self, config: Config, mean_shape_mm: float) -> None:
        self._config, self._mean_shape_mm = config, mean_shape_mm
        self._history: list[dict[str, Any]] = []
        self.health = Health()

    def take(self, result: EpochResult) -> EpochResult:
        """The epoch's result with what holds after it; between validations that is what held before."""
        if math.isfinite(result.val.mre_mm):
            figures = result.figures()
            self._history.append({name: figures[name] for name in HISTORY_FIGURES})
            self.health = judge(self._config, self._history, self._mean_shape_mm)
        return replace(result, health=self.health.names, mean_shape_mm=self._mean_shape_mm)

    def state(self) -> list[dict[str, Any]]:
        """The curve so far, for a checkpoint; it does not change with the training."""
        return list(self._history)

    def load(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Go on from `state`."""
        self._history = [dict(figures) for figures in history]
        self.health = judge(self._config, self._history, self._mean_shape_mm)


def mean_shape_mre_mm(data: TrainingData) -> float:
    """MRE on the validation films of the training films' mean landmarks: what a network that learned nothing scores."""
    by_id = data.dataset.by_id()
    training, validation = ([by_id[film] for film in ids] for ids in (data.train_ids, data.validation_ids))
    if not validation:
        return math.nan
    shape_mm = mean_shape_mm(
        np.stack([record.landmarks_px for record in training]), np.array([record.spacing_mm for record in training], dtype=np.float64)
    )
    spacing = np.array([record.spacing_mm for record in validation], dtype=np.float64)
    points = shape_mm / spacing[:, None, :]
    # A landmark that no training film marks has no mean: it does not count.
    truth = np.where(np.isnan(points), np.nan, np.stack([record.landmarks_px for record in validation]))
    return summarize(radial_errors_mm(points, truth, spacing)).mre_mm
