"""Activated heatmaps moved from one member's frame to another's, where an average over members has a meaning.

A film's affines to two canvases are both a scale and a shift per axis, so that moving a map is two small matrix products,
the same on CPU, GPU and in ONNX.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ceph_core.codec import HeatmapCodec
from ceph_core.geometry import Affine, Canvas

_FLOOR = 1e-6
"""Values below this share of the peak are taken as this before the logarithm."""
_TAIL = 0.01
"""Values below this share of the peak are background: they would outweigh a peak when a map's sum is made 1."""


@dataclass(frozen=True)
class Frame:
    """Where a member's heatmaps live: its canvas and its codec's stride."""

    canvas: Canvas
    codec: HeatmapCodec

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a heatmap."""
        return self.canvas.height // self.codec.stride, self.canvas.width // self.codec.stride


@dataclass(frozen=True)
class Placement:
    """A film's affine original -> input px as vectors: input = scale * original + shift, each (N, 2), x then y."""

    scale: Tensor
    shift: Tensor


def placement(affines: Affine, device: torch.device | str = "cpu") -> Placement:
    """The scale and shift of (N, 2, 3) affines of `fit_affine`."""
    assert not affines[:, 0, 1].any() and not affines[:, 1, 0].any(), "a film is never turned on its canvas"
    scale = torch.stack([torch.from_numpy(affines[:, 0, 0].copy()), torch.from_numpy(affines[:, 1, 1].copy())], dim=-1)
    return Placement(scale.to(device), torch.from_numpy(affines[:, :, 2].copy()).to(device))


def largest(frames: Sequence[Frame]) -> int:
    """Index of the largest canvas; of several, the one with the finest stride, then the first."""
    return max(range(len(frames)), key=lambda i: (frames[i].canvas.height * frames[i].canvas.width, -frames[i].codec.stride, -i))


def common(frames: Sequence[Frame]) -> Frame:
    """Where members' heatmaps meet: the largest canvas, at the finest stride and with the narrowest peak among the members.

    Where members agree this is the largest member's own frame; its decoder is used in any case.  A coarser stride would lose the
    peaks of the others: a Gaussian of 0.9 px on 384 px at stride 1 is told 0.6 px wrong at stride 4 on 512 px.
    """
    top = frames[largest(frames)]
    side = max(top.canvas.height, top.canvas.width)
    narrowest = min(frame.codec.sigma_px * side / max(frame.canvas.height, frame.canvas.width) for frame in frames)
    return Frame(top.canvas, replace(top.codec, stride=min(frame.codec.stride for frame in frames), sigma_px=narrowest))


def move(heatmaps: Tensor, source: Frame, target: Frame, at_source: Placement, at_target: Placement) -> Tensor:
    """Heatmaps as `target` would show them, each of sum 1.

    The logarithm is interpolated by a cubic that is exact for parabolas (Keys 1981), so that a Gaussian stays one and its
    centre stays put; interpolating the values themselves pulls narrow peaks to pixel centres.

    Args:
        heatmaps: (N, K, h, w) activated, of `source`.
        at_source: N films in the source's input frame; `at_target`: the same films in the target's.

    Returns:
        (N, K, H, W) float32.
    """
    heatmaps = heatmaps.float()
    if (source.canvas, source.codec.stride) != (target.canvas, target.codec.stride):
        rows = _cubic(source, target, at_source, at_target, axis=1).to(heatmaps.dtype)
        columns = _cubic(source, target, at_source, at_target, axis=0).to(heatmaps.dtype)
        logs = relative(heatmaps).clamp_min(_FLOOR).log()
        heatmaps = (rows[:, None] @ logs @ columns[:, None].transpose(-1, -2)).exp()
    share = relative(heatmaps)
    kept = torch.where(share >= _TAIL, share, 0.0)
    return kept / kept.sum((-2, -1), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


def relative(heatmaps: Tensor) -> Tensor:
    """Maps with peak 1; an all-zero map stays zero."""
    return heatmaps / heatmaps.amax((-2, -1), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


def _cubic(source: Frame, target: Frame, at_source: Placement, at_target: Placement, axis: int) -> Tensor:
    """(N, target length, source length) weights of Catmull-Rom interpolation along x (axis 0) or y (axis 1), float64."""
    length, wanted = source.size[1 - axis], target.size[1 - axis]
    device = at_source.scale.device
    out = torch.arange(wanted, device=device, dtype=torch.float64)
    in_target = (out + 0.5) * target.codec.stride - 0.5
    original = (in_target - at_target.shift[:, axis, None]) / at_target.scale[:, axis, None]
    in_source = original * at_source.scale[:, axis, None] + at_source.shift[:, axis, None]
    centre = ((in_source + 0.5) / source.codec.stride - 0.5).clamp(0, length - 1)
    away = (centre[..., None] - torch.arange(length, device=device, dtype=torch.float64)).abs()
    near = (1.5 * away - 2.5) * away**2 + 1
    far = ((2.5 - 0.5 * away) * away - 4) * away + 2
    weights = torch.where(away <= 1, near, torch.where(away < 2, far, 0.0))
    return weights / weights.sum(-1, keepdim=True)
