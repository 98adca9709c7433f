"""What the cache keeps of a film: its picture on a canvas, or the small one by which doubles are found."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ceph_core.geometry import Canvas, resample

Film = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """One way to show a film.

    Attributes:
        name: of what is shown, with its size: files of other views, or of an earlier way to make this one, have another.
        height: of the picture, px.
        width: of the picture, px.
        show: (h, w) film -> (height, width) uint8, a pure function.
    """

    name: str
    height: int
    width: int
    show: Callable[[Film], Film]


def canvas_view(canvas: Canvas) -> View:
    """The film as a network on this canvas sees it."""
    return View(f"{canvas.height} {canvas.width}", canvas.height, canvas.width, lambda film: on_canvas(film, canvas))


def on_canvas(film: Film, canvas: Canvas) -> Film:
    """`geometry.resample` of one film (h, w): (H, W) uint8."""
    return np.asarray(resample(torch.from_numpy(film)[None, None], canvas)[0, 0].to(torch.uint8).numpy())
