"""Averaged weights: what is evaluated and exported."""

import copy

import torch
from torch import nn


class Ema:
    """Exponential moving average of a network's weights and batch-norm statistics.

    The decay rises as (1 + n) / (10 + n) over the first n steps, so that short runs do not average in their random start.

    Args:
        net: the network that learns; its tensors are followed, so it must not be moved to another device or format afterwards.
        decay: 0 keeps the raw weights.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.decay = decay
        # Paired once: collecting a thousand tensors by name at every step would cost a GPU milliseconds.
        pairs = [(own, followed.detach()) for own, followed in zip(_tensors(self.net), _tensors(net), strict=True)]
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    def weight(self, step: int) -> float:
        """How far the averages move towards the network after its optimizer step number `step` (from 1)."""
        return 1 - min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, weight: float | torch.Tensor) -> None:
        """Move towards the network by this share of the way; a tensor's value may be another each time a recorded step runs."""
        own, followed = map(list, zip(*self._floats, strict=True))
        if isinstance(weight, torch.Tensor):
            apart = torch._foreach_sub(followed, own)
            torch._foreach_mul_(apart, weight)
            torch._foreach_add_(own, apart)
        else:
            torch._foreach_lerp_(own, followed, weight)
        if self._counters:  # group norms count nothing
            torch._foreach_copy_([own for own, _ in self._counters], [followed for _, followed in self._counters])


def _tensors(net: nn.Module) -> list[torch.Tensor]:
    return [*net.parameters(), *net.buffers()]
