"""Batch norms folded into the convolutions before them: the same answers from fewer passes over memory."""

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ceph_core.models import LandmarkNet


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how often each tensor is read by an operation; outputs are kept, so that no two share an id."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[int] = Counter()
        self._kept: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        self.count.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        out = func(*args, **(kwargs or {}))
        self._kept.append(out)
        return out


@torch.inference_mode()
def folded(net: nn.Module, film: Tensor) -> nn.Module:
    """A copy of a network in evaluation mode without the batch norms that follow a convolution.

    Which follows which is seen by running the network once, so that it holds for any forward: a norm is folded where it alone
    reads what a convolution gave, and both are called once.

    Args:
        film: (1, 1, H, W) that the network can read, on its device.
    """
    made = copy.deepcopy(net)
    calls: list[tuple[str, Tensor, Tensor]] = []
    seen = (nn.Conv2d, nn.BatchNorm2d)
    hooks = [
        module.register_forward_hook(lambda _, given, out, name=name: calls.append((name, given[0], out)))
        for name, module in made.named_modules()
        if isinstance(module, seen)
    ]
    with _Reads() as reads:
        made(film)
    for hook in hooks:
        hook.remove()
    times = Counter(name for name, _, _ in calls)
    maker = {id(out): name for name, _, out in calls if isinstance(made.get_submodule(name), nn.Conv2d) and times[name] == 1}
    for name, given, _ in calls:
        norm, conv_name = made.get_submodule(name), maker.get(id(given))
        if isinstance(norm, nn.BatchNorm2d) and conv_name and times[name] == 1 and reads.count[id(given)] == 1:
            conv = made.get_submodule(conv_name)
            assert isinstance(conv, nn.Conv2d)
            made.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
            made.set_submodule(name, nn.Identity())
    if isinstance(made, LandmarkNet):  # its head takes the convolution's weight apart, which no hook sees
        convolution, norm, activation = made.mix
        if isinstance(norm, nn.BatchNorm2d):
            made.mix = nn.Sequential(fuse_conv_bn_eval(convolution, norm), nn.Identity(), activation)  # type: ignore[type-var]
    return made.to(memory_format=torch.channels_last).eval().requires_grad_(False)
