"""How far the network's answers lie from their targets while it trains."""

import torch
from torch import Tensor

from ceph_core.codec import HeatmapCodec


class Watch:
    """Adds up an epoch's distances by landmark; they stay on the device until they are asked for."""

    def __init__(self, num_landmarks: int, device: torch.device) -> None:
        self._sums, self._counts = (torch.zeros(num_landmarks, dtype=torch.float64, device=device) for _ in range(2))

    @torch.no_grad()
    def distances(self, codec: HeatmapCodec, raw: Tensor, points: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Sums and counts (K,) of one forward pass, for `add`.

        Args:
            raw: (B, K, h, w) network output.
            points: (B, K, 2) input px.
            visible: (B, K) bool.
        """
        found, _ = codec.decode(codec.activate(raw))
        long_side = max(raw.shape[-2:]) * codec.stride
        apart = torch.where(visible, (found - points).norm(dim=-1) / long_side, 0.0)
        return apart.double().sum(0), visible.sum(0)

    def add(self, sums: Tensor, counts: Tensor) -> None:
        """Take a pass into account."""
        self._sums += sums
        self._counts += counts

    def errors(self) -> tuple[float, ...]:
        """(K,) mean distance, share of the input's long side; NaN for a landmark that was never visible."""
        return tuple((self._sums / torch.where(self._counts > 0, self._counts, torch.nan)).tolist())
