"""Every transform moves the point with the picture: a blob is drawn, moved, and found again."""

import numpy as np
import pytest

from ceph_core.config import AugmentConfig
from ceph_core.transforms import Augment

SIZE = (192, 160)
STILL = {"strength": 0.0}


def blob(points: np.ndarray, sigma: float = 3.0) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    maps = [np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)) for x, y in points]
    return np.clip(200 * np.sum(maps, axis=0) + 20, 0, 255).astype(np.uint8)


def find(image: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Centre of mass above the background within 10 px."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    window = (columns - near[0]) ** 2 + (rows - near[1]) ** 2 < 12**2
    background = np.median(image)
    mass = np.where(window, np.maximum(image.astype(float) - background, 0), 0)
    return np.array([(mass * columns).sum(), (mass * rows).sum()]) / mass.sum()


KINDS = {
    "rotation": {"rotation_deg": 25},
    "shift": {"shift": 0.12},
    "scale": {"scale": 0.2},
    "flip": {"flip_p": 1.0},
    "brightness": {"brightness": 0.1},
    "contrast": {"contrast": 0.1},
    "all at strength 1": {"strength": 1.0, "brightness": 0.0, "contrast": 0.0},
}


@pytest.mark.parametrize("kind", KINDS)
def test_blob_lies_where_the_point_says(kind: str) -> None:
    augment = Augment(AugmentConfig(**{**STILL, **KINDS[kind]}))
    points = np.array([[60.3, 80.7], [95.5, 120.2]])
    moved_any = False
    for film in range(12):
        image, moved = augment(blob(points), points, seed=1, epoch=2, film=film)
        moved_any |= bool(np.abs(moved - points).max() > 1) or kind in ("brightness", "contrast")
        for point in moved:
            if 14 < point[0] < SIZE[1] - 15 and 14 < point[1] < SIZE[0] - 15:
                # 0.1 px: what uint8 grey values and bilinear interpolation leave of a 3 px blob's centre.
                assert np.abs(find(image, point) - point).max() < 0.1
    assert moved_any


def test_draw_is_a_function_of_seed_epoch_and_film() -> None:
    points = np.array([[60.0, 80.0]])
    film = blob(points)
    first, second = Augment(AugmentConfig()), Augment(AugmentConfig())
    second(film, points, 9, 9, 9)  # a worker that has drawn other films before
    for key in [(0, 1, 2), (0, 1, 3), (0, 2, 2), (1, 1, 2)]:
        a, b = first(film, points, *key), second(film, points, *key)
        assert np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])
    drawn = {tuple(first(film, points, *key)[1].ravel()) for key in [(0, 1, 2), (0, 1, 3), (0, 2, 2), (1, 1, 2)]}
    assert len(drawn) == 4


def test_missing_points_stay_missing_and_strength_zero_is_nothing() -> None:
    points = np.array([[60.0, 80.0], [np.nan, np.nan]])
    film = blob(points[:1])
    _, moved = Augment(AugmentConfig())(film, points, 0, 0, 0)
    assert np.isnan(moved[1]).all() and np.isfinite(moved[0]).all()
    image, same = Augment(AugmentConfig(strength=0))(film, points, 0, 0, 0)
    assert np.array_equal(image, film) and np.array_equal(same, points, equal_nan=True)


def test_strength_scales_every_range_and_a_set_range_stays() -> None:
    ranges = AugmentConfig(strength=0.5, shift=0.3).resolved()
    assert (ranges.rotation_deg, ranges.shift, ranges.scale, ranges.brightness, ranges.contrast) == (5.0, 0.3, 0.05, 0.1, 0.1)
