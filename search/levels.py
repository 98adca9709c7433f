"""Errors on a scale on which one bad trial weighs no more than another: logarithmic above the median.  Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.forecast import Forecast

Floats = NDArray[np.float64]

_MOST_VARIANCE = 4.0


@dataclass(frozen=True)
class Levels:
    """The scale of one set of errors, which have mean 0 and deviation 1 on it.

    Attributes:
        lowest: error; unit: how far the median lies above it.
        mean, spread: of the logarithms.
    """

    lowest: float
    unit: float
    mean: float
    spread: float

    @classmethod
    def of(cls, values: Floats) -> "Levels":
        """The scale of these errors (N,)."""
        lowest = float(values.min())
        unit = max(float(np.median(values)) - lowest, 1e-9)
        logarithms = np.log1p(np.clip((values - lowest) / unit, 0, None))
        return cls(lowest, unit, float(logarithms.mean()), float(logarithms.std()) + 1e-9)

    def of_values(self, values: Floats) -> Floats:
        """Errors (N,) on the scale."""
        found: Floats = (np.log1p(np.clip((values - self.lowest) / self.unit, 0, None)) - self.mean) / self.spread
        return found

    def of_variances(self, values: Floats, variances: Floats) -> Floats:
        """Variances (N,) of errors (N,) on the scale, to first order."""
        found: Floats = np.clip(variances / self._slope(values) ** 2, 0, _MOST_VARIANCE)
        return found

    def values_of(self, levels: Floats) -> Floats:
        """The errors (N,) that lie there."""
        found: Floats = self.lowest + self.unit * np.expm1(levels * self.spread + self.mean)
        return found

    def deviations_of(self, levels: Floats, deviations: Floats) -> Floats:
        """Standard deviations (N,) about these places as differences of errors, to first order."""
        return deviations * self._slope(self.values_of(levels))

    def _slope(self, values: Floats) -> Floats:
        """Error per level."""
        found: Floats = (1 + np.clip((values - self.lowest) / self.unit, 0, None)) * self.unit * self.spread
        return found


def levelled(known: Sequence[Forecast]) -> tuple[Levels, Floats, Floats]:
    """The scale of forecasts, and their values (N,) and variances (N,) on it."""
    values = np.array([forecast.value for forecast in known])
    levels = Levels.of(values)
    return levels, levels.of_values(values), levels.of_variances(values, np.array([forecast.variance for forecast in known]))
