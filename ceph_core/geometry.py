"""Frames and the one way between them: original film, network input (canvas) and heatmap.

Points are (x, y), pixel centres on whole numbers, so a pixel of size 1 spans -0.5 ... 0.5 about its number.  An affine
is a (2, 3) float64 matrix that maps points of one frame to another.  Images are resampled by `resample` alone (cache,
predictor and export), and `fit_affine` says exactly where it puts a point.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from ceph_core.config.data import SIZE_STEP

Affine = NDArray[np.float64]

_STRIP_ROWS = 256
"""Of a film that are narrowed at once: the same to the bit as all at once, and of a large film's floats but a strip is in memory."""


@dataclass(frozen=True)
class Canvas:
    """Height and width of the network's input, px, both multiples of 32."""

    height: int
    width: int


@dataclass(frozen=True)
class Fit:
    """Where a film lies on a canvas: scaled to `height` x `width`, its first pixel at (`left`, `top`)."""

    height: int
    width: int
    top: int
    left: int


def data_aspect(sizes: Sequence[tuple[int, int]]) -> float:
    """Height over width that a data set's canvas follows: the median over its films' (height, width)."""
    return median(height / width for height, width in sizes)


def canvas_for(aspect: float, image_size: int) -> Canvas:
    """The canvas with `image_size` on its long side; the short side follows `aspect`, rounded up to a multiple of 32."""
    short = image_size * min(aspect, 1 / aspect)
    # A hair of slack: 512 * 0.75 computed as 384.0000001 must not become 416.
    short_side = max(SIZE_STEP, int(np.ceil((short - 1e-6) / SIZE_STEP)) * SIZE_STEP)
    return Canvas(image_size, short_side) if aspect >= 1 else Canvas(short_side, image_size)


def fit(size: tuple[int, int], canvas: Canvas) -> Fit:
    """Centre a film of (height, width) on the canvas, as large as its aspect allows."""
    height, width = size
    scale = min(canvas.height / height, canvas.width / width)
    new_height = min(canvas.height, max(1, round(height * scale)))
    new_width = min(canvas.width, max(1, round(width * scale)))
    return Fit(new_height, new_width, (canvas.height - new_height) // 2, (canvas.width - new_width) // 2)


def fit_affine(size: tuple[int, int], canvas: Canvas) -> Affine:
    """(2, 3) affine from original pixels of a film of (height, width) to input pixels, exact for `resample`."""
    placed = fit(size, canvas)
    scale_y, scale_x = placed.height / size[0], placed.width / size[1]
    # Pixel centres: x_in + 0.5 = scale * (x + 0.5), then the border.
    return np.array([[scale_x, 0, 0.5 * scale_x - 0.5 + placed.left], [0, scale_y, 0.5 * scale_y - 0.5 + placed.top]])


def resample(film: Tensor, canvas: Canvas) -> Tensor:
    """The film on the canvas: anti-aliased bilinear, black border.

    Args:
        film: (B, 1, h, w) float or uint8 grey values 0-255, original frame.

    Returns:
        (B, 1, H, W) float32, rounded to whole grey values, so that a cached uint8 film equals it.
    """
    placed = fit((film.shape[-2], film.shape[-1]), canvas)
    grey = film
    if (placed.height, placed.width) != (film.shape[-2], film.shape[-1]):
        narrow = film.new_empty((*film.shape[:-1], placed.width), dtype=torch.float32)
        for top in range(0, film.shape[-2], _STRIP_ROWS):
            strip = film[..., top : top + _STRIP_ROWS, :]
            narrow[..., top : top + _STRIP_ROWS, :] = _interpolate(strip, (strip.shape[-2], placed.width))
        grey = _interpolate(narrow, (placed.height, placed.width))
    right = canvas.width - placed.width - placed.left
    bottom = canvas.height - placed.height - placed.top
    return functional.pad(grey.to(torch.float32).round().clamp(0, 255), (placed.left, right, placed.top, bottom))


def _interpolate(film: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(film.to(torch.float32), size=size, mode="bilinear", align_corners=False, antialias=True)


def transform(affine: Affine, points: ArrayLike) -> NDArray[np.float64]:
    """Points (..., 2) through a (2, 3) affine, or a stack (N, 2, 3) of affines over points (N, K, 2); NaN stays NaN."""
    points = np.asarray(points, dtype=np.float64)
    matrix = affine[..., :2]
    return points @ np.swapaxes(matrix, -1, -2) + affine[..., None, :, 2] if affine.ndim == 3 else points @ matrix.T + affine[:, 2]


def invert(affine: Affine) -> Affine:
    """The affine (or stack of them) that undoes this one."""
    inverse = np.linalg.inv(affine[..., :2])
    return np.concatenate([inverse, -inverse @ affine[..., 2:]], axis=-1)


def to_heatmap(points: Tensor, stride: int) -> Tensor:
    """Points (..., 2) from input to heatmap pixels."""
    return (points + 0.5) / stride - 0.5


def to_input(points: Tensor, stride: int) -> Tensor:
    """Points (..., 2) from heatmap to input pixels."""
    return (points + 0.5) * stride - 0.5
