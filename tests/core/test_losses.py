"""One contract over every heatmap loss."""

import pytest
import torch

from ceph_core.codec import HeatmapCodec, Target
from ceph_core.losses import per_landmark

LOSSES = ["mse", "adaptive_wing", "cross_entropy"]


def target_at(size: int = 64, stride: int = 4, sigma: float = 6.0) -> Target:
    points = torch.tensor([[[20.3, 31.8], [40.0, 12.5], [float("nan"), 0.0]]]) * size / 64
    return HeatmapCodec(stride, "mse", sigma).encode(points, torch.full((3,), sigma * size / 64), (size, size))


def perfect(loss: str, target: Target) -> torch.Tensor:
    return target.maps().clamp_min(1e-30).log() if loss == "cross_entropy" else target.maps()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_perfect_answer_costs_nothing_and_any_other_costs_something(loss: str) -> None:
    target = target_at()
    assert per_landmark(loss, perfect(loss, target), target).abs().max() < 1e-5
    assert per_landmark(loss, torch.zeros(1, 3, 16, 16), target)[0, :2].min() > 0.1


@pytest.mark.parametrize("loss", LOSSES)
def test_a_missing_landmark_costs_nothing_and_gives_no_gradient(loss: str) -> None:
    target = target_at()
    raw = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    values = per_landmark(loss, raw, target)
    assert values.shape == (1, 3) and values[0, 2] == 0
    values.sum().backward()  # type: ignore[no-untyped-call]
    assert raw.grad is not None and torch.isfinite(raw.grad).all()
    assert raw.grad[0, 2].abs().max() == 0 and raw.grad[0, 0].abs().max() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_large_errors_keep_finite_gradients(loss: str) -> None:
    target = target_at()
    raw = torch.full((1, 3, 16, 16), 1e4).requires_grad_()
    per_landmark(loss, raw, target).sum().backward()  # type: ignore[no-untyped-call]
    assert raw.grad is not None and torch.isfinite(raw.grad).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_output_is_compared_in_float32(loss: str) -> None:
    target = target_at()
    raw = torch.zeros(1, 3, 16, 16)
    values = per_landmark(loss, raw.half(), target)
    assert values.dtype == torch.float32
    assert torch.equal(values, per_landmark(loss, raw, target))


@pytest.mark.parametrize("loss", ["mse", "adaptive_wing"])
def test_a_silent_network_costs_the_same_at_every_size(loss: str) -> None:
    small, large = (per_landmark(loss, torch.zeros(1, 3, size // 4, size // 4), target_at(size))[0, :2] for size in (64, 256))
    # A Gaussian of 1.5 heatmap px is sampled more coarsely than one of 6.
    assert torch.allclose(small, large, rtol=0.25)


def test_adaptive_wing_is_continuous_where_its_two_parts_meet() -> None:
    target = target_at()
    below, above = (per_landmark("adaptive_wing", target.maps() + 0.5 + step, target)[0, 0] for step in (-1e-5, 1e-5))
    assert above == pytest.approx(below.item(), rel=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_learned_width_has_a_finite_gradient_however_far_its_tails(loss: str) -> None:
    sigma = torch.full((3,), 3.0, requires_grad=True)
    target = HeatmapCodec(4, loss, 3.0).encode(torch.tensor([[[20.3, 500.8], [4.0, 12.5], [float("nan"), 0.0]]]), sigma, (512, 512))
    per_landmark(loss, torch.zeros(1, 3, 128, 128), target).sum().backward()  # type: ignore[no-untyped-call]
    assert sigma.grad is not None and torch.isfinite(sigma.grad).all() and sigma.grad[:2].abs().min() > 0
