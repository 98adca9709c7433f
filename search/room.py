"""What fits on a trial's device, as far as trials that did not fit have shown.  Pure.

Memory rises with the network, the area of a film and the films at once.  Where a training ran out of it, every one that needs as much will.
"""

import math
from dataclasses import dataclass

from ceph_core.config import Config, apply
from ceph_core.geometry import Canvas
from ceph_core.training.memory import estimate_memory_mb
from ceph_core.training.progressive import stage_batch, stage_size

_ONE_FILM = "with one film"
"""In what a training says that could not even train one film at once: then its batch is not to blame."""
_PROBE_PX, _LANDMARKS = 256, 19


@dataclass(frozen=True)
class Need:
    """MB of a training: with as many films at once as it wants, and with one."""

    wanted: float
    least: float


class Room:
    """The limits learned so far; none before the first failure."""

    def __init__(self) -> None:
        self._wanted, self._least = math.inf, math.inf
        self._shares: dict[object, tuple[float, float]] = {}

    def failed(self, config: Config, said: str) -> None:
        """A training of its own device ran out of memory and said so."""
        need = self.need(config)
        if _ONE_FILM in said:
            self._least = min(self._least, need.least)
        else:
            self._wanted = min(self._wanted, need.wanted)

    def fits(self, config: Config) -> bool:
        """Whether nothing that needed as little has failed."""
        if math.isinf(self._wanted) and math.isinf(self._least):
            return True
        need = self.need(config)
        return need.wanted < self._wanted and need.least < self._least

    def need(self, config: Config) -> Need:
        """The estimate of `ceph_core.training.memory`, taken apart once a network: what is fixed, and what each film's area adds."""
        fixed, a_pixel = self._parts(config)
        films = min(config.train.micro_batch or config.train.batch_size, config.train.batch_size)
        wanted = least = 0.0
        for stage in config.schedule.stages:
            size = stage_size(config.data.image_size, stage.size)
            at_once = films if config.train.micro_batch else stage_batch(films, stage.batch)
            wanted, least = max(wanted, at_once * size**2), max(least, float(size**2))
        return Need(fixed + a_pixel * wanted, fixed + a_pixel * least)

    def _parts(self, config: Config) -> tuple[float, float]:
        key = (config.model.model_copy(update={"pretrained": False}), config.heatmap.loss, config.train.checkpoint_activations)
        if key not in self._shares:
            probe = apply(config, {"data.image_size": _PROBE_PX, "train.micro_batch": None, "schedule.stages": [{"epochs": 1.0}]})
            canvas = Canvas(_PROBE_PX, _PROBE_PX)
            one, two = (
                estimate_memory_mb(apply(probe, {"train.batch_size": films}), canvas, _LANDMARKS, half_precision=False) for films in (1, 2)
            )
            self._shares[key] = 2 * one - two, (two - one) / _PROBE_PX**2
        return self._shares[key]
