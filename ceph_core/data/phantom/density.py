"""What the beam passes through: a map of attenuation that bones, tissue and air are added to, one shape at a time.

Superimposed structures add up, as on a film.  Thickness follows the chord of the beam through a rounded body, so that
bone is brightest where the beam grazes its cortex and soft tissue fades out towards the skin.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from ceph_core.data.phantom.shapes import Points

Map = NDArray[np.float32]
SHIFT = 5
"""Bits of sub-pixel position that OpenCV draws with."""


class Density:
    """A map (height, width) of attenuation in arbitrary units, in film pixels.

    Args:
        size: (height, width) px.
        affine: (2, 3) from mm in the head frame to film pixels.
    """

    def __init__(self, size: tuple[int, int], affine: NDArray[np.float64]) -> None:
        self.map: Map = np.zeros(size, dtype=np.float32)
        self._affine = affine
        self._px_per_mm = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))

    def body(self, outline: Points, amount: float, depth_mm: float, blur_mm: float = 0.0) -> None:
        """A rounded solid: `amount` where it is thickest, reached `depth_mm` inside its outline; negative for air."""
        self._fill(outline, blur_mm, lambda inside_mm: amount * np.sqrt(1 - (1 - np.minimum(inside_mm / depth_mm, 1)) ** 2))

    def bone(self, outline: Points, rim: float, core: float, cortex_mm: float, blur_mm: float = 0.0) -> None:
        """A hollow bone: a cortex that peaks at `rim` on edge and `core` behind it, grazing rays in between."""

        def profile(inside_mm: Map) -> Map:
            rise = np.minimum(inside_mm / (0.45 * cortex_mm), 1)
            fade = np.exp(-np.maximum(inside_mm - 0.45 * cortex_mm, 0) / cortex_mm)
            return np.asarray(rise * (core + (rim - core) * fade), dtype=np.float32)

        self._fill(outline, blur_mm, profile)

    def plate(self, curve: Points, amount: float, width_mm: float, blur_mm: float = 0.0, closed: bool = False) -> None:
        """A thin plate of bone seen on edge, along a curve (n, 2)."""
        px = self._px(curve)
        pad = int(np.ceil((width_mm + 3 * blur_mm) * self._px_per_mm)) + 2
        box = self._box(px, pad)
        if box is None:
            return
        top, bottom, left, right = box
        mask = np.zeros((bottom - top, right - left), dtype=np.uint8)
        # OpenCV's lines have whole widths: draw the next wider one and weaken it by the difference.
        wanted = width_mm * self._px_per_mm
        drawn = max(1, int(np.ceil(wanted)))
        fixed = np.round((px - [left, top]) * 2**SHIFT).astype(np.int32)
        cv2.polylines(mask, [fixed], closed, 255, drawn, cv2.LINE_AA, SHIFT)
        self._add(box, mask.astype(np.float32) * (amount * min(1.0, wanted / drawn) / 255), blur_mm)

    def cells(self, outline: Points, amount: float, size_mm: float, rng: np.random.Generator) -> None:
        """Air cells with bony walls: a mottle of +-`amount` with grains of `size_mm` inside the outline."""
        px = self._px(outline)
        box = self._box(px, 2)
        if box is None:
            return
        top, bottom, left, right = box
        step = size_mm * self._px_per_mm
        coarse = rng.standard_normal((max(2, int((bottom - top) / step)), max(2, int((right - left) / step)))).astype(np.float32)
        grain = cv2.resize(coarse, (right - left, bottom - top), interpolation=cv2.INTER_CUBIC)
        mask = np.zeros(grain.shape, dtype=np.uint8)
        cv2.fillPoly(mask, [np.round((px - [left, top]) * 2**SHIFT).astype(np.int32)], 255, cv2.LINE_AA, SHIFT)
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.5 * self._px_per_mm)
        self._add(box, grain * soft * (amount / 255), 0)

    def blurred(self, sigma_mm: float) -> Map:
        """The map through a focal spot of this size."""
        return np.asarray(cv2.GaussianBlur(self.map, (0, 0), sigma_mm * self._px_per_mm), dtype=np.float32)

    def _fill(self, outline: Points, blur_mm: float, profile: Callable[[Map], Map]) -> None:
        px = self._px(outline)
        box = self._box(px, int(np.ceil(3 * blur_mm * self._px_per_mm)) + 3)
        if box is None:
            return
        top, bottom, left, right = box
        mask = np.zeros((bottom - top, right - left), dtype=np.uint8)
        cv2.fillPoly(mask, [np.round((px - [left, top]) * 2**SHIFT).astype(np.int32)], 1, cv2.LINE_8, SHIFT)
        inside = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5)
        self._add(box, profile(np.maximum(inside - 0.5, 0) / self._px_per_mm), blur_mm)

    def _add(self, box: tuple[int, int, int, int], values: Map, blur_mm: float) -> None:
        if blur_mm:
            values = np.asarray(cv2.GaussianBlur(values, (0, 0), blur_mm * self._px_per_mm), dtype=np.float32)
        top, bottom, left, right = box
        self.map[top:bottom, left:right] += values

    def _px(self, points: Points) -> Points:
        return points @ self._affine[:, :2].T + self._affine[:, 2]

    def _box(self, px: Points, pad: int) -> tuple[int, int, int, int] | None:
        """Rows and columns that a shape touches, None if it lies off the film."""
        height, width = self.map.shape
        left, top = np.floor(px.min(axis=0)).astype(int) - pad
        right, bottom = np.ceil(px.max(axis=0)).astype(int) + pad + 1
        top, bottom, left, right = max(0, top), min(height, bottom), max(0, left), min(width, right)
        return (top, bottom, left, right) if top < bottom and left < right else None
