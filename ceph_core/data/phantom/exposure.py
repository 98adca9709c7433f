"""From attenuation to a film: the cephalostat's shadows, exposure, scatter, collimation and grain."""

import cv2
import numpy as np
from numpy.typing import NDArray

from ceph_core.data.phantom.density import Density


def expose(density: Density, spacing_mm: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(height, width) grey film of a density map, bright where little light of the beam arrives."""
    attenuation = density.blurred(0.22)
    height, width = attenuation.shape
    attenuation *= 0.9 + 0.1 * rng.uniform(-1, 1)
    _add_ruler(attenuation, spacing_mm, rng)
    fog = 0.04 + 0.05 * rng.random()
    _add_marker(attenuation, spacing_mm, rng)
    attenuation += fog + _gradient((height, width), rng)
    grey = 1 - np.exp(-rng.uniform(1.5, 2.1) * np.maximum(attenuation, 0))
    grey = np.power(grey, rng.uniform(1.2, 1.7), dtype=np.float32)
    grain = rng.standard_normal((height, width), dtype=np.float32)
    grey += cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.5, 0.8)) * np.float32(rng.uniform(0.008, 0.03))
    _collimate(grey, rng)
    black, white = rng.uniform(-14, 8), rng.uniform(240, 268)
    return np.asarray(np.clip(black + grey * (white - black), 0, 255).round(), dtype=np.uint8)


def _gradient(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Uneven beam: a slope and a bowl, coarse and smooth."""
    coarse = rng.normal(0, 0.03, (4, 3)).astype(np.float32)
    coarse[:, 2] += rng.uniform(0, 0.25)  # the unattenuated side, where many films fog
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))


def _add_ruler(attenuation: NDArray[np.float32], spacing_mm: float, rng: np.random.Generator) -> None:
    """The nose rest's steel rule in the midsagittal plane, a notch every 5 mm; outside the patient's profile."""
    height, width = attenuation.shape
    px = 1 / spacing_mm
    shadow = np.zeros_like(attenuation)
    x, end = width - rng.uniform(13, 24) * px, rng.uniform(0.28, 0.38) * height
    _bar(shadow, (x, -5), (x, end), 2.6 * px, 0.45)
    _bar(shadow, (x + 1.8 * px, end - 45 * px), (x + 1.8 * px, end), 1.4 * px, 0.5)
    for mark in range(10):
        y = end - 45 * px + mark * 5 * px
        _bar(shadow, (x + 1.6 * px, y), (x + (4.6 if mark % 2 else 5.8) * px, y), 0.9 * px, 0.9)
    _bar(shadow, (x, end), (x - 9 * px, end + 5 * px), 4.5 * px, 0.18)
    attenuation += cv2.GaussianBlur(shadow, (0, 0), 0.25 * px)


def _add_marker(attenuation: NDArray[np.float32], spacing_mm: float, rng: np.random.Generator) -> None:
    """The lead letter that says which side faced the film."""
    height, width = attenuation.shape
    letter = np.zeros(attenuation.shape, dtype=np.uint8)
    place = (round(width - rng.uniform(11, 26) / spacing_mm), round(height - rng.uniform(6, 26) / spacing_mm))
    size = rng.uniform(0.27, 0.36) / spacing_mm
    cv2.putText(letter, "R" if rng.random() < 0.8 else "L", place, cv2.FONT_HERSHEY_SIMPLEX, size, 255, 3, cv2.LINE_AA)
    attenuation += letter.astype(np.float32) * (rng.uniform(0.4, 0.9) / 255)


def _bar(shadow: NDArray[np.float32], start: tuple[float, float], end: tuple[float, float], width_px: float, amount: float) -> None:
    ends = [tuple(round(v * 16) for v in point) for point in (start, end)]
    mask = np.zeros(shadow.shape, dtype=np.uint8)
    cv2.line(mask, ends[0], ends[1], 255, max(1, round(width_px)), cv2.LINE_AA, 4)
    np.maximum(shadow, mask.astype(np.float32) * (amount / 255), out=shadow)


def _collimate(grey: NDArray[np.float32], rng: np.random.Generator) -> None:
    """The unexposed border of the film, clear (bright) on some units and cut to black on others."""
    height, width = grey.shape
    if rng.random() < 0.35:
        return
    level = 0.98 if rng.random() < 0.5 else 0.0
    top, right, bottom, left = rng.uniform(2, 11, 4).astype(int)
    open_field = np.zeros((height, width), dtype=np.uint8)
    cv2.rectangle(open_field, (left, top), (width - 1 - right, height - 1 - bottom), 255, -1)
    share = cv2.GaussianBlur(open_field.astype(np.float32) / 255, (0, 0), 1.2)
    grey *= share
    grey += level * (1 - share)
