"""Heatmap targets and their decoding.

The two directions agree to 0.02 input px for sigma of at least 0.7 heatmap px, by the decoders that tell parts of a pixel.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ceph_core import decoding
from ceph_core.config import Config, Decoder
from ceph_core.geometry import to_heatmap, to_input


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
        decoder: how a peak is placed between pixels.
        decoder_window: distance at which the soft-argmax window has half its weight, in sigmas.
    """

    stride: int
    loss: str
    sigma_px: float
    decoder: Decoder = "log_parabola"
    decoder_window: float = 3.0

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
        """Peaks of activated heatmaps, by the codec's decoder.

        Args:
            heatmaps: (B, K, h, w) of `activate`.

        Returns:
            (B, K, 2) points in input px and (B, K) confidences: the peak's height, or for cross-entropy the
            probability within two sigma of it, whichever decoder places the point.
        """
        sigma = self.sigma_px / self.stride
        peaks = decoding.log_parabola(heatmaps, sigma)
        points = peaks if self.decoder == "log_parabola" else decoding.decode(self.decoder, heatmaps, sigma, self.decoder_window)
        return to_input(points, self.stride), self._confidence(heatmaps, peaks)

    def peak_width_px(self, heatmaps: Tensor) -> Tensor:
        """Standard deviation of the Gaussian that fits each peak: how blurry a prediction is.

        Args:
            heatmaps: (B, K, h, w) of `activate`; a probability map's constant factor does not change the curvature.

        Returns:
            (B, K) input px, the geometric mean of both axes; NaN where a map has no peak.
        """
        return decoding.width(heatmaps, self.sigma_px / self.stride) * self.stride

    def _confidence(self, heatmaps: Tensor, points: Tensor) -> Tensor:
        if self.loss != "cross_entropy":
            return heatmaps.flatten(2).amax(-1).clamp(0, 1)
        reach = max(2.0 * self.sigma_px / self.stride, 1.0)
        rows = torch.arange(heatmaps.shape[2], device=heatmaps.device)
        columns = torch.arange(heatmaps.shape[3], device=heatmaps.device)
        near_rows = ((rows - points[..., 1:]).abs() <= reach).to(heatmaps.dtype)
        near_columns = ((columns - points[..., :1]).abs() <= reach).to(heatmaps.dtype)
        return torch.einsum("bkhw,bkh,bkw->bk", heatmaps, near_rows, near_columns).clamp(0, 1)


def codec_for(config: Config, image_size: int) -> HeatmapCodec:
    """The codec of a configuration at this long side of the input, px."""
    heatmap = config.heatmap
    return HeatmapCodec(config.model.head_stride, heatmap.loss, heatmap.sigma_rel * image_size, heatmap.decoder, heatmap.decoder_window)
