"""The network's answers on films it does not learn from."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ceph_core.closeup import agreed, cut, moved, origins, reach_of
from ceph_core.codec import HeatmapCodec
from ceph_core.data.films import Films
from ceph_core.geometry import Affine, Canvas, invert, transform
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
    net: nn.Module,
    codec: HeatmapCodec,
    films: Films,
    close: Films | None,
    film_ids: tuple[str, ...],
    sigma_px: torch.Tensor,
    batch: int,
    precision: str,
) -> Answers:
    """Run an evaluating network over films; with a second pass everything said is of that.

    Args:
        close: the same films on the larger canvas of a second pass; None: one pass.
        sigma_px: (K,) of the target the loss is computed against, input px.
        batch: films at once.
    """
    device = next(net.parameters()).device

    def read(pictures: NDArray[np.uint8]) -> torch.Tensor:
        images = torch.from_numpy(pictures)[:, None].to(device).float().contiguous(memory_format=torch.channels_last)
        with autocast(device, precision):
            raw: torch.Tensor = net(images)
        return raw

    rows = films.rows(film_ids)
    points, confidences, widths, losses, counts = [], [], [], [], []
    for start in range(0, len(rows), batch):
        chunk = rows[start : start + batch]
        pictures, affines = films.images[chunk], films.affines[chunk]
        raw, first = read(pictures), None
        if close is not None:
            peaks, sure = codec.decode(codec.activate(raw))
            first = torch.from_numpy(transform(invert(affines), peaks.double().cpu().numpy())), sure.cpu()
            pictures, affines = _windows(close, chunk, first[0], films.canvas)
            raw = read(pictures)
        heatmaps = codec.activate(raw)
        found, confidence = codec.decode(heatmaps)
        reference = torch.from_numpy(transform(affines, films.landmarks_px[chunk])).to(device)
        target = codec.encode(reference, sigma_px, (pictures.shape[-2], pictures.shape[-1]))
        losses.append(per_landmark(codec.loss, raw, target).sum(1))
        counts.append(target.visible.sum(1))
        points_px = torch.from_numpy(transform(invert(affines), found.double().cpu().numpy()))
        if first is not None:
            scale = torch.from_numpy(affines[:, [0, 1], [0, 1]])
            points_px, confidence = agreed(points_px, confidence.cpu(), *first, reach_of(films.canvas, scale))
        points.append(points_px.numpy())
        confidences.append(confidence)
        widths.append((codec.peak_width_px(heatmaps) / sigma_px)[target.visible])
    loss, count = torch.cat(losses).double(), torch.cat(counts)
    return Answers(
        points_px=np.concatenate(points),
        confidence=torch.cat(confidences).double().cpu().numpy(),
        loss=float(loss.sum() / count.sum().clamp_min(1)),
        film_loss=(loss / count).cpu().numpy(),
        peak_width_rel=float(torch.cat(widths).nanmedian()),
    )


def _windows(close: Films, rows: NDArray[np.int64], points_px: torch.Tensor, canvas: Canvas) -> tuple[NDArray[np.uint8], Affine]:
    """Windows (n, H, W) of films around points (n, K, 2) in original px, and their affines (n, 2, 3) original -> window px."""
    first = origins(torch.from_numpy(transform(close.affines[rows], points_px.numpy())), canvas, close.canvas)
    pictures = cut(torch.from_numpy(close.images[rows])[:, None], first, canvas)[:, 0].numpy()
    return pictures, moved(close.affines[rows], first.numpy())
