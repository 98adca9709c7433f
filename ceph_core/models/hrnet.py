"""HRNet with a landmark head."""

from pathlib import Path

import timm
import torch
from timm.models import adapt_input_conv, load_state_dict
from torch import Tensor, nn
from torch.nn import functional

from ceph_core.config.model import ModelConfig
from ceph_core.errors import InputError
from ceph_core.models.recomputed import make_recomputable
from ceph_core.models.regularised import add_drop_path, to_group_norm

GREY_MEAN, GREY_STD = 114.5, 57.5
"""ImageNet's mean and deviation of grey values, 0-255."""


class LandmarkNet(nn.Module):
    """A film in, one map per landmark out.

    HRNet's four branches (stride 4, 8, 16, 32) are brought to stride 4, concatenated and mixed by a 1x1 convolution
    (the head of HRNetV2, Wang et al., TPAMI 2020, section 3.3).  A 1x1 convolution and an interpolation can change places, so
    each branch is mixed at its own stride by its own columns of the weight: the same function for an eighth of the products.
    Finer strides come from a sub-pixel convolution (Shi et al., CVPR 2016), which costs almost nothing.  Normalisation is a
    buffer, so that an export carries it.
    """

    grey_mean: Tensor
    grey_std: Tensor

    def __init__(self, backbone: nn.Module, num_landmarks: int, stride: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.stride = stride
        self.backbone = backbone
        self._branch_channels: list[int] = backbone.feature_info.channels()  # type: ignore[union-attr, operator]
        channels = sum(self._branch_channels)
        finer = 4 // stride
        self.mix = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.drop = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.maps = nn.Conv2d(channels, num_landmarks * finer**2, 1)
        self.shuffle = nn.PixelShuffle(finer) if finer > 1 else nn.Identity()
        nn.init.normal_(self.maps.weight, std=1e-3)
        nn.init.zeros_(self.maps.bias)  # type: ignore[arg-type]
        self.register_buffer("grey_mean", torch.tensor(GREY_MEAN))
        self.register_buffer("grey_std", torch.tensor(GREY_STD))

    def forward(self, film: Tensor) -> Tensor:
        """Raw maps (B, K, H / stride, W / stride) of films (B, 1, H, W), grey values 0-255; `HeatmapCodec.activate` comes next."""
        branches = self.backbone((film - self.grey_mean) / self.grey_std)
        convolution, normalise, activate = self.mix
        weights = convolution.weight.split(self._branch_channels, dim=1)  # type: ignore[operator]
        mixed = functional.conv2d(branches[0], weights[0], convolution.bias)  # type: ignore[arg-type]
        for branch, weight in zip(branches[1:], weights[1:], strict=True):
            coarse = functional.conv2d(branch, weight)
            mixed = mixed + functional.interpolate(coarse, size=mixed.shape[-2:], mode="bilinear", align_corners=False)
        features = activate(normalise(mixed))
        if not self.training and torch.is_autocast_enabled(film.device.type):
            # Eight bits of logits blur a peak: in bf16 they move a small network's points by 0.10 mm on average, float32 maps by 0.03.
            with torch.autocast(film.device.type, enabled=False):
                return self._on_grid(features.float())
        return self._on_grid(features)

    def _on_grid(self, features: Tensor) -> Tensor:
        out: Tensor = self.shuffle(self.maps(self.drop(features)))
        return out


def build(config: ModelConfig, num_landmarks: int) -> LandmarkNet:
    """The network of a configuration, on the CPU, freshly initialised from torch's global generator.

    Raises:
        InputError: pretrained weights cannot be had or do not fit.
    """
    try:
        backbone = timm.create_model(
            config.name, pretrained=config.pretrained is True, features_only=True, feature_location="", out_indices=(1, 2, 3, 4), in_chans=1
        )
    except Exception as error:
        if config.pretrained is not True:
            raise
        why = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        raise InputError(
            f"model.pretrained: true: timm cannot fetch the weights of {config.name} ({why}); give a local weight file, or false"
        ) from error
    if isinstance(config.pretrained, str):
        _load_backbone(backbone, Path(config.pretrained), config.name)
    if config.drop_path:
        add_drop_path(backbone, config.drop_path)
    make_recomputable(backbone)
    net = LandmarkNet(backbone, num_landmarks, config.head_stride, config.dropout)
    if config.norm == "group":
        to_group_norm(net)
    return net


def _load_backbone(backbone: nn.Module, path: Path, name: str) -> None:
    """Put a weight file (safetensors or a state dict) into the backbone, folding a 3-channel stem into grey."""
    where = f"model.pretrained: {path}"
    if not path.is_file():
        raise InputError(f"{where}: no such file; give a weight file of timm's {name} (.safetensors or .pth)")
    try:
        weights = load_state_dict(str(path), use_ema=False, weights_only=True)
    except Exception as error:
        raise InputError(
            f"{where}: cannot be read as weights ({type(error).__name__}); give a .safetensors or .pth file of timm's {name}"
        ) from error
    if "conv1.weight" in weights:
        weights["conv1.weight"] = adapt_input_conv(1, weights["conv1.weight"])
    own = backbone.state_dict()
    wrong = [key for key, value in own.items() if key not in weights or weights[key].shape != value.shape]
    if wrong:
        raise InputError(
            f"{where}: does not fit timm's {name}: {len(wrong)} of {len(own)} tensors are missing or of another shape, first {wrong[0]}"
        )
    backbone.load_state_dict({key: weights[key] for key in own})
