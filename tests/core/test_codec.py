"""decode undoes encode."""

import pytest
import torch

from ceph_core.codec import HeatmapCodec

SIZE = (96, 128)
LOSSES = ["mse", "adaptive_wing", "cross_entropy"]


def points_on(size: tuple[int, int], margin: float, count: int = 64, seed: int = 0) -> torch.Tensor:
    drawn = torch.rand(1, count, 2, generator=torch.Generator().manual_seed(seed))
    return margin + drawn * (torch.tensor([size[1], size[0]]) - 1 - 2 * margin)


def raw_of(maps: torch.Tensor, loss: str) -> torch.Tensor:
    """The network output that a perfect network gives."""
    return maps.clamp_min(1e-30).log() if loss == "cross_entropy" else maps


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("sigma", [0.7, 0.9, 1.5, 3.0])
def test_decode_undoes_encode(stride: int, sigma: float, loss: str) -> None:
    codec = HeatmapCodec(stride, loss, sigma * stride)
    points = points_on(SIZE, margin=4 * stride * max(1, sigma / 1.5))
    maps = codec.encode(points, torch.full((64,), codec.sigma_px), SIZE).maps()
    found, confidence = codec.decode(codec.activate(raw_of(maps, loss)))
    assert (found - points).abs().max() < 0.02
    assert confidence.min() > 0.5 and confidence.max() <= 1


def test_a_landmark_by_the_border_is_found() -> None:
    codec = HeatmapCodec(2, "mse", 3.0)
    points = torch.tensor([[[0.4, 0.4], [126.8, 0.2], [-0.3, 94.9], [60.0, 95.3]]])
    found, _ = codec.decode(codec.encode(points, torch.full((4,), 3.0), SIZE).maps())
    assert (found - points).abs().max() < 0.05


def test_missing_and_outside_landmarks_are_not_visible() -> None:
    points = torch.tensor([[[float("nan"), 5.0], [5.0, 5.0], [-0.6, 5.0], [127.6, 5.0], [127.4, 95.4]]])
    target = HeatmapCodec(4, "mse", 4.0).encode(points, torch.full((5,), 4.0), SIZE)
    assert target.visible[0].tolist() == [False, True, False, False, True]
    assert target.maps()[0, [0, 2, 3]].abs().sum() == 0
    assert torch.isfinite(target.maps()).all()


def test_each_landmark_has_its_own_sigma() -> None:
    points = torch.full((1, 2, 2), 49.5)
    maps = HeatmapCodec(1, "mse", 2.0).encode(points, torch.tensor([2.0, 6.0]), SIZE).maps()
    assert maps[0, 1].sum() / maps[0, 0].sum() == pytest.approx(9, rel=1e-3)


def test_maps_of_any_height_have_their_peak_in_one_place() -> None:
    codec = HeatmapCodec(4, "mse", 4.0)
    points = points_on(SIZE, margin=16)
    maps = codec.encode(points, torch.full((64,), 4.0), SIZE).maps()
    found, _ = codec.decode(maps * 1e-4)
    assert (found - points).abs().max() < 0.02


@pytest.mark.parametrize("loss", LOSSES)
def test_a_network_that_says_nothing_gives_finite_points_and_no_confidence(loss: str) -> None:
    codec = HeatmapCodec(4, loss, 4.0)
    found, confidence = codec.decode(codec.activate(torch.zeros(1, 3, 24, 32)))
    assert torch.isfinite(found).all() and torch.isfinite(confidence).all()
    assert confidence.max() < 0.05


def test_activation_follows_the_loss() -> None:
    raw = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).half()
    probabilities = HeatmapCodec(4, "cross_entropy", 4.0).activate(raw)
    assert probabilities.dtype == torch.float32
    assert torch.allclose(probabilities.sum((-2, -1)), torch.ones(2, 3))
    assert HeatmapCodec(4, "mse", 4.0).activate(raw).min() == 0


def test_confidence_falls_with_the_peak() -> None:
    codec = HeatmapCodec(4, "mse", 4.0)
    maps = codec.encode(torch.tensor([[[50.0, 50.0]]]), torch.tensor([4.0]), SIZE).maps()
    full, half = codec.decode(maps)[1], codec.decode(maps / 2)[1]
    assert half.item() == pytest.approx(full.item() / 2)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0])
@pytest.mark.parametrize("blur", [0.8, 1.0, 1.5, 2.5])
def test_the_width_of_a_peak_is_its_sigma(blur: float, sigma: float, stride: int, loss: str) -> None:
    """Whatever the centre between pixels, the height of the peak, and the target's own sigma."""
    codec = HeatmapCodec(stride, loss, sigma * stride)
    points = points_on(SIZE, margin=4 * stride * max(1, sigma * blur))
    maps = codec.encode(points, torch.full((64,), blur * codec.sigma_px), SIZE).maps()
    found = codec.peak_width_px(codec.activate(raw_of(0.3 * maps, loss)))
    assert (found / codec.sigma_px - blur).abs().max() < 0.01 * blur


def test_width_is_the_geometric_mean_of_both_axes_and_nan_without_a_peak() -> None:
    codec = HeatmapCodec(1, "mse", 2.0)
    grid = torch.arange(40.0)
    map_ = torch.exp(-0.5 * ((grid[:, None] - 20) / 2) ** 2 - 0.5 * ((grid[None, :] - 17) / 8) ** 2)
    widths = codec.peak_width_px(torch.stack([map_, torch.zeros(40, 40), torch.ones(40, 40)])[None])
    assert widths[0, 0] == pytest.approx(4.0, rel=1e-3)
    assert widths[0, 1:].isnan().all()
