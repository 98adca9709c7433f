"""What one member answers for many films: points, confidence and, where asked, heatmaps."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ceph_core.closeup import agreed, cut, origins, reach_of
from ceph_core.data.films import TrainingData
from ceph_core.geometry import Affine, Canvas
from ceph_core.inference.ensemble import as_points, to_original
from ceph_core.inference.frames import Placement, placement
from ceph_core.inference.member import Member
from ceph_core.inference.tta import Tta, View


@dataclass(frozen=True, eq=False)
class Look:
    """Films as a member reads them last.

    Attributes:
        pictures: (N, 1, H, W) on the member's canvas.
        placed: where the films lie on them.
        first: (N, K, 2) points in original px and (N, K) confidences of a first pass; None: there is one pass.
    """

    member: Member
    pictures: Tensor
    placed: Placement
    first: tuple[Tensor, Tensor] | None = None

    def read(self, view: View) -> tuple[Tensor, Tensor, Tensor, Placement]:
        """(N, K, 2) points in original px, (N, K) confidences, maps, and where the films lie in this view."""
        maps, at = heatmaps_of(self.member, view.show(self.pictures)), view.placed(self.placed, self.member.canvas)
        peaks, sure = self.member.codec.decode(maps)
        points = to_original(peaks, at)
        if self.first is not None:
            points, sure = agreed(points, sure, *self.first, reach_of(self.member.canvas, self.placed.scale))
        return points, sure, maps, at


def batch_for(device: torch.device) -> int:
    """Films on the device at once: on a CPU more of them only leave the processor's caches."""
    return 4 if device.type == "cpu" else 8


@dataclass(frozen=True, eq=False)
class MemberOutputs:
    """Answers of one member for N films.

    Attributes:
        points_px: (N, K, 2) float64, original px.
        confidence: (N, K) float32, 0-1.
        heatmaps: (N, K, h, w) float16 activated maps on the CPU, peak scaled to 1; None if not asked for.
    """

    points_px: NDArray[np.float64]
    confidence: NDArray[np.float32]
    heatmaps: Tensor | None = None


@torch.inference_mode()
def heatmaps_of(member: Member, canvases: Tensor) -> Tensor:
    """(B, K, h, w) float32 activated maps of (B, 1, H, W) films on the member's canvas."""
    films = canvases.to(member.device).float().contiguous(memory_format=torch.channels_last)
    half = torch.autocast(member.device.type, member.half) if member.half else contextlib.nullcontext()
    with half:
        raw = member.fast(films)
    return member.codec.activate(raw)


@torch.inference_mode()
def look(member: Member, pictures: Mapping[Canvas, Tensor], placed: Mapping[Canvas, Placement]) -> Look:
    """What a member's answer is read from: films on its canvas, or where it reads twice their windows around its first points.

    Args:
        pictures: (N, 1, H, W) of every canvas of the member; placed: where the films lie on each.
    """
    canvas, close = member.canvas, member.close
    if close is None:
        return Look(member, pictures[canvas], placed[canvas])
    points, sure = member.codec.decode(heatmaps_of(member, pictures[canvas]))
    at = placed[close]
    first = to_original(points, placed[canvas]).to(at.scale.device), sure
    start = origins(first[0] * at.scale[:, None] + at.shift[:, None], canvas, close)
    return Look(member, cut(pictures[close], start.to(pictures[close].device), canvas), Placement(at.scale, at.shift - start), first)


@torch.inference_mode()
def member_outputs(
    member: Member,
    images: NDArray[np.uint8],
    affines: Affine,
    batch: int | None = None,
    heatmaps: bool = False,
    tta: Tta | None = None,
    close: tuple[NDArray[np.uint8], Affine] | None = None,
) -> MemberOutputs:
    """Run a member over films that are on its canvases already.

    Args:
        images: (N, H, W) of the member's canvas (a memory map will do).
        affines: (N, 2, 3) original -> input px.
        batch: films on the device at once (default: `batch_for` it).
        heatmaps: keep the maps of the film as it is as well: N * K * h * w * 2 bytes.  Those of a second pass are each film's own
            window's, which no other member shares: none are kept.
        tta: views whose points and confidences are averaged; none by default.
        close: images and affines of the canvas that a second pass reads from.
    """
    assert images.shape[1:] == (member.canvas.height, member.canvas.width)
    assert (close is None) == (member.close is None), "a second pass reads from the larger canvas"
    points, confidences, kept = [], [], []
    views, keeps = (tta or Tta()).views, heatmaps and close is None
    for rows in _batches(len(images), batch or batch_for(member.device)):
        sources = {member.canvas: (images, affines)}
        if close is not None and member.close is not None:
            sources[member.close] = close
        shown_on = {canvas: torch.from_numpy(np.array(films[rows]))[:, None] for canvas, (films, _) in sources.items()}
        placed_on = {canvas: placement(affine[rows], member.device) for canvas, (_, affine) in sources.items()}
        looked = look(member, shown_on, placed_on)
        answers = [looked.read(view) for view in views]
        points.append(as_points(torch.stack([each for each, *_ in answers]).mean(0)))
        confidences.append(torch.stack([sure for _, sure, *_ in answers]).mean(0).cpu().numpy())
        if keeps:
            maps = answers[0][2]
            # float16 starts at 6e-8: probabilities spread over a map need their peak at 1 first.
            kept.append((maps / maps.amax((-2, -1), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)).half().cpu())
    return MemberOutputs(np.concatenate(points), np.concatenate(confidences), torch.cat(kept) if keeps else None)


def film_outputs(
    member: Member, data: TrainingData, film_ids: tuple[str, ...], heatmaps: bool = False, tta: Tta | None = None
) -> MemberOutputs:
    """`member_outputs` for films of a data set, opened on the member's canvases."""
    opened = [data.open(max(canvas.height, canvas.width)) for canvas in member.canvases]
    rows = opened[0].rows(film_ids)
    parts = [(films.images[rows], films.affines[rows]) for films in opened]
    return member_outputs(member, *parts[0], heatmaps=heatmaps, tta=tta, close=parts[1] if len(parts) > 1 else None)


def _batches(count: int, batch: int) -> Iterator[slice]:
    return (slice(start, min(start + batch, count)) for start in range(0, count, batch))
