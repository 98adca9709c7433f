"""Activation checkpointing: a part keeps its inputs alone and is computed again for the gradient (Chen et al., arXiv 1604.06174)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from timm.models.hrnet import HighResolutionModule
from timm.models.resnet import Bottleneck
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class _Recomputed:
    """In front of a part's own class; a subclass keeps names, weights and deep copies as they are."""

    recomputes = False

    def forward(self, given: Tensor | list[Tensor]) -> Any:
        """As the part itself; in training, and switched on, without keeping what lies inside."""
        plain = super().forward  # type: ignore[misc]
        if not (self.recomputes and self.training):  # type: ignore[attr-defined]
            return plain(given)
        is_list = isinstance(given, list)

        def run(*tensors: Tensor) -> Any:
            return plain(list(tensors) if is_list else tensors[0])  # a fresh list: timm's module writes into the one it gets

        inputs = given if isinstance(given, list) else [given]
        return checkpoint(run, *inputs, use_reentrant=False, context_fn=lambda: _contexts(self))  # type: ignore[arg-type]


class _RecomputedModule(_Recomputed, HighResolutionModule):
    pass


class _RecomputedBottleneck(_Recomputed, Bottleneck):
    pass


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {HighResolutionModule: _RecomputedModule, Bottleneck: _RecomputedBottleneck}


def make_recomputable(backbone: nn.Module) -> None:
    """Give the parts of an HRNet backbone the switch; it is off."""
    for module in backbone.modules():
        if type(module) in _CLASSES:
            module.__class__ = _CLASSES[type(module)]


def recomputed_parts(net: nn.Module) -> list[nn.Module]:
    """The parts that have the switch, in order."""
    return [module for module in net.modules() if isinstance(module, _Recomputed)]


def recompute(net: nn.Module, on: bool) -> None:
    """Turn the switch of every part."""
    for part in recomputed_parts(net):
        part.recomputes = on  # type: ignore[assignment]


def _contexts(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For the first computation and for the second one, which must not move batch statistics again."""
    return nullcontext(), _kept_statistics(module)


@contextmanager
def _kept_statistics(module: nn.Module) -> Iterator[None]:
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d) and part.training]
    before = [(norm.momentum, None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        with torch.no_grad():
            for norm, (momentum, count) in zip(norms, before, strict=True):
                norm.momentum = momentum
                if count is not None:
                    norm.num_batches_tracked.copy_(count)  # type: ignore[union-attr]
