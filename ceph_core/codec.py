"""Heatmap targets and their decoding: the two directions agree to 0.02 px for sigma of at least 0.7 heatmap px."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ceph_core.geometry import to_heatmap, to_input

_FLOOR = 1e-6
"""Heatmap values below this are taken as this before the logarithm: only far tails, never a peak."""


@dataclass(frozen=True)
class Target:
    """Gaussians as outer products of two 1-D factors, so that no (B, K, h, w) target need exist.

    Attributes:
        rows: (B, K, h) float32, peak 1.
        columns: (B, K, w) float32, peak 1.
        visible: (B, K) bool; an unseen landmark has all-zero factors.
    """

    rows: Tensor
    columns: Tensor
    visible: Tensor

    def maps(self) -> Tensor:
        """(B, K, h, w) heatmaps, peak 1."""
        return self.rows[..., :, None] * self.columns[..., None, :]


@dataclass(frozen=True)
class HeatmapCodec:
    """Points to heatmaps and back.

    Attributes:
        stride: input px per heatmap px.
        loss: the heatmap loss a network was trained with; it implies the activation.
        sigma_px: nominal standard deviation of the target, input px; the decoder's reach follows it.
    """

    stride: int
    loss: str
    sigma_px: float

    def encode(self, points: Tensor, sigma_px: Tensor, size: tuple[int, int]) -> Target:
        """Gaussians at these points, their centres never rounded.

        Args:
            points: (B, K, 2) input px; NaN where missing.
            sigma_px: (K,) standard deviation, input px.
            size: (height, width) of the input, px.

        Returns:
            The target; a landmark that is missing or off the input is not visible.
        """
        height, width = size
        x, y = points.float().unbind(-1)
        visible = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)  # false for NaN too
        centre = to_heatmap(torch.where(visible[..., None], points.float(), 0.0), self.stride)
        sigma = (sigma_px.to(points.device).float() / self.stride)[None, :, None]

        def factor(length: int, at: Tensor) -> Tensor:
            grid = torch.arange(length, device=points.device, dtype=torch.float32)
            return torch.exp(-0.5 * ((grid - at[..., None]) / sigma) ** 2) * visible[..., None]

        return Target(factor(height // self.stride, centre[..., 1]), factor(width // self.stride, centre[..., 0]), visible)

    def activate(self, raw: Tensor) -> Tensor:
        """Network output (B, K, h, w) to non-negative float32 heatmaps: probabilities for cross-entropy, clipped maps otherwise."""
        raw = raw.float()
        if self.loss == "cross_entropy":
            return raw.flatten(2).softmax(-1).view_as(raw)
        return raw.clamp_min(0)

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Sub-pixel peaks of activated heatmaps.

        A parabola through the logarithm of three values per axis is exact for a Gaussian (DARK, Zhang et al., CVPR
        2020, eq. 6-10 without the off-diagonal term).  The three values stand about one sigma apart, which averages noise on wide peaks.

        Args:
            heatmaps: (B, K, h, w) of `activate`.

        Returns:
            (B, K, 2) points in input px and (B, K) confidences: the peak's height, or for cross-entropy the
            probability within two sigma of it.
        """
        height, width = heatmaps.shape[2:]
        reach = max(1, round(self.sigma_px / self.stride))
        reach = min(reach, (height - 1) // 2, (width - 1) // 2)
        peak = heatmaps.flatten(2).argmax(-1)
        row = (peak // width).clamp(reach, height - 1 - reach)
        column = (peak % width).clamp(reach, width - 1 - reach)
        flat = heatmaps.flatten(2)

        def log_at(dy: int, dx: int) -> Tensor:
            index = (row + dy) * width + column + dx
            return flat.gather(2, index[..., None]).squeeze(-1).clamp_min(_FLOOR * scale).log()

        scale = flat.amax(-1).clamp_min(torch.finfo(torch.float32).tiny / _FLOOR)
        middle = log_at(0, 0)
        shift = [_vertex(log_at(-reach * dy, -reach * dx), middle, log_at(reach * dy, reach * dx), reach) for dy, dx in ((0, 1), (1, 0))]
        points = torch.stack([column + shift[0], row + shift[1]], dim=-1)
        return to_input(points, self.stride), self._confidence(heatmaps, points)

    def peak_width_px(self, heatmaps: Tensor) -> Tensor:
        """Standard deviation of the Gaussian that fits each peak: how blurry a prediction is.

        The same parabola as in `decode`: through the logarithm of values `reach` apart, a Gaussian's has the curvature
        -(reach / sigma)^2 wherever its centre lies between the pixels.

        Args:
            heatmaps: (B, K, h, w) of `activate`; a probability map's constant factor does not change the curvature.

        Returns:
            (B, K) input px, the geometric mean of both axes; NaN where a map has no peak.
        """
        height, width = heatmaps.shape[2:]
        reach = min(max(1, round(self.sigma_px / self.stride)), (height - 1) // 2, (width - 1) // 2)
        flat = heatmaps.flatten(2)
        peak = flat.argmax(-1)
        row = (peak // width).clamp(reach, height - 1 - reach)
        column = (peak % width).clamp(reach, width - 1 - reach)
        floor = _FLOOR * flat.amax(-1).clamp_min(torch.finfo(torch.float32).tiny / _FLOOR)

        def log_at(dy: int, dx: int) -> Tensor:
            return flat.gather(2, ((row + dy) * width + column + dx)[..., None]).squeeze(-1).maximum(floor).log()

        middle = 2 * log_at(0, 0)
        curvatures = [log_at(-dy, -dx) - middle + log_at(dy, dx) for dy, dx in ((0, reach), (reach, 0))]
        widths = [torch.where(curvature < 0, reach / (-curvature).sqrt(), math.nan) for curvature in curvatures]
        return (widths[0] * widths[1]).sqrt() * self.stride

    def _confidence(self, heatmaps: Tensor, points: Tensor) -> Tensor:
        if self.loss != "cross_entropy":
            return heatmaps.flatten(2).amax(-1).clamp(0, 1)
        reach = max(2.0 * self.sigma_px / self.stride, 1.0)
        rows = torch.arange(heatmaps.shape[2], device=heatmaps.device)
        columns = torch.arange(heatmaps.shape[3], device=heatmaps.device)
        near_rows = ((rows - points[..., 1:]).abs() <= reach).to(heatmaps.dtype)
        near_columns = ((columns - points[..., :1]).abs() <= reach).to(heatmaps.dtype)
        return torch.einsum("bkhw,bkh,bkw->bk", heatmaps, near_rows, near_columns).clamp(0, 1)


def _vertex(before: Tensor, middle: Tensor, after: Tensor, reach: int) -> Tensor:
    """Offset of the parabola's vertex through (-reach, before), (0, middle), (reach, after); 0 where it has none."""
    curvature = before - 2 * middle + after
    offset = 0.5 * reach * (before - after) / torch.where(curvature < 0, curvature, -1.0)
    # Off the border by up to `reach`, where the window was pushed inwards, and half a pixel beyond.
    return torch.where(curvature < 0, offset.clamp(-reach - 0.5, reach + 0.5), 0.0)
