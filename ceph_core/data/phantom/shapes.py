"""Plane geometry of the drawn anatomy: directions, smooth curves, and points that a curve's own form defines.

Everything is in mm in the head frame: origin in the middle of the sella turcica, x forward, y down.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]


def towards(angle_deg: float) -> Points:
    """(2,) unit vector; 0 deg is forward, 90 deg is down."""
    angle = np.deg2rad(angle_deg)
    return np.array([np.cos(angle), np.sin(angle)])


def rotated(offsets: ArrayLike, angle_deg: float) -> Points:
    """Offsets (..., 2) turned by an angle, forward towards down."""
    along, across = towards(angle_deg), towards(angle_deg + 90)
    return np.asarray(offsets, dtype=np.float64) @ np.stack([along, across])


def spanned(start: Points, end: Points, shape: ArrayLike) -> Points:
    """A shape (n, 2) given as (share of the way from start to end, mm to the right of that way), in the head frame."""
    shape = np.asarray(shape, dtype=np.float64)
    way = end - start
    right = np.array([-way[1], way[0]]) / np.linalg.norm(way)
    return np.asarray(start + shape[:, :1] * way + shape[:, 1:] * right)


def smooth(knots: Sequence[ArrayLike] | Points, closed: bool = False, steps: int = 10) -> Points:
    """A curve through all knots (n, 2): centripetal Catmull-Rom, which neither loops nor overshoots between uneven knots."""
    p = np.asarray(knots, dtype=np.float64)
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    gap = np.sqrt(np.linalg.norm(np.diff(p, axis=0), axis=1)).clip(1e-6)
    d0, d1, d2 = gap[:-2, None], gap[1:-1, None], gap[2:, None]
    p0, p1, p2, p3 = p[:-3], p[1:-2], p[2:-1], p[3:]
    leave = (p1 - p0) / d0 - (p2 - p0) / (d0 + d1) + (p2 - p1) / d1
    arrive = (p2 - p1) / d1 - (p3 - p1) / (d1 + d2) + (p3 - p2) / d2
    t = (np.arange(steps) / steps)[None, :, None]
    m1, m2 = (leave * d1)[:, None], (arrive * d1)[:, None]
    a, b = p1[:, None], p2[:, None]
    curve = (2 * t**3 - 3 * t**2 + 1) * a + (t**3 - 2 * t**2 + t) * m1 + (3 * t**2 - 2 * t**3) * b + (t**3 - t**2) * m2
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p2[-1:]])


def extreme(curve: Points, direction: ArrayLike) -> Points:
    """The point of a curve (n, 2) that lies furthest in a direction."""
    return np.array(curve[np.argmax(curve @ np.asarray(direction, dtype=np.float64))])


def furthest_right(curve: Points, start: Points, end: Points) -> Points:
    """The point of a curve that lies furthest to the right of the way from start to end (x forward, y down)."""
    way = end - start
    return extreme(curve, [-way[1], way[0]])


def ellipse(centre: ArrayLike, radii: ArrayLike, angle_deg: float = 0.0, num: int = 40) -> Points:
    """A closed ellipse (num, 2)."""
    angle = np.linspace(0, 2 * np.pi, num, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.asarray(radii, dtype=np.float64)
    return np.asarray(centre, dtype=np.float64) + rotated(ring, angle_deg)
