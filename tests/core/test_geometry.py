"""One affine says exactly where `resample` puts a point."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ceph_core.geometry import Canvas, canvas_for, data_aspect, fit, fit_affine, invert, resample, to_heatmap, to_input, transform

SIZES = [(240, 194), (120, 300), (64, 64), (37, 50), (600, 484)]


def blob(size: tuple[int, int], centre: tuple[float, float], sigma: float) -> Tensor:
    rows, columns = torch.arange(size[0]).double(), torch.arange(size[1]).double()
    along = torch.exp(-0.5 * ((columns - centre[0]) / sigma) ** 2)
    down = torch.exp(-0.5 * ((rows - centre[1]) / sigma) ** 2)
    return (255 * down[:, None] * along[None])[None, None].float()


def centroid(image: Tensor) -> np.ndarray:
    weight = image[0, 0].double()
    rows, columns = torch.arange(weight.shape[0]).double(), torch.arange(weight.shape[1]).double()
    return np.array([(weight.sum(0) * columns).sum() / weight.sum(), (weight.sum(1) * rows).sum() / weight.sum()])


@pytest.mark.parametrize("size", SIZES)
def test_a_blob_lands_where_the_affine_says(size: tuple[int, int]) -> None:
    canvas = Canvas(128, 96)
    point = (size[1] * 0.43 + 0.3, size[0] * 0.57 - 0.2)
    found = centroid(resample(blob(size, point, sigma=max(size) / 32), canvas))
    # Rounding to whole grey values cuts the blob's tails, on both sides alike.
    assert np.abs(found - transform(fit_affine(size, canvas), point)).max() < 0.03


@pytest.mark.parametrize("size", SIZES)
def test_the_film_fills_one_side_and_keeps_its_aspect(size: tuple[int, int]) -> None:
    canvas = Canvas(128, 96)
    placed = fit(size, canvas)
    assert placed.height == canvas.height or placed.width == canvas.width
    assert abs(placed.height / placed.width - size[0] / size[1]) <= 0.5 * (1 + size[0] / size[1]) / placed.width
    image = resample(torch.full((1, 1, *size), 200, dtype=torch.uint8), canvas)
    shown = image[0, 0, placed.top : placed.top + placed.height, placed.left : placed.left + placed.width]
    assert (shown == 200).all() and image.sum() == shown.sum(), "the border is black"


def test_a_uint8_film_and_its_float_copy_agree_bit_for_bit() -> None:
    film = torch.randint(0, 256, (2, 1, 75, 61), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    canvas = Canvas(64, 64)
    image = resample(film, canvas)
    assert torch.equal(image, resample(film.float(), canvas))
    assert torch.equal(image, image.to(torch.uint8).float()), "a cached uint8 film loses nothing"


def test_invert_undoes_an_affine_and_a_stack_of_them() -> None:
    affines = np.stack([fit_affine(size, Canvas(128, 96)) for size in SIZES])
    points = np.random.default_rng(0).uniform(0, 200, (len(SIZES), 19, 2))
    points[1, 3] = np.nan
    assert np.allclose(transform(invert(affines), transform(affines, points)), points, equal_nan=True)
    assert np.allclose(transform(affines[2], points[2]), transform(affines, points)[2])


def test_heatmap_and_input_frames_share_their_corner() -> None:
    assert to_heatmap(torch.tensor(-0.5), 4) == -0.5, "both frames start half a pixel before their first centre"
    assert to_heatmap(torch.tensor(1.5), 4) == 0
    points = torch.rand(5, 2)
    assert torch.allclose(to_input(to_heatmap(points, 4), 4), points, atol=1e-6)


@pytest.mark.parametrize(
    ("aspect", "image_size", "expected"),
    [(2400 / 1935, 512, (512, 416)), (1, 256, (256, 256)), (0.75, 512, (384, 512)), (4 / 3, 512, (512, 384)), (20, 64, (64, 32))],
)
def test_the_canvas_follows_the_aspect_on_a_grid_of_32(aspect: float, image_size: int, expected: tuple[int, int]) -> None:
    assert canvas_for(aspect, image_size) == Canvas(*expected)


def test_the_aspect_is_the_median_of_the_films() -> None:
    assert data_aspect([(2400, 1935), (2400, 1935), (100, 900)]) == 2400 / 1935
