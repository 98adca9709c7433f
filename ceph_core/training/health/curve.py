"""The part of a learning curve that is judged: validated epochs only, whether they come from a live run or from records."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ceph_core.training.progressive import epoch_of_share

HISTORY_FIGURES = (
    "epoch", "train_loss", "val_loss", "val_mre_mm", "val_sdr_2mm", "val_sdr_4mm", "peak_width_rel",
)  # fmt: skip
"""What of an epoch's flat figures a verdict may hang on."""


@dataclass(frozen=True)
class Point:
    """One validated epoch; errors in mm, shares in percent, NaN where a record does not hold the figure."""

    epoch: int
    train_loss: float
    val_loss: float
    mre_mm: float
    sdr_2mm: float
    sdr_4mm: float
    peak_width_rel: float

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> "Point":
        """Of flat figures; what is missing or null is NaN."""
        epoch, *rest = (figures.get(name) for name in HISTORY_FIGURES)
        assert epoch is not None
        return cls(int(epoch), *(math.nan if value is None else float(value) for value in rest))


@dataclass(frozen=True)
class Curve:
    """A run so far.

    Attributes:
        epochs: of the whole run.
        points: validated epochs with an error, in order.
        mean_shape_mm: MRE on the same films of the training films' mean shape; NaN if unknown.
    """

    epochs: int
    points: tuple[Point, ...] = field(repr=False)
    mean_shape_mm: float

    @classmethod
    def of(cls, epochs: int, figures: Iterable[Mapping[str, Any]], mean_shape_mm: float) -> "Curve":
        """Of the run's epochs as flat figures; those that were not validated, or diverged, are left out."""
        points = (Point.of(each) for each in figures)
        return cls(epochs, tuple(point for point in points if math.isfinite(point.mre_mm)), mean_shape_mm)

    @property
    def last(self) -> Point:
        """The latest point."""
        return self.points[-1]

    @cached_property
    def best_mm(self) -> float:
        """The lowest MRE so far."""
        return min(point.mre_mm for point in self.points)

    def has_reached(self, share: float) -> bool:
        """Whether this share of the run is over, by the latest point."""
        return bool(self.points) and self.last.epoch >= epoch_of_share(share, self.epochs)

    def until(self, share: float) -> tuple[Point, ...]:
        """The points up to the first at or after this share of the run."""
        border = epoch_of_share(share, self.epochs)
        count = sum(point.epoch < border for point in self.points) + 1
        return self.points[:count]

    def window(self, share: float, least: int) -> tuple[Point, ...]:
        """The points of the last `share` of the run, but at least so many if there are."""
        begin = self.last.epoch - share * self.epochs
        return self.points[-max(least, sum(point.epoch > begin for point in self.points)) :]
