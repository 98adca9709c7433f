"""Shapes laid on one another: generalised Procrustes analysis with missing points.

In the plane a rotation, scale and shift of points is `a z + b` with points as complex numbers x + iy, so that the best one
in the sense of least squares is a linear regression.  A film that faces the other way is mirrored first: `conj(z)`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.complex128]
"""Points as complex numbers, NaN where missing."""

_ROUNDS, _SETTLED = 100, 1e-9


@dataclass(frozen=True, eq=False)
class Pose:
    """How N shapes lie on a reference: `turn * z + shift`, of conj(z) where mirrored.

    Attributes:
        turn: (N,) complex: scale and rotation.
        shift: (N,) complex.
        mirrored: (N,) bool.
    """

    turn: Plane
    shift: Plane
    mirrored: NDArray[np.bool_]

    def apply(self, points: Plane) -> Plane:
        """(N, K) points in the reference's frame."""
        facing = np.where(self.mirrored[:, None], points.conj(), points)
        return np.asarray(self.turn[:, None] * facing + self.shift[:, None])

    def undo(self, points: Plane) -> Plane:
        """(N, K) points back in the shapes' own frames."""
        facing = (points - self.shift[:, None]) / self.turn[:, None]
        return np.asarray(np.where(self.mirrored[:, None], facing.conj(), facing))


def as_plane(points: NDArray[np.float64]) -> Plane:
    """(..., 2) points as complex numbers; both parts NaN where either is."""
    plane = points[..., 0] + 1j * points[..., 1]
    return np.where(np.isnan(plane), complex(np.nan, np.nan), plane)


def as_points(plane: Plane) -> NDArray[np.float64]:
    """Complex numbers as (..., 2) points."""
    return np.stack([plane.real, plane.imag], axis=-1)


def lay_on(shapes: Plane, reference: Plane, used: NDArray[np.bool_] | None = None, mirrored: NDArray[np.bool_] | None = None) -> Pose:
    """The pose of each shape that brings it nearest to the reference.

    Args:
        shapes: (N, K).
        reference: (K,).
        used: (N, K) points that count (default: all); missing ones never do.
        mirrored: (N,) which shapes face the other way (default: those that fit better so).

    Returns:
        Poses; NaN for a shape of fewer than two points that count.
    """
    counts = ~np.isnan(shapes) & ~np.isnan(reference)
    counts = counts if used is None else counts & used
    if mirrored is None:
        straight, turned = (_least_squares(side, reference, counts) for side in (shapes, shapes.conj()))
        mirrored = turned[2] < straight[2] * (1 - 1e-9)  # NaN is never better
        turn, shift = (np.where(mirrored, turned[part], straight[part]) for part in (0, 1))
        return Pose(turn, shift, mirrored)
    turn, shift, _ = _least_squares(np.where(mirrored[:, None], shapes.conj(), shapes), reference, counts)
    return Pose(turn, shift, mirrored)


def generalised(shapes: Plane, start: Plane | None = None) -> tuple[Plane, Pose]:
    """Generalised Procrustes analysis (Gower, Psychometrika 40, 1975): all shapes on their own mean.

    Args:
        shapes: (N, K); every point is there in some shape, and every shape has at least two.
        start: (K,) a shape that says which way the mean faces (default: as most shapes do).

    Returns:
        (K,) mean, of the shapes' mean size (geometric) and direction; and the shapes' poses on it.
    """
    if start is None:
        start = shapes[np.argmax((~np.isnan(shapes)).sum(axis=1))]
        if lay_on(shapes, start).mirrored.mean() > 0.5:
            start = start.conj()
    reference = start
    for _ in range(_ROUNDS):
        pose = lay_on(shapes, reference)
        # The mean's own size and direction are free: without this it would shrink from round to round.
        common = np.exp(np.log(np.abs(pose.turn)).mean() + 1j * np.angle((pose.turn / np.abs(pose.turn)).mean()))
        mean = np.nanmean(pose.apply(shapes), axis=0) / common
        mean -= np.nanmean(mean)
        moved = np.nanmax(np.abs(mean - reference + np.nanmean(reference)))
        reference = mean
        if moved < _SETTLED * np.nanmax(np.abs(mean)) and not np.isnan(mean).any():
            break
    return reference, lay_on(shapes, reference)


@np.errstate(invalid="ignore")  # a shape without points is NaN and stays it
def _least_squares(shapes: Plane, reference: Plane, counts: NDArray[np.bool_]) -> tuple[Plane, Plane, NDArray[np.float64]]:
    """Turn (N,), shift (N,) and mean squared distance (N,) of the regression of the reference on each shape."""
    number = counts.sum(axis=1)
    number = np.where(number < 2, np.nan, number)[:, None]
    here, there = np.where(counts, shapes, 0), np.where(counts, reference, 0)
    centre, goal = here.sum(axis=1, keepdims=True) / number, there.sum(axis=1, keepdims=True) / number
    here, there = np.where(counts, here - centre, 0), np.where(counts, there - goal, 0)
    size = (np.abs(here) ** 2).sum(axis=1)
    # Points that all coincide have no direction: the turn is then NaN.
    turn = (here.conj() * there).sum(axis=1) / np.where(size > 0, size, np.nan)
    apart = (np.abs(turn[:, None] * here - there) ** 2).sum(axis=1) / number[:, 0]
    return turn, goal[:, 0] - turn * centre[:, 0], apart
