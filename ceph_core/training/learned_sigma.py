"""A target width a landmark, learned with the network (Thaler et al., MELBA 2021, eq. 3; isotropic, relative to the configured sigma)."""

import math

import torch
from torch import Tensor, nn

_LEAST, _MOST = 0.4, 2.5
"""A factor stays between these: a narrower target vanishes between pixels, a wider one covers its neighbours."""


class LearnedSigmas(nn.Module):
    """(K,) factors on sigma, 1 at first; a wide target is easier to match, so that its square is penalised.

    Args:
        penalty: times the mean squared factor, added to the loss.
    """

    def __init__(self, num_landmarks: int, penalty: float) -> None:
        super().__init__()
        self.logarithms = nn.Parameter(torch.zeros(num_landmarks))
        self._penalty = penalty

    def factors(self) -> Tensor:
        """(K,) factors, with their gradient."""
        return self.logarithms.clamp(math.log(_LEAST), math.log(_MOST)).exp()

    def penalty(self) -> Tensor:
        """What is added to the loss, a scalar."""
        return self._penalty * self.factors().square().mean()
