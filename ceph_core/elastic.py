"""Elastic deformation: a smooth displacement that moves the film and its points together, exactly.

The displacement is a uniform cubic B-spline over a coarse grid of control points.  It is known in closed form everywhere, so that a point
is moved by solving the very equation that the film is resampled with; a film costs two small matrix products and one resampling.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CELLS = 5
"""Of the control grid along the film's long side: about 5 cm each."""

TOLERANCE_PX = 1e-4
MAX_ROUNDS = 100


class Elastic:
    """A displacement d in px over one film: pixel p of the new film shows the old one's p + d(p).

    Beyond the film's edge d goes on as it is at the edge.

    Args:
        size: (height, width) of the film.
        share: each control point is moved by up to this share of the long side, in x and in y.  Up to 0.04 (a fifth of a cell) the
            film cannot fold over itself and solving for a point converges.
        rng: draws the control points.
    """

    def __init__(self, size: tuple[int, int], share: float, rng: np.random.Generator) -> None:
        self._size = size
        self._cell_px = max(size) / CELLS
        counts = tuple(int((side - 1) / self._cell_px) + 4 for side in size)
        reach_px = share * max(size)
        self._control = rng.uniform(-reach_px, reach_px, (2, *counts))

    def sources(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """x and y (H, W) that every pixel is taken from."""
        columns, rows = (np.arange(side, dtype=np.float64) for side in self._size[::-1])
        over_x, over_y = self._weights(columns, axis=1), self._weights(rows, axis=0)
        moves = (over_y @ self._control @ over_x.T).astype(np.float32)
        return moves[0] + columns.astype(np.float32), moves[1] + rows.astype(np.float32)[:, None]

    def targets(self, points: Floats) -> Floats:
        """Where the points (K, 2) of the old film lie in the new one: p with p + d(p) = point, by iteration."""
        found = points
        for _ in range(MAX_ROUNDS):
            before, found = found, points - self._at(found)
            if np.abs(found - before).max(initial=0) < TOLERANCE_PX:
                break
        return found

    def _at(self, points: Floats) -> Floats:
        """d (K, 2) at points between the pixels."""
        over_x, over_y = self._weights(points[:, 0], axis=1), self._weights(points[:, 1], axis=0)
        moves: Floats = np.einsum("kr,drc,kc->kd", over_y, self._control, over_x)
        return moves

    def _weights(self, positions: Floats, axis: int) -> Floats:
        """(N, control points of the axis): what each of them counts at N positions in px; four of them do at any."""
        grid = np.clip(positions, 0, self._size[axis] - 1) / self._cell_px
        cells = grid.astype(np.intp)
        u = grid - cells
        weights = np.zeros((len(positions), self._control.shape[axis + 1]))
        four = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], axis=-1) / 6
        np.put_along_axis(weights, cells[:, None] + np.arange(4), four, axis=1)
        return weights
