"""Values of measurements on films, and intervals that follow from how far off the points may be.  Lengths are mm, angles degrees."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ceph_core.landmarks import Protocol, canonical
from ceph_core.measurements.definitions import Definitions, Line, Measurement, Term, middle_of

Array = NDArray[np.float64]

DRAWS = 400
"""Of the points around where they were found, for intervals: 95 % limits are then good to a twentieth of their width."""
RADIUS_IN_DEVIATIONS = math.sqrt(-2 * math.log(1 - 0.9))
"""The 90 % radius of a point whose errors are normal and alike in x and y, in standard deviations of either."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Measurements of N films.

    Attributes:
        names: M, in the order of the definitions.
        values: (N, M), NaN where a point is missing.
        low, high: (N, M) 95 % limits; None: nobody said how far off the points may be.
        missing: what each measurement lacks: landmarks, by name of the measurement; those that lack nothing are left out.
        definitions: by which they were measured.
    """

    names: tuple[str, ...]
    values: Array
    low: Array | None
    high: Array | None
    missing: Mapping[str, tuple[str, ...]]
    definitions: Definitions

    def definition(self, name: str) -> Measurement:
        """Of a measurement."""
        return self.definitions.measurements[name]

    def classes(self, place: int) -> list[str]:
        """N classes of the measurement at this place, empty where there is none."""
        return [self.definition(self.names[place]).class_of(float(value)) for value in self.values[:, place]]


def measure(
    definitions: Definitions, protocol: Protocol, points_px: Array, spacing_mm: Array | None, radius_mm: Array | None = None, seed: int = 0
) -> Measured:
    """Measure films.

    Args:
        points_px: (N, K, 2) original px, NaN where missing.
        spacing_mm: (N, 2) mm per original px; None: unknown, so that lengths are, and pixels are taken as square for angles.
        radius_mm: (N, K) 90 % radii of the points; None: no intervals.
    """
    places = {} if protocol.is_numbered else {canonical(symbol): place for place, symbol in enumerate(protocol.symbols)}
    missing = {
        name: lacking for name in definitions.measurements if (lacking := _lacking(definitions, name, places, spacing_mm is not None))
    }
    points = points_px * (np.ones((len(points_px), 1, 2)) if spacing_mm is None else spacing_mm[:, None, :])
    names = tuple(definitions.measurements)
    values = _values(definitions, points, places, names, missing)
    low = high = None
    if radius_mm is not None and spacing_mm is not None:
        random = np.random.default_rng(seed)
        deviation = radius_mm[..., None] / RADIUS_IN_DEVIATIONS
        drawn = points + random.standard_normal((DRAWS, *points.shape)) * deviation
        spread = _values(definitions, drawn, places, names, missing)
        known = ~np.isnan(spread).any(axis=0)
        low, high = np.percentile(np.where(known, spread, 0.0), (2.5, 97.5), axis=0)
        low, high = np.where(known, low, np.nan), np.where(known, high, np.nan)
    return Measured(names, values, low, high, missing, definitions)


def _lacking(definitions: Definitions, name: str, places: Mapping[str, int], has_mm: bool) -> tuple[str, ...]:
    points = tuple(symbol for symbol in definitions.points_of(name) if symbol not in places)
    return (*points, *(("mm a pixel",) if definitions.measurements[name].unit == "mm" and not has_mm else ()))


def _values(definitions: Definitions, points: Array, places: Mapping[str, int], names: Sequence[str], missing: Mapping[str, Any]) -> Array:
    """(..., M) of points (..., K, 2) in mm."""
    frame = _Frame(definitions, points, places)
    unknown = np.full(points.shape[:-2], np.nan)
    return np.stack([unknown if name in missing else frame.value(definitions.measurements[name]) for name in names], axis=-1)


class _Frame:
    """Points of films mirrored so that all face right; x runs ahead, y down."""

    def __init__(self, definitions: Definitions, points: Array, places: Mapping[str, int]) -> None:
        self._definitions, self._points, self._places = definitions, points, places
        self._mirror = np.ones(points.shape[:-2])
        back, front = definitions.facing
        if canonical(back) in places and canonical(front) in places:
            self._mirror = np.where((self._raw(front) - self._raw(back))[..., 0] < 0, -1.0, 1.0)

    def value(self, term: Term) -> Array:
        """(...) of one measurement."""
        made: Array = getattr(self, f"_{term.kind}")(*self._arguments(term))
        return made

    def _arguments(self, term: Term) -> tuple[Any, ...]:
        given = getattr(term, term.kind)
        return (given,) if term.kind == "sum" else given

    def _raw(self, symbol: str) -> Array:
        return np.asarray(self._points[..., self._places[canonical(symbol)], :])

    def _at(self, expression: str) -> Array:
        """(..., 2) of a point or the middle of two."""
        pair = middle_of(expression)
        found = self._raw(expression) if pair is None else (self._raw(pair[0]) + self._raw(pair[1])) / 2
        return np.stack([found[..., 0] * self._mirror, found[..., 1]], axis=-1)

    def _along(self, line: Line) -> Array:
        return self._at(line[1]) - self._at(line[0])

    def _angle(self, one: Line, other: Line) -> Array:
        return np.asarray(np.abs(self._tilt(one, other)))

    def _tilt(self, one: Line, other: Line) -> Array:
        a, b = self._along(one), self._along(other)
        return np.asarray(np.degrees(np.arctan2(_cross(a, b), (a * b).sum(-1))))

    def _distance(self, one: str, other: str) -> Array:
        return np.asarray(np.linalg.norm(self._along((one, other)), axis=-1))

    def _ahead(self, one: str, other: str, line: Line) -> Array:
        direction = self._along(line)
        return np.asarray((self._along((other, one)) * direction).sum(-1) / np.linalg.norm(direction, axis=-1))

    def _beyond(self, point: str, line: Line) -> Array:
        direction = self._along(line)
        return np.asarray(-_cross(direction, self._along((line[0], point))) / np.linalg.norm(direction, axis=-1))

    def _apart(self, one: str, other: str, line: Line) -> Array:
        return np.asarray(np.sign(self._ahead(one, other, line)) * self._distance(one, other))

    def _ratio(self, one: Line, other: Line) -> Array:
        return np.asarray(self._distance(*one) / self._distance(*other))

    def _sum(self, parts: Sequence[str | Term]) -> Array:
        total = np.zeros(self._points.shape[:-2])
        for part in parts:
            if isinstance(part, Term):
                total = total + self.value(part)
            else:
                named = self.value(self._definitions.measurements[part.removeprefix("-")])
                total = total - named if part.startswith("-") else total + named
        return total


def _cross(a: Array, b: Array) -> Array:
    """Positive: b is turned clockwise from a, as seen on the film (y runs down)."""
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
