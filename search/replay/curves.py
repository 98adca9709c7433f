"""Learning curves of a whole space: what any configuration would do, from those that were recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ceph_core.config import Config, apply
from ceph_core.errors import InputError
from search.cube import coordinates
from search.space import Space
from search.space.schema import Spec

Floats = NDArray[np.float64]


class TableSpace(Space):
    """The space of a table whose knobs are no keys of a training: only its number of epochs is real."""

    def configure(self, values: Mapping[str, Any], seed: int) -> Config:
        """A training of this length; what the knobs mean the table knows."""
        return apply(Config(), {**self.fixed, "train.seed": seed}, "fixed")


def table_space(entries: Mapping[str, Any], epochs: int, baseline: Mapping[str, Any] | None, **sections: Any) -> TableSpace:
    """A table's space: `entries` and `sections` as a space file has them.

    Raises:
        InputError: a section is not as a space file may have it.
    """
    tree = {"search": dict(entries), "start_from": [] if baseline is None else [dict(baseline)], **sections}
    try:
        checked = Spec.model_validate({**tree, "fixed": {"train.epochs": epochs}})
    except ValidationError as error:
        raise InputError([f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]) from error
    return TableSpace.model_construct(**{name: getattr(checked, name) for name in Spec.model_fields})


@dataclass(frozen=True, eq=False)
class Curve:
    """One training.

    Attributes:
        values: (E,) after each epoch, lower is better; NaN from where it diverged, and in epochs that were not validated.
        seconds: (E,) of each epoch.
        validated: (E,) bool.
        image_sizes: (E,) px, for the time an epoch is estimated to take.
    """

    values: Floats
    seconds: Floats
    validated: NDArray[np.bool_]
    image_sizes: NDArray[np.int64]

    @classmethod
    def of(cls, values: Sequence[float] | Floats, seconds: Sequence[float] | Floats) -> "Curve":
        """A curve that was validated every epoch."""
        worked = np.asarray(values, dtype=np.float64)
        return cls(worked, np.asarray(seconds, dtype=np.float64), np.ones(len(worked), bool), np.full(len(worked), 512))


class Curves(Protocol):
    """Every configuration's curve.

    Attributes:
        space: what is searched.
        best: the lowest last value there is, and scale: 0 is the best, 1 the median of the last values.
    """

    space: Space
    best: float
    scale: float

    def at(self, values: Mapping[str, Any]) -> Curve:
        """The curve at a point of the space."""


class Recorded:
    """Recorded trainings; any other point of the space has the curve of the one nearest to it in the unit cube.

    Args:
        space: what was searched.
        points: their configurations.
        curves: theirs, of one length.
        left_out: trainings that were recorded but had not all their epochs.

    Raises:
        InputError: no two of them end at different values.
    """

    def __init__(self, space: Space, points: Sequence[Mapping[str, Any]], curves: Sequence[Curve], left_out: int = 0) -> None:
        self.space, self.left_out = space, left_out
        self.points, self.curves = tuple(map(dict, points)), tuple(curves)
        self._cube = np.stack([coordinates(space.knobs, point) for point in points])
        last = np.array([curve.values[-1] for curve in curves])
        finite = last[np.isfinite(last)]
        if not len(finite) or np.median(finite) <= finite.min():
            raise InputError(f"{space.source}: {len(curves)} trainings that do not end at different values leave nothing to search for")
        self.best = float(finite.min())
        self.scale = float(np.median(finite)) - self.best

    def nearest(self, values: Mapping[str, Any]) -> int:
        """Which recorded training stands for this point."""
        return int(np.argmin(np.abs(self._cube - coordinates(self.space.knobs, values)).sum(axis=1)))

    def at(self, values: Mapping[str, Any]) -> Curve:
        """The curve of the nearest."""
        return self.curves[self.nearest(values)]
