"""GPU memory a training needs: counted by `ceph_core.training.memory`, corrected by what trainings were seen to take.  Pure.

A count has two parts, what a network needs whatever it is shown (weights, moments, a save's copy) and what the films at once need.  Each
part has a factor a network: 1 until two different peaks were measured, then what explains them best; one peak cannot tell the parts apart.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from ceph_core.config import Config, apply
from ceph_core.geometry import Canvas, canvas_for
from ceph_core.training.memory import estimate_memory_mb
from ceph_core.training.progressive import stage_at, stage_batch, stage_size

_PROBE_PX = 256
_ABOVE, _BELOW = 1.14, 0.84
"""What counts were over real peaks, at most and at least, before any was measured (docs/performance.md)."""
_ENOUGH = 2
"""Different peaks of a network that correct its count."""
_PRIOR = 0.002
"""How firmly a factor is held at 1, over how firmly a measured peak is believed."""
_LEAST_DOUBT = 0.03
"""Share by which a corrected count may be wrong however many peaks were measured."""


@dataclass(frozen=True)
class Need:
    """MB of a training: with as many films at once as it wants, and with one."""

    wanted: float
    least: float


@dataclass(frozen=True)
class Doubt:
    """What a need is to be multiplied by for the least and the most that it may really be."""

    low: float
    high: float


class MemoryModel:
    """What trainings need of a GPU.

    Args:
        aspect: height over width of the films' canvas.
        num_landmarks: a network has a map of each.
    """

    def __init__(self, aspect: float = 1.0, num_landmarks: int = 19) -> None:
        self._aspect, self._num_landmarks = aspect, num_landmarks
        self._counts: dict[object, tuple[float, float]] = {}
        self._measured: dict[object, dict[tuple[float, float], float]] = defaultdict(dict)
        self._factors: dict[object, tuple[float, float]] = {}

    def counted(self, config: Config) -> Need:
        """The count, the same whatever was measured."""
        return self._need(config, (1.0, 1.0))

    def need(self, config: Config) -> Need:
        """The best estimate."""
        return self._need(config, self._factors.get(_kind(config), (1.0, 1.0)))

    def doubt(self, config: Config) -> Doubt:
        """How far the estimate may be off: less, the more different peaks of this network were measured."""
        measured = len(self._measured.get(_kind(config), ()))
        left = 1 / measured if measured >= _ENOUGH else 1.0
        low, high = 1 / _ABOVE, 1 / _BELOW
        return Doubt(min(1 - (1 - low) * left, 1 - _LEAST_DOUBT), max(1 + (high - 1) * left, 1 + _LEAST_DOUBT))

    def observe(self, config: Config, epoch: int, micro_batch: int | None, peak_mb: float) -> None:
        """A training's peak so far, at the end of an epoch that had so many films at once (None: as configured)."""
        stage = stage_at(config, epoch)
        cut = micro_batch is not None and micro_batch < self._at_once(config, stage.batch)
        if cut or not peak_mb > 0:  # where memory ran out the peak is that of the attempt
            return
        fixed, a_pixel = self._count(config)
        parts = fixed, a_pixel * self._most_shown(config, epoch)[0]
        kind = _kind(config)
        known = self._measured[kind]
        if peak_mb > known.get(parts, 0.0):
            known[parts] = peak_mb
        if len(known) >= _ENOUGH:
            self._factors[kind] = _fitted(list(known), list(known.values()))

    def _need(self, config: Config, factors: tuple[float, float]) -> Need:
        fixed, a_pixel = (part * factor for part, factor in zip(self._count(config), factors, strict=True))
        wanted, largest = self._most_shown(config, config.train.epochs)
        return Need(fixed + a_pixel * wanted, fixed + a_pixel * largest)

    def _most_shown(self, config: Config, epochs: int) -> tuple[float, float]:
        """Most pixels of films at once, and of one film, in the stages that so many epochs have seen."""
        wanted = largest = 0.0
        for stage in dict.fromkeys(stage_at(config, epoch) for epoch in range(1, epochs + 1)):
            largest_px = stage_size(stage_size(config.data.image_size, stage.size), max(1.0, *config.schedule.scales))
            canvas = canvas_for(self._aspect, largest_px)
            pixels = float(canvas.height * canvas.width)
            wanted, largest = max(wanted, self._at_once(config, stage.batch) * pixels), max(largest, pixels)
        return wanted, largest

    def _at_once(self, config: Config, batch: float) -> int:
        films = stage_batch(config.train.batch_size, batch)
        return min(films, config.train.micro_batch or films)

    def _count(self, config: Config) -> tuple[float, float]:
        """MB that are fixed, and that each pixel of a film adds, counted once a network."""
        kind = _kind(config)
        if kind not in self._counts:
            probe = apply(config, {"data.image_size": _PROBE_PX, "train.micro_batch": None, "schedule.stages": [{"epochs": 1.0}]})
            canvas = Canvas(_PROBE_PX, _PROBE_PX)
            half = config.train.precision != "fp32"
            one, two = (
                estimate_memory_mb(apply(probe, {"train.batch_size": films}), canvas, self._num_landmarks, half) for films in (1, 2)
            )
            self._counts[kind] = 2 * one - two, (two - one) / _PROBE_PX**2
        return self._counts[kind]


def _kind(config: Config) -> object:
    """What counts and factors hang on."""
    network = config.model.model_copy(update={"pretrained": False})
    return network, config.heatmap.loss, config.train.checkpoint_activations, config.train.precision == "fp32"


def _fitted(parts: Sequence[tuple[float, float]], peaks_mb: Sequence[float]) -> tuple[float, float]:
    """The two factors: least squares of relative errors, drawn to 1."""
    rows = np.array(parts) / np.array(peaks_mb)[:, None]
    pull = math.sqrt(_PRIOR)
    (of_fixed, of_films), _ = nnls(np.concatenate([rows, pull * np.eye(2)]), np.append(np.ones(len(rows)), [pull, pull]))
    return float(of_fixed), float(of_films)
