"""decode undoes encode, whichever decoder is chosen."""

import math
from typing import get_args

import pytest
import torch

from ceph_core.codec import HeatmapCodec, codec_for
from ceph_core.config import Config, Decoder, apply

SIZE = (96, 128)
LOSSES = ["mse", "adaptive_wing", "cross_entropy"]
WINDOWS = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0]

DECODERS: dict[str, tuple[Decoder, float]] = {
    "log_parabola": ("log_parabola", 3.0),
    **{f"soft_argmax of {window:g} sigma": ("soft_argmax", window) for window in WINDOWS},
    "quarter": ("quarter", 3.0),
    "argmax": ("argmax", 3.0),
}
"""Every decoder, the soft-argmax at several windows: its name and its window."""
FINE = ("log_parabola", "soft_argmax")
PROMISED_PX = {"log_parabola": 0.02, "soft_argmax": 0.02, "quarter": 0.251, "argmax": 0.501}
"""Most that a decoder errs on a perfect map: input px for the fine ones, heatmap px for the others."""


def codec_of(chosen: str, stride: int, loss: str, sigma_px: float) -> HeatmapCodec:
    return HeatmapCodec(stride, loss, sigma_px, *DECODERS[chosen])


def points_on(size: tuple[int, int], margin: float, count: int = 64, seed: int = 0) -> torch.Tensor:
    drawn = torch.rand(1, count, 2, generator=torch.Generator().manual_seed(seed))
    return margin + drawn * (torch.tensor([size[1], size[0]]) - 1 - 2 * margin)


def raw_of(maps: torch.Tensor, loss: str) -> torch.Tensor:
    """The network output that a perfect network gives."""
    return maps.clamp_min(1e-30).log() if loss == "cross_entropy" else maps


def noisy_maps(seed: int = 0) -> torch.Tensor:
    """Activated maps as networks give them: a lopsided blob, a lower one beside it and a ragged floor."""
    random = torch.Generator().manual_seed(seed)
    codec = HeatmapCodec(1, "mse", 2.0)
    at = points_on((96, 96), margin=36, count=16, seed=seed)
    blobs = [codec.encode(at + shift, torch.full((16,), 2.0), (96, 96)).maps() for shift in (0.0, torch.tensor([1.3, 2.1]), -5.0)]
    return blobs[0] + 0.5 * blobs[1] + 0.3 * blobs[2] + 0.02 * torch.rand(1, 16, 96, 96, generator=random)


def test_every_decoder_is_in_the_contract() -> None:
    assert {name for name, _ in DECODERS.values()} == set(get_args(Decoder)) == set(PROMISED_PX)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("sigma", [0.7, 0.8, 0.9, 1.1, 1.5, 3.0])
@pytest.mark.parametrize("chosen", DECODERS)
def test_decode_undoes_encode(chosen: str, sigma: float, stride: int, loss: str) -> None:
    codec = codec_of(chosen, stride, loss, sigma * stride)
    points = points_on(SIZE, margin=4 * stride * max(1, sigma / 1.5))
    maps = codec.encode(points, torch.full((64,), codec.sigma_px), SIZE).maps()
    found, confidence = codec.decode(codec.activate(raw_of(maps, loss)))
    promised = PROMISED_PX[codec.decoder]
    assert (found - points).abs().max() < (promised if codec.decoder in FINE else promised * stride)
    assert confidence.min() > 0.5 and confidence.max() <= 1


@pytest.mark.parametrize("chosen", DECODERS)
def test_a_map_moved_by_whole_pixels_moves_its_points_by_as_many(chosen: str) -> None:
    codec, maps = codec_of(chosen, 1, "mse", 2.0), noisy_maps()
    found, _ = codec.decode(maps)
    for dx, dy in ((1, 0), (0, -1), (3, 2), (-4, 5)):
        moved, _ = codec.decode(maps.roll((dy, dx), (2, 3)))
        assert torch.allclose(moved, found + torch.tensor([dx, dy]), atol=1e-3)


@pytest.mark.parametrize("chosen", DECODERS)
def test_a_map_told_in_a_mirror_gives_the_points_in_a_mirror(chosen: str) -> None:
    codec, maps = codec_of(chosen, 1, "mse", 2.0), noisy_maps(seed=1)
    found, _ = codec.decode(maps)
    mirrored, _ = codec.decode(maps.flip(-1))
    assert torch.allclose(mirrored, torch.stack([95 - found[..., 0], found[..., 1]], dim=-1), atol=1e-3)
    turned, _ = codec.decode(maps.transpose(-1, -2))
    assert torch.allclose(turned, found.flip(-1), atol=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("chosen", DECODERS)
def test_confidence_is_the_same_for_all_decoders(chosen: str, loss: str) -> None:
    maps = noisy_maps()
    maps = maps / maps.sum((-2, -1), keepdim=True) if loss == "cross_entropy" else maps
    assert torch.equal(codec_of(chosen, 2, loss, 4.0).decode(maps)[1], HeatmapCodec(2, loss, 4.0).decode(maps)[1])


@pytest.mark.parametrize("chosen", DECODERS)
def test_a_landmark_by_the_border_is_found(chosen: str) -> None:
    codec = codec_of(chosen, 2, "mse", 3.0)
    points = torch.tensor([[[0.4, 0.4], [126.8, 0.2], [-0.3, 94.9], [60.0, 95.3], [9.7, 40.0], [40.0, 88.2]]])
    found, _ = codec.decode(codec.encode(points, torch.full((6,), 3.0), SIZE).maps())
    # Half a heatmap px off where a decoder has no neighbour to look at, and the outermost pixel's centre is half an input px inside.
    promised = {"quarter": 1.01, "argmax": 1.01}.get(codec.decoder, 0.05)
    assert (found - points).abs().max() < promised


def test_a_window_that_the_border_would_cut_is_not_used_on_that_axis() -> None:
    soft, parabola = HeatmapCodec(1, "mse", 2.0, "soft_argmax", 3.0), HeatmapCodec(1, "mse", 2.0)
    maps = noisy_maps()
    whole, there = parabola.decode(maps)[0], soft.decode(maps)[0]
    assert ((whole - there).abs() > 0.02).any(), "lopsided maps tell the two apart"
    # The window shows nothing from 12 px on: from the columns cut off, x has that room and less than it.
    for room, expected in ((13, there), (9, whole)):
        for k in range(16):
            first = math.floor(float(whole[0, k, 0])) - room
            found = soft.decode(maps[:, [k], :, first:])[0][0, 0]
            assert found[0] + first == pytest.approx(float(expected[0, k, 0]), abs=1e-3)
            if room == 13:
                assert found[1] == pytest.approx(float(there[0, k, 1]), abs=1e-3)


def test_soft_argmax_hears_nothing_beyond_its_window() -> None:
    codec = HeatmapCodec(1, "mse", 2.0, "soft_argmax", 2.0)
    maps = codec.encode(torch.tensor([[[30.3, 30.6]]]), torch.tensor([2.0]), (64, 64)).maps()
    disturbed = maps.clone()
    disturbed[..., 39:, :] = disturbed[..., :, 39:] = 0.9
    assert torch.equal(codec.decode(disturbed)[0], codec.decode(maps)[0])


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


@pytest.mark.parametrize("chosen", DECODERS)
def test_maps_of_any_height_have_their_peak_in_one_place(chosen: str) -> None:
    codec = codec_of(chosen, 4, "mse", 4.0)
    points = points_on(SIZE, margin=16)
    maps = codec.encode(points, torch.full((64,), 4.0), SIZE).maps()
    assert torch.allclose(codec.decode(maps * 1e-4)[0], codec.decode(maps)[0], atol=0.01)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("chosen", DECODERS)
def test_a_network_that_says_nothing_gives_finite_points_and_no_confidence(chosen: str, loss: str) -> None:
    codec = codec_of(chosen, 4, loss, 4.0)
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


def test_a_configuration_s_codec_follows_its_knobs_and_the_size() -> None:
    changed = apply(
        Config(),
        {
            "model.head_stride": 2, "heatmap.loss": "adaptive_wing", "heatmap.sigma_rel": 0.01,
            "heatmap.decoder": "soft_argmax", "heatmap.decoder_window": 2.0,
        },
    )  # fmt: skip
    assert codec_for(changed, 384) == HeatmapCodec(2, "adaptive_wing", 3.84, "soft_argmax", 2.0)
    assert codec_for(Config(), 512) == HeatmapCodec(4, "mse", 0.007 * 512), "the log-parabola unless told otherwise"


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
