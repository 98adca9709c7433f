"""The second pass: a network reads the film once more, larger, in a window around the points of its first pass.

On a canvas of 256 px a head takes up two thirds of a film.  The points of the first pass say where it lies, and the same network reads a
window of the same canvas from the film `zoom` times as large.  It is trained on both: most films are shown as windows around their
landmarks, the others whole (D-CeLR does so; Lightning Pose calls it cropzoom).  A window lies on whole pixels of the
larger canvas, so that cutting it out is slicing, in training, prediction and ONNX alike.

N films, K landmarks; points (N, K, 2) and origins (N, 2) are x then y.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ceph_core.config.data import SIZE_STEP
from ceph_core.geometry import Affine, Canvas, canvas_for, data_aspect

WHOLE_SHARE = 0.25
"""Share of the training films that are shown whole, so that the first pass is learned, too."""
_LEAST_ZOOM = 1.1
"""A window that shows a film less enlarged than this is not worth a second pass."""
_MARGIN = 0.05
"""Space that a window leaves around the landmarks on each side, as a share of their larger extent."""
_CUT_OFF = 0.02
"""Share of the films whose landmarks and margin need not fit into a window."""
_REACH = 0.1
"""Share of a window's long side that a point may move by from the first pass to the second: 16 mm on a 240 mm film at a zoom of 1.5."""
_JITTER = 0.04
"""Most that a training window is moved, as a share of the canvas: the first pass does not find its middle exactly, either."""


def largest_zoom(landmarks_px: Sequence[NDArray[np.float64]], sizes: Sequence[tuple[int, int]]) -> float:
    """The zoom at which windows still hold the landmarks of nearly all films; 1 where nothing is marked.

    Args:
        landmarks_px: (K, 2) of each film, original px, NaN where missing.
        sizes: (height, width) of each film.
    """
    aspect, zooms = data_aspect(sizes), []
    for points, (height, width) in zip(landmarks_px, sizes, strict=True):
        marked = points[~np.isnan(points).any(axis=1)]
        if len(marked) > 1:
            extent = np.ptp(marked, axis=0)
            needed = extent + 2 * _MARGIN * extent.max()
            shown = max(width, height / aspect) * np.array([1.0, aspect])  # of the film by a canvas that holds it whole
            zooms.append(float((shown / np.maximum(needed, 1e-9)).min()))
    return max(1.0, float(np.quantile(zooms, _CUT_OFF))) if zooms else 1.0


def close_canvas(aspect: float, image_size: int, zoom: float) -> Canvas | None:
    """The larger canvas that windows are cut from, rounded down to the grid; None where it is hardly larger."""
    size = int(image_size * zoom / SIZE_STEP + 1e-9) * SIZE_STEP
    return canvas_for(aspect, size) if size >= _LEAST_ZOOM * image_size else None


def origins(points: Tensor, canvas: Canvas, close: Canvas) -> Tensor:
    """(N, 2) int64 first pixel of each film's window, which is centred on its points and lies on the close canvas.

    Args:
        points: (N, K, 2) px of the close canvas, NaN where missing; a film without any has its window in the middle.
    """
    low = torch.where(points.isnan(), torch.inf, points).amin(1)
    high = torch.where(points.isnan(), -torch.inf, points).amax(1)
    size = torch.tensor([canvas.width, canvas.height], dtype=points.dtype, device=points.device)
    room = torch.tensor([close.width - canvas.width, close.height - canvas.height], dtype=points.dtype, device=points.device)
    first = torch.where(low <= high, (low + high + 1 - size) / 2, room / 2)
    return torch.minimum(first.round().clamp_min(0), room).long()


def cut(pictures: Tensor, first: Tensor, canvas: Canvas) -> Tensor:
    """(N, 1, H, W) windows of pictures (N, 1, h, w) on the close canvas, from these first pixels (N, 2)."""
    rows = first[:, 1, None] + torch.arange(canvas.height, device=pictures.device)
    columns = first[:, 0, None] + torch.arange(canvas.width, device=pictures.device)
    films = torch.arange(pictures.shape[0], device=pictures.device)
    return pictures[films[:, None, None], 0, rows[:, :, None], columns[:, None, :]][:, None]


def moved(affines: Affine, first: NDArray[np.int64]) -> Affine:
    """(N, 2, 3) original -> window px of films with these affines to the close canvas and first pixels (N, 2)."""
    shifted = affines.copy()
    shifted[:, :, 2] -= first
    return shifted


def agreed(second: Tensor, sure: Tensor, first: Tensor, first_sure: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Points and confidences of both passes as one: the second refines the first, and where it lies elsewhere the surer one counts.

    Args:
        second, first: (N, K, 2) points, original px; sure, first_sure: (N, K) their confidences.
        reach: (N, 2) original px within which the second pass refines, see `reach_of`.
    """
    apart = ((second - first) / reach[:, None]).square().sum(-1) > 1
    astray = apart & (first_sure > sure)
    return torch.where(astray[..., None], first, second), torch.where(astray, first_sure, sure)


def reach_of(canvas: Canvas, scale: Tensor) -> Tensor:
    """(N, 2) original px within which a second pass refines the first, of windows of this canvas with so many px per original px (N, 2)."""
    return _REACH * max(canvas.height, canvas.width) / scale


def drawn_origin(points: NDArray[np.float64], canvas: Canvas, close: Canvas, random: np.random.Generator) -> tuple[int, int] | None:
    """First pixel (x, y) of the window that a training film (K, 2 px of the close canvas) is shown in; None: it is shown whole."""
    if random.random() < WHOLE_SHARE:
        return None
    reach = _JITTER * np.array([canvas.width, canvas.height])
    x, y = origins(torch.from_numpy(points + random.uniform(-reach, reach))[None], canvas, close)[0].tolist()
    return x, y
