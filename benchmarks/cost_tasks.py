"""Made-up trainings whose times differ: where it matters whether a search minds what a configuration costs.

Six knobs as of a landmark search.  An epoch takes network x film area x (1 + an overhead a step).
Each task draws how much large films and networks bring, some little, some much, and where the best rates, widths and strengths lie.
"""

import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import qmc

from search.cube import coordinates, point_at
from search.replay.curves import Curve, table_space

TASKS, EPOCHS = 6, 12
NETWORKS = {"small": 1.0, "w32": 2.5, "w48": 4.5}
KNOBS: dict[str, dict[str, Any]] = {
    "network": {"categorical": list(NETWORKS)},
    "size": {"categorical": [256, 384, 512, 640, 768]},
    "batch": {"int": [2, 16], "step": 2},
    "lr": {"float": [1e-5, 1e-2], "log": True},
    "sigma": {"float": [0.003, 0.03], "log": True},
    "strength": {"float": [0.0, 2.0]},
}
_PROBES = 4096
_LEAST, _NOISE = 1.2, 0.02


class Unequal:
    """The curves of one task; its best is sought among many points of the space."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng([seed, 2020])
        self.space = table_space(KNOBS, EPOCHS, None)
        self._seed = seed
        self._lr, self._sigma = 10 ** random.uniform(-4, -2.5), 10 ** random.uniform(-2.3, -1.8)
        self._strength, self._batch = random.uniform(0.3, 1.7), random.uniform(3, 12)
        self._of_size, self._of_network = random.uniform(0.0, 0.8), random.uniform(0.0, 0.4)
        shares = qmc.Sobol(len(KNOBS), scramble=True, rng=np.random.default_rng(1)).random(_PROBES)
        ends = np.array([self._end(point_at(self.space.knobs, row.tolist())) for row in shares])
        self.best = _LEAST + min(self._off(batch) for batch in range(2, 17, 2))  # every other part of an end can be brought to nothing
        self.scale = float(np.median(ends)) - self.best

    def at(self, values: Mapping[str, Any]) -> Curve:
        """Falls to its end the sooner, the higher the rate and the smaller the batch; each epoch is off by a little."""
        random = np.random.default_rng([self._seed, zlib.crc32(coordinates(self.space.knobs, values).tobytes())])
        end = self._end(values)
        pace = 3.0 * (values["lr"] / 1e-3) ** 0.15 * (8 / values["batch"]) ** 0.2
        done = np.arange(1, EPOCHS + 1) / EPOCHS
        values_at = end + 6.0 * (np.exp(-pace * done) - math.exp(-pace)) + random.normal(0, _NOISE, EPOCHS)
        values_at[-1] = end
        seconds = NETWORKS[values["network"]] * (values["size"] / 256) ** 2 * (1 + 4 / values["batch"])
        return Curve.of(values_at, np.full(EPOCHS, seconds))

    def _end(self, values: Mapping[str, Any]) -> float:
        rate = math.log10(values["lr"] / self._lr) + 0.3 * math.log2(values["batch"] / 8)
        wide = math.log10(values["sigma"] / self._sigma) - 0.2 * math.log2(values["size"] / 512)
        size = self._of_size * math.log2(768 / values["size"]) ** 1.5
        network = self._of_network * (math.log2(4.5 / NETWORKS[values["network"]]) / 2)
        shades = 0.4 * (values["strength"] - self._strength) ** 2
        return float(_LEAST + size + network + 0.5 * rate**2 + 2.0 * wide**2 + shades + self._off(values["batch"]))

    def _off(self, batch: int) -> float:
        return 0.15 * ((batch - self._batch) / 6) ** 2
