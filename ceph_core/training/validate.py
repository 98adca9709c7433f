"""The network's answers on films it does not learn from."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ceph_core.codec import HeatmapCodec
from ceph_core.data.films import Films
from ceph_core.geometry import invert, transform
from ceph_core.losses import per_landmark
from ceph_core.training.device import autocast


@dataclass(frozen=True)
class Answers:
    """Points on N films.

    Attributes:
        points_px: (N, K, 2) float64, original px.
        confidence: (N, K).
        loss: mean loss over visible landmarks.
        peak_width_rel: median of the fitted widths of the visible landmarks' peaks, each over its target's sigma; NaN if none has one.
        film_loss: (N,) each film's own; NaN without a visible landmark.
    """

    points_px: NDArray[np.float64]
    confidence: NDArray[np.float64]
    loss: float
    peak_width_rel: float
    film_loss: NDArray[np.float64]


@torch.inference_mode()
def answer(
    net: nn.Module, codec: HeatmapCodec, films: Films, film_ids: tuple[str, ...], sigma_px: torch.Tensor, batch: int, precision: str
) -> Answers:
    """Run an evaluating network over films.

    Args:
        sigma_px: (K,) of the target the loss is computed against, input px.
        batch: films at once.
    """
    device = next(net.parameters()).device
    rows = films.rows(film_ids)
    points, confidences, widths, losses, counts = [], [], [], [], []
    for start in range(0, len(rows), batch):
        chunk = rows[start : start + batch]
        images = torch.from_numpy(films.images[chunk])[:, None].to(device).float().contiguous(memory_format=torch.channels_last)
        with autocast(device, precision):
            raw = net(images)
        heatmaps = codec.activate(raw)
        found, confidence = codec.decode(heatmaps)
        target = codec.encode(torch.from_numpy(films.landmarks_input[chunk]).to(device), sigma_px, (images.shape[-2], images.shape[-1]))
        losses.append(per_landmark(codec.loss, raw, target).sum(1))
        counts.append(target.visible.sum(1))
        points.append(found)
        confidences.append(confidence)
        widths.append((codec.peak_width_px(heatmaps) / sigma_px)[target.visible])
    loss, count = torch.cat(losses).double(), torch.cat(counts)
    in_input = torch.cat(points).double().cpu().numpy()
    return Answers(
        points_px=transform(invert(films.affines[rows]), in_input),
        confidence=torch.cat(confidences).double().cpu().numpy(),
        loss=float(loss.sum() / count.sum().clamp_min(1)),
        film_loss=(loss / count).cpu().numpy(),
        peak_width_rel=float(torch.cat(widths).nanmedian()),
    )
