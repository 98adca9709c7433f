"""Between which limits the distance of two landmarks lies, as a share of the film's own size."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MARGIN = 0.05
"""Share by which the limits are wider than the distances seen: the next film may lie a little beyond all before."""
MIN_FILMS = 10
"""Films that must mark both landmarks of a pair."""


@dataclass(frozen=True, eq=False)
class DistanceLimits:
    """Minimum and maximum of each pair's distance.

    A film's size is the median over its pairs of distance over usual distance: known without a spacing, and a point that lies far
    off changes it little.

    Attributes:
        usual: (K, K) mean distance, mm; NaN for a pair that too few films mark.
        low: (K, K) smallest distance of a film of size 1, mm; symmetric, as all three.
        high: (K, K) largest.
    """

    usual: Array
    low: Array
    high: Array

    @classmethod
    def fit(cls, landmarks_mm: Array, margin: float = MARGIN) -> "DistanceLimits":
        """Limits that all these films keep.

        Args:
            landmarks_mm: (N, K, 2), NaN where missing.
            margin: widens the limits by this share on either side.
        """
        apart = _distances(landmarks_mm)
        marked = (~np.isnan(apart)).sum(axis=0)
        # A point's distance from itself says nothing.
        known = (marked >= MIN_FILMS) & ~np.eye(apart.shape[1], dtype=bool)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a pair that no film marks, a film without points: NaN is meant
            usual = np.where(known, np.nanmean(apart, axis=0), np.nan)
            shares = apart / _sizes(apart, usual)[:, None, None]
            return cls(usual, np.nanmin(shares, axis=0) * (1 - margin), np.nanmax(shares, axis=0) * (1 + margin))

    def broken(self, points: Array) -> Array:
        """(N, K) share of each point's pairs whose limits it breaks; NaN for one that has no pair.

        Args:
            points: (N, K, 2) in mm, or in pixels where these are square; NaN where missing.
        """
        apart = _distances(points)
        size = _sizes(apart, self.usual)[:, None, None]
        judged = ~np.isnan(apart) & ~np.isnan(self.usual) & ~np.isnan(size)
        with np.errstate(invalid="ignore"):  # NaN breaks nothing
            outside = judged & ((apart < self.low * size) | (apart > self.high * size))
        pairs = judged.sum(axis=-1)
        return np.where(pairs > 0, outside.sum(axis=-1) / np.maximum(pairs, 1), np.nan)

    def tensors(self) -> dict[str, Array]:
        """The limits as arrays by name."""
        return {"usual": self.usual, "low": self.low, "high": self.high}

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> "DistanceLimits":
        """The limits of `tensors()`.

        Raises:
            ValueError: arrays are missing or do not fit each other.
        """
        names = ("usual", "low", "high")
        wrong = [name for name in names if name not in tensors or tensors[name].shape != (len(tensors[name]),) * 2]
        if wrong or len({len(tensors[name]) for name in names}) != 1:
            raise ValueError(f"no distance limits: {', '.join(wrong) or 'arrays of different landmarks'}")
        return cls(*(tensors[name] for name in names))


def _distances(points: Array) -> Array:
    """(N, K, K)."""
    return np.asarray(np.linalg.norm(points[:, :, None] - points[:, None], axis=-1))


def _sizes(apart: Array, usual: Array) -> Array:
    """(N,) size of each film; NaN without a pair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmedian(apart / usual, axis=(1, 2)))
