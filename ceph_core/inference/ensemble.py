"""How members' answers become one: the mean of their points, as it is or weighted by confidence, or the peak of their mean heatmap."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ceph_core.inference.frames import Frame, Placement, common, largest, move

Combination = Literal["single", "coordinate_mean", "confidence_mean", "heatmap_mean"]
COMBINATIONS: tuple[Combination, ...] = get_args(Combination)


_LEAST_CONFIDENCE = 1e-3
"""What a point counts at least: members that are all sure of nothing still have a mean."""


def joined(points: Tensor, confidences: Tensor, combine: Combination, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Members' points as one, by any rule but heatmap_mean, and their mean confidence.

    Args:
        points: (M, N, K, 2).
        confidences: (M, N, K), 0-1.
        weights: (M,) of sum 1.

    Returns:
        (N, K, 2) points and (N, K) confidences.
    """
    assert combine != "heatmap_mean"
    confidence = coordinate_mean(confidences, weights)
    if combine != "confidence_mean":
        return coordinate_mean(points, weights), confidence
    trust = weights.to(points)[:, None, None] * confidences.to(points).clamp_min(_LEAST_CONFIDENCE)
    return (trust[..., None] * points).sum(0) / trust.sum(0)[..., None], confidence


def coordinate_mean(points: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over members: points (M, N, K, 2) or confidences (M, N, K), weights (M,) of sum 1."""
    mean: Tensor = torch.tensordot(weights.to(points), points, dims=1)
    return mean


def heatmap_mean(heatmaps: Sequence[Tensor], frames: Sequence[Frame], placements: Sequence[Placement], weights: Tensor) -> Tensor:
    """Peaks of the members' mean heatmap, averaged and decoded in the largest member's input frame.

    Every member's maps are moved there and given sum 1, so that a tall or a wide peak weighs no more than another.

    Args:
        heatmaps: M activated (N, K, h, w), each in its member's frame.
        frames: M frames.
        placements: M placements of the N films.
        weights: (M,) of sum 1.

    Returns:
        (N, K, 2) float64 points in original px.
    """
    goal, placed = common(frames), placements[largest(frames)]
    mean = torch.zeros((), device=heatmaps[0].device)
    for maps, frame, at, weight in zip(heatmaps, frames, placements, weights.tolist(), strict=True):
        mean = mean + weight * move(maps, frame, goal, at, placed)
    points, _ = goal.codec.decode(mean)
    return to_original(points, placed)


def to_original(points: Tensor, placed: Placement) -> Tensor:
    """(N, K, 2) input px to float64 original px."""
    return (points.double() - placed.shift[:, None]) / placed.scale[:, None]


def normalised(weights: Sequence[float]) -> Tensor:
    """(M,) float64 weights of sum 1."""
    values = torch.tensor(weights, dtype=torch.float64)
    assert len(values) and bool((values > 0).all()), "members have positive weights"
    return values / values.sum()


def as_points(points: Tensor) -> NDArray[np.float64]:
    """A tensor of points on any device as float64."""
    return points.detach().cpu().double().numpy()
