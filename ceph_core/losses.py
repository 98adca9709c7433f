"""Heatmap losses: one value a film and landmark, on one scale whatever the size, sigma and stride; unseen landmarks give 0."""

import torch
from torch import Tensor

from ceph_core.codec import Target


def per_landmark(loss: str, raw: Tensor, target: Target) -> Tensor:
    """Loss of the network's output.

    Args:
        loss: "mse", "adaptive_wing" or "cross_entropy".
        raw: (B, K, h, w) network output, any float type; the loss is computed in float32.
        target: Gaussians to match.

    Returns:
        (B, K) float32; 0 where the landmark is not visible.
    """
    # One map after the other in memory: reductions over the maps of a channels_last network read with a stride of K.
    values = _LOSSES[loss](raw.to(torch.float32, memory_format=torch.contiguous_format), target)
    return torch.where(target.visible, values, 0.0)


def _energy(target: Target) -> Tensor:
    """(B, K) sum of the squared target: the loss of a network that says nothing is then 1."""
    return ((target.rows**2).sum(-1) * (target.columns**2).sum(-1)).clamp_min(1e-6)


def _mse(raw: Tensor, target: Target) -> Tensor:
    return ((raw - target.maps()) ** 2).sum((-2, -1)) / _energy(target)


def _adaptive_wing(raw: Tensor, target: Target) -> Tensor:
    """Adaptive wing loss with its weighted map (Wang et al., ICCV 2019, arXiv 1904.07399, eq. 3-6, the authors' constants)."""
    alpha, omega, epsilon, theta, weight = 2.1, 14.0, 1.0, 0.5, 10.0
    truth = target.maps()
    power = alpha - truth
    slope = omega / epsilon * power * (theta / epsilon) ** (power - 1) / (1 + (theta / epsilon) ** power)
    offset = theta * slope - omega * torch.log1p((theta / epsilon) ** power)
    error = (truth - raw).abs()
    # The curve below theta is evaluated at min(error, theta): pow of a large error must not leak inf into the other branch's gradient.
    near = omega * torch.log1p((error.clamp_max(theta) / epsilon) ** power)
    value = torch.where(error < theta, near, slope * error - offset)
    return (value * (1 + weight * (truth > 0.2))).sum((-2, -1)) / (omega * _energy(target))


def _cross_entropy(raw: Tensor, target: Target) -> Tensor:
    """Softmax over positions against the Gaussian as a distribution, less the target's entropy: the divergence, 0 at best."""
    rows = target.rows / target.rows.sum(-1, keepdim=True).clamp_min(1e-12)
    columns = target.columns / target.columns.sum(-1, keepdim=True).clamp_min(1e-12)
    expected = torch.einsum("bkhw,bkh,bkw->bk", raw, rows, columns)
    entropy = _entropy(rows) + _entropy(columns)
    return raw.flatten(2).logsumexp(-1) - expected - entropy


def _entropy(factor: Tensor) -> Tensor:
    """Of a distribution over the last axis; far from its centre the factor is 0, where xlogy's gradient is infinite."""
    return -(factor * factor.clamp_min(1e-30).log()).sum(-1)


_LOSSES = {"mse": _mse, "adaptive_wing": _adaptive_wing, "cross_entropy": _cross_entropy}
