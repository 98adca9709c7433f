"""What a training will need of its device, counted before it is started."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from ceph_core import models
from ceph_core.codec import HeatmapCodec
from ceph_core.config import Config
from ceph_core.geometry import Canvas
from ceph_core.losses import per_landmark
from ceph_core.models import recompute, recomputed_parts


def estimate_memory_mb(config: Config, canvas: Canvas, num_landmarks: int, half_precision: bool) -> float:
    """Device memory of a training: weights, gradients, two Adam moments, averaged weights, a save's copy, and what is kept for backward.

    The latter is counted by running network and loss on torch's meta device, which computes nothing.  Half precision halves
    the network's part and adds a half copy of the weights.  Where activations are computed again, the largest part that is
    computed at once counts beside what is kept.  Expect a GPU's allocator to add a tenth.
    """
    batch = min(config.train.micro_batch or config.train.batch_size, config.train.batch_size)
    codec = HeatmapCodec(config.model.head_stride, config.heatmap.loss, config.heatmap.sigma_rel * config.data.image_size)
    with torch.device("meta"):
        net = models.build(config.model.model_copy(update={"pretrained": False}), num_landmarks).train()
        sigma = torch.empty(num_landmarks)
        target = codec.encode(torch.empty(batch, num_landmarks, 2), sigma, (canvas.height, canvas.width))
        films = torch.empty(batch, 1, canvas.height, canvas.width)
        recompute(net, config.train.checkpoint_activations)
        with _kept() as of_network:
            raw = net(films)
        with _kept() as of_loss:
            loss = per_landmark(config.heatmap.loss, raw, target)
    weights = {_identity(weight): weight.nbytes for weight in net.parameters()}
    num_bytes = sum(weights.values())
    activations = sum(size for store, size in of_network.items() if store not in weights)
    if config.train.checkpoint_activations:
        activations += _largest_part(net, films)
    del loss  # the graph held what was counted until here
    # The copy holds all but the gradients; where it finds no room it goes to the host.
    total = (5 + 4) * num_bytes + sum(of_loss.values()) + activations
    if half_precision:
        total += num_bytes // 2 - activations // 2
    return total / 2**20


def _largest_part(net: nn.Module, films: Tensor) -> int:
    """Bytes inside the part of a network that keeps most while it is computed again."""
    given: dict[nn.Module, Any] = {}

    def note(part: nn.Module, inputs: tuple[Any, ...]) -> None:
        given[part] = list(inputs[0]) if isinstance(inputs[0], list) else inputs[0]

    hooks = [part.register_forward_pre_hook(note) for part in recomputed_parts(net)]
    net(films)
    for hook in hooks:
        hook.remove()
    recompute(net, False)
    inside = []
    for part, inputs in given.items():
        weights = {_identity(weight) for weight in part.parameters()}
        with _kept() as stores:
            part(inputs)
        inside.append(sum(size for store, size in stores.items() if store not in weights))
    return max(inside)


@contextmanager
def _kept() -> Iterator[dict[StorageWeakRef, int]]:
    """Bytes of everything that autograd keeps for backward, by storage, counted once however often it is kept."""
    stores: dict[StorageWeakRef, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        stores[_identity(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield stores


def _identity(tensor: Tensor) -> StorageWeakRef:
    """Equal for tensors that share memory; addresses do not tell on the meta device."""
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
