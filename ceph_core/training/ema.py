"""Averaged weights: what is evaluated and exported."""

import copy

import torch
from torch import nn


class Ema:
    """Exponential moving average of a network's weights and batch-norm statistics.

    The decay rises as (1 + n) / (10 + n) over the first n steps, so that short runs do not average in their random start.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Move towards `net` after its optimizer step number `step` (from 1)."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        own, other = self.net.state_dict(), net.state_dict()
        floats = [key for key, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([own[key] for key in floats], [other[key] for key in floats], weight)
        for key in own.keys() - set(floats):
            own[key].copy_(other[key])
