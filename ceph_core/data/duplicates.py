"""Films that show one radiograph under two names, found by their pixels.

A film is reduced to a thumbnail, high-passed and evened out in local contrast, which leaves outlines of bone and soft
tissue and drops exposure.  Two scans or copies of one radiograph then correlate, two people do not.

`THRESHOLD` lies between what was measured on the 300 films of ISBI 2015 (645 x 800): the 23 known pairs correlate by 0.967
or more, the nearest strangers by 0.739 and 0.704 (drawn films: 0.674).  A film against itself after resizing to 80 %,
contrast x 1.3 with clipping and JPEG at quality 30 together still gives 0.950, and 0.988 after gamma 1.4 or noise of 8 grey
levels.  Shifted or cropped by 1 % it falls to 0.8 and below: this finds copies, not second exposures.
"""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ceph_core.data.cache import open_views
from ceph_core.data.views import View

THRESHOLD = 0.85
SIDE = 64
HIGH_PASS_PX = 1.5
FLAT_LEVELS = 2.0
"""Grey levels of local contrast below which a region counts as flat, so that grain in air is not blown up."""

BLOCK = 1024


def find(films: Mapping[str, Path], cache_dir: Path) -> tuple[tuple[str, str], ...]:
    """Every pair of films that show one radiograph, as (smaller id, larger id), ordered.

    All pairs of a radiograph with three copies are listed.  Decoded films stay in the cache as `SMALL`, so that the next
    start of a run decodes none.

    Args:
        films: image file by film id.
        cache_dir: the films' cache.

    Raises:
        InputError: films that cannot be decoded.
    """
    if not films:
        return ()
    (small,) = open_views(tuple(films.values()), [SMALL], cache_dir)
    return pairs_of(tuple(films), np.stack([even_out(film) for film in small]))


def thumbnail(film: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(SIDE * SIDE,) float32 of zero mean and length 1 (all zero for a blank film) from a film (h, w)."""
    return even_out(SMALL.show(film))


def _reduce(film: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(film, (SIDE, SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8)


SMALL = View(f"small {SIDE}", SIDE, SIDE, _reduce)
"""A film as the search for doubles starts from it."""


def even_out(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The thumbnail of a film shown `SMALL`."""
    grey = small.astype(np.float32)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), HIGH_PASS_PX)
    local = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 2 * HIGH_PASS_PX))
    even = detail / (local + FLAT_LEVELS)
    even -= even.mean()
    length = float(np.linalg.norm(even))
    return np.asarray(even / length if length > 1e-3 else np.zeros_like(even), dtype=np.float32).ravel()


def pairs_of(ids: tuple[str, ...], thumbnails: NDArray[np.float32]) -> tuple[tuple[str, str], ...]:
    """Pairs whose thumbnails (N, SIDE * SIDE) correlate by `THRESHOLD` or more."""
    found = []
    for start in range(0, len(ids), BLOCK):
        # Columns left of the block were compared when they were rows.
        likeness = thumbnails[start : start + BLOCK] @ thumbnails[start:].T
        rows, columns = np.nonzero(np.triu(likeness >= THRESHOLD, k=1))
        found += [sorted((ids[start + row], ids[start + column])) for row, column in zip(rows, columns, strict=True)]
    return tuple(sorted((first, second) for first, second in found))
