"""What a configuration changes in a backbone: stochastic depth and the kind of norm."""

import torch
from timm.layers import DropPath  # type: ignore[attr-defined]
from timm.models.resnet import BasicBlock, Bottleneck
from torch import nn

_CHANNELS_A_GROUP = 8


def add_drop_path(backbone: nn.Module, most: float) -> None:
    """Residual blocks are skipped with a probability that rises with depth to `most` (Huang et al., ECCV 2016, eq. 4)."""
    blocks = [module for module in backbone.modules() if isinstance(module, BasicBlock | Bottleneck)]
    for number, block in enumerate(blocks, start=1):
        block.drop_path = DropPath(most * number / len(blocks))


def to_group_norm(net: nn.Module) -> None:
    """Every batch norm becomes a group norm with its scale and shift, in groups of about eight channels (Wu & He, ECCV 2018)."""
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            net.set_submodule(name, _group_norm(module))


def freeze_norms(net: nn.Module) -> None:
    """Batch norms of a network in training mode use the statistics they have, and learn no others."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


@torch.no_grad()
def _group_norm(norm: nn.BatchNorm2d) -> nn.GroupNorm:
    channels = norm.num_features
    groups = next(count for count in range(max(1, channels // _CHANNELS_A_GROUP), 0, -1) if channels % count == 0)
    made = nn.GroupNorm(groups, channels, norm.eps)
    made.weight.copy_(norm.weight)
    made.bias.copy_(norm.bias)
    return made
