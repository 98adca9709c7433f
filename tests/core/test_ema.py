"""Averaged weights."""

import pytest
import torch
from torch import nn

from ceph_core.training.ema import Ema


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


@torch.no_grad()
def change(one: nn.Sequential, by: float) -> None:
    for weight in one.parameters():
        weight += by
    one.train()
    one(torch.full((1, 1, 2, 2), by))


def test_the_decay_rises_to_its_limit() -> None:
    followed = net()
    ema, expected = Ema(followed, 0.9), followed[0].weight.detach().clone()
    for step, decay in ((1, 2 / 11), (2, 3 / 12), (10, 11 / 20), (80, 0.9), (10_000, 0.9)):
        change(followed, 0.5)
        ema.update(ema.weight(step))
        expected = decay * expected + (1 - decay) * followed[0].weight.detach()
        assert torch.allclose(ema.net[0].weight, expected)  # type: ignore[index]


def test_statistics_are_averaged_and_counters_copied() -> None:
    followed = net()
    ema = Ema(followed, 0.9)
    before = ema.net.state_dict()["1.running_mean"].clone()
    change(followed, 3.0)
    ema.update(ema.weight(100))
    state, now = ema.net.state_dict(), followed.state_dict()
    assert torch.allclose(state["1.running_mean"], 0.9 * before + 0.1 * now["1.running_mean"])
    assert state["1.num_batches_tracked"] == now["1.num_batches_tracked"] == 1


def test_no_decay_keeps_the_raw_weights() -> None:
    followed = net()
    ema = Ema(followed, 0.0)
    for step in (1, 2, 50):
        change(followed, 0.1)
        ema.update(ema.weight(step))
    assert all(torch.equal(own, raw) for own, raw in zip(ema.net.state_dict().values(), followed.state_dict().values(), strict=True))


def test_a_restored_network_is_still_followed() -> None:
    followed = net()
    ema = Ema(followed, 0.0)
    followed.load_state_dict({name: value + 1 for name, value in followed.state_dict().items()})
    ema.update(ema.weight(1))
    assert torch.equal(ema.net.state_dict()["0.weight"], followed.state_dict()["0.weight"])


def test_it_evaluates_and_learns_nothing_itself() -> None:
    ema = Ema(net().train(), 0.9)
    assert not ema.net.training and not any(weight.requires_grad for weight in ema.net.parameters())
    assert ema.net.state_dict()["0.weight"].norm() == pytest.approx(float(net()[0].weight.detach().norm()))
