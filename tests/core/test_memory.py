"""The estimate of memory, against what a backward pass really keeps."""

import pytest
import torch
from drawn_films import tiny

from ceph_core.codec import HeatmapCodec
from ceph_core.geometry import Canvas
from ceph_core.losses import per_landmark
from ceph_core.models import build
from ceph_core.training.memory import estimate_memory_mb

CANVAS = Canvas(128, 96)


def kept_mb(stride: int, batch: int, loss: str) -> float:
    """Bytes of all tensors that autograd keeps for one forward pass and loss, weights apart."""
    net = build(tiny(model__head_stride=stride).model, 19).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in (*net.parameters(), *net.buffers())}
    stores: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        store = tensor.untyped_storage()
        if store.data_ptr() not in own:
            stores[store.data_ptr()] = store.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        raw = net(torch.rand(batch, 1, CANVAS.height, CANVAS.width) * 255)
        codec = HeatmapCodec(stride, loss, 4.0)
        target = codec.encode(torch.rand(batch, 19, 2) * CANVAS.width, torch.full((19,), 4.0), (CANVAS.height, CANVAS.width))
        value = per_landmark(loss, raw, target).sum()
    assert torch.isfinite(value)
    return sum(stores.values()) / 2**20


@pytest.mark.parametrize(("stride", "loss"), [(1, "mse"), (4, "mse"), (1, "cross_entropy"), (4, "adaptive_wing")])
def test_activations_are_counted_to_a_twentieth(stride: int, loss: str) -> None:
    def estimate(batch: int) -> float:
        return estimate_memory_mb(tiny(model__head_stride=stride, train__batch_size=batch), CANVAS, 19, half_precision=False)

    assert estimate(4) - estimate(2) == pytest.approx(kept_mb(stride, 2, loss), rel=0.05)


def test_weights_count_nine_times_and_activations_by_the_micro_batch() -> None:
    weights = sum(weight.numel() for weight in build(tiny().model, 19).parameters()) * 4 / 2**20
    one, two = (estimate_memory_mb(tiny(train__batch_size=batch), CANVAS, 19, half_precision=False) for batch in (1, 2))
    assert 2 * one - two == pytest.approx(9 * weights, rel=0.01)
    assert estimate_memory_mb(tiny(train__batch_size=8, train__micro_batch=2), CANVAS, 19, half_precision=False) == two
    halved = estimate_memory_mb(tiny(train__batch_size=2), CANVAS, 19, half_precision=True)
    assert 9.5 * weights + (two - 9 * weights) / 2 <= halved < two, "the loss stays in float32"
