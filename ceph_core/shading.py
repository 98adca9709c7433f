"""Changes of grey values that albumentations lacks, or has in px or without a symmetrical range: each draws one and applies it."""

import cv2
import numpy as np
from numpy.typing import NDArray

Film = NDArray[np.uint8]

BLUR = (0.002, 0.005)
"""Standard deviation, share of the long side: 0.5-1.3 px of 256, about 0.5-1.2 mm at every size."""

MAX_BANDS = 3
BAND_WIDTH = (0.02, 0.12)
"""Full width at half its height, share of the side along which a band has its place."""
BAND_GREY = (0.05, 0.25)
"""Darker or lighter by this share of the grey range in its middle."""


def gamma(film: Film, rng: np.random.Generator, reach: float) -> Film:
    """Grey value / 255 to a power between 1 / (1 + reach) and 1 + reach, even in its logarithm: as often darker as lighter."""
    power = np.exp(rng.uniform(-1, 1) * np.log1p(reach))
    table = np.rint(255 * (np.arange(256) / 255) ** power).astype(np.uint8)
    return np.asarray(cv2.LUT(film, table), dtype=np.uint8)


def blur(film: Film, rng: np.random.Generator) -> Film:
    """A Gaussian whose width is a share of the film's size, so that it means the same mm at every size."""
    return np.asarray(cv2.GaussianBlur(film, (0, 0), rng.uniform(*BLUR) * max(film.shape)), dtype=np.uint8)


def bands(film: Film, rng: np.random.Generator) -> Film:
    """One to three bands with soft edges across the whole film, upright or level, each darker or lighter."""
    added = [np.zeros(side, dtype=np.float32) for side in film.shape]
    for _ in range(rng.integers(1, MAX_BANDS + 1)):
        profile = added[rng.integers(2)]
        side = len(profile)
        middle, width = rng.uniform(0, side - 1), rng.uniform(*BAND_WIDTH) * side
        grey = 255 * rng.uniform(*BAND_GREY) * rng.choice((-1, 1))
        # To the fourth power: flat in the middle, unlike a Gaussian, and still without an edge.
        profile += grey * np.exp2(-((2 * (np.arange(side) - middle) / width) ** 4))
    rows, columns = added
    return np.asarray(np.clip(np.rint(film + (rows[:, None] + columns)), 0, 255), dtype=np.uint8)
