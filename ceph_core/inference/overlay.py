"""Points drawn on the film, readable whatever the film's size."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

LONG_SIDE = 1600
"""Long side of the picture, px: a small film is enlarged and a large one reduced, so that marks and letters keep their size."""

PREDICTED, REFERENCE, SUSPECT, DARK = (80, 200, 255), (255, 170, 60), (255, 255, 255), (0, 0, 0)
"""Amber, blue and a white ring (BGR): apart for colour-blind readers too."""
_FONT, _LETTER, _RADIUS, _RING = cv2.FONT_HERSHEY_SIMPLEX, 0.6, 5, 13
_WIDEST = 1 / 16

_PNG = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
)
"""Films under a filter of rows are smaller so than by OpenCV's default, and no slower: encoding is most of an overlay's time."""

Box = tuple[int, int, int, int]


def draw(
    film: NDArray[np.uint8],
    points_px: NDArray[np.float64],
    symbols: Sequence[str] | None,
    reference_px: NDArray[np.float64] | None = None,
    suspect_px: NDArray[np.float64] | None = None,
    radius_px: NDArray[np.float64] | None = None,
    long_side: int = LONG_SIDE,
) -> NDArray[np.uint8]:
    """The film in colour with its points as amber dots with symbols and, where given, the reference as blue crosses joined to them.

    Args:
        film: (h, w) grey.
        points_px: (K, 2) original px; NaN is left out.
        symbols: K short names; None: dots alone.
        reference_px: (K, 2) original px, NaN where missing.
        suspect_px: (K, 2) original px of points to look at again, NaN for the others: ringed, also where `points_px` has none (any more).
        radius_px: (K,) original px, drawn as a thin circle around each point; not where it is wider than a sixteenth of the film, when
            circles would hide what they are about.
        long_side: of the picture, px; marks keep their size.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    scale = long_side / max(film.shape)
    size = (max(1, round(film.shape[1] * scale)), max(1, round(film.shape[0] * scale)))
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = np.asarray(cv2.cvtColor(cv2.resize(film, size, interpolation=shrink), cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    ratio = np.array(size) / (film.shape[1], film.shape[0])
    at = _pixels(points_px, ratio)
    truth = [None] * len(at) if reference_px is None else _pixels(reference_px, ratio)
    for point, true in zip(at, truth, strict=True):
        if true is not None:
            if point is not None:
                cv2.line(picture, point, true, REFERENCE, 1, cv2.LINE_AA)
            cv2.drawMarker(picture, true, DARK, cv2.MARKER_TILTED_CROSS, 14, 4, cv2.LINE_AA)
            cv2.drawMarker(picture, true, REFERENCE, cv2.MARKER_TILTED_CROSS, 13, 2, cv2.LINE_AA)
    for point, radius in zip(at, () if radius_px is None else radius_px.tolist(), strict=radius_px is not None):
        if point is not None and radius * scale <= _WIDEST * long_side:
            cv2.circle(picture, point, max(1, round(radius * scale)), PREDICTED, 1, cv2.LINE_AA)
    marked = [point for point in at if point is not None]
    for point in marked:
        cv2.circle(picture, point, _RADIUS + 1, DARK, -1, cv2.LINE_AA)
        cv2.circle(picture, point, _RADIUS - 1, PREDICTED, -1, cv2.LINE_AA)
    rings = [] if suspect_px is None else [point for point in _pixels(suspect_px, ratio) if point is not None]
    for point in rings:
        cv2.circle(picture, point, _RING, DARK, 5, cv2.LINE_AA)
        cv2.circle(picture, point, _RING, SUSPECT, 2, cv2.LINE_AA)
    dots = [*marked, *(true for true in truth if true is not None)]
    taken: list[Box] = [
        (x - reach, y - reach, x + reach, y + reach) for reach, points in ((_RADIUS, dots), (_RING, rings)) for x, y in points
    ]
    for point, symbol in zip(at, symbols or (), strict=symbols is not None):
        if point is not None:
            _label(picture, symbol, point, taken)
    return picture


def write(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture as PNG; any path that the file system takes."""
    _, data = cv2.imencode(".png", picture, _PNG)
    path.write_bytes(data.tobytes())


def _pixels(points: NDArray[np.float64], ratio: NDArray[np.float64]) -> list[tuple[int, int] | None]:
    """Nearest pixel of the picture for each point, None for NaN."""
    moved = (points + 0.5) * ratio - 0.5
    return [None if np.isnan(point).any() else (round(float(point[0])), round(float(point[1]))) for point in moved]


def _label(picture: NDArray[np.uint8], text: str, point: tuple[int, int], taken: list[Box]) -> None:
    """Write the symbol beside its point, where it covers the least of what is there."""
    (width, height), _ = cv2.getTextSize(text, _FONT, _LETTER, 1)
    x, y = point
    gap = _RADIUS + 4
    places = [
        (x + dx, y + dy) for reach in (gap, 3 * gap) for dx in (reach, -reach - width) for dy in (height // 2, -reach, height + reach)
    ]
    boxes = [(left, base - height, left + width, base) for left, base in places]
    bottom, right = picture.shape[:2]

    def cost(box: Box) -> int:
        inside = _overlap(box, (0, 0, right, bottom))
        return sum(_overlap(box, other) for other in taken) + 10 * (width * height - inside)

    best = min(boxes, key=cost)
    taken.append(best)
    for colour, thick in ((DARK, 4), (PREDICTED, 1)):
        cv2.putText(picture, text, (best[0], best[3]), _FONT, _LETTER, colour, thick, cv2.LINE_AA)


def _overlap(a: Box, b: Box) -> int:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
