"""The regression target."""

from typing import Literal

from pydantic import Field, field_validator

from ceph_core.config.base import Frozen

MIN_SIGMA_HEATMAP_PX = 0.7
"""Below this a Gaussian nearly vanishes between two heatmap pixels and no decoder finds its centre."""

MIN_SIGMA_OF_SHARES_PX = 0.35
"""The same of cross_entropy's target, which sums to one and cannot vanish: below this its centre of mass is off by more than 0.14 px."""


Decoder = Literal["log_parabola", "soft_argmax", "quarter", "argmax"]


class HeatmapConfig(Frozen):
    """One Gaussian per landmark, and how the network is told to match it."""

    sigma_rel: float = Field(
        0.007,
        gt=0,
        le=0.1,
        json_schema_extra={"unit": "share of the long side"},
        description="standard deviation as a fraction of the input's long side (0.007 = 3.58 px at 512)",
    )
    loss: Literal["mse", "adaptive_wing", "cross_entropy"] = Field("mse", description="heatmap loss")
    decoder: Decoder = Field(
        "log_parabola",
        description="how a peak is placed between pixels: log_parabola and soft_argmax to a part of one, quarter to 0.25, argmax to 0.5",
    )
    decoder_window: float = Field(
        3.0,
        ge=1,
        le=10,
        json_schema_extra={"unit": "sigmas"},
        description="distance at which soft_argmax's window has half its weight, in sigmas (never below 1.5 heatmap px)",
    )
    landmark_sigma: str = Field(
        "", description="fixed factors on sigma by landmark, such as `Go=1.5 Po=1.3`; landmarks that are not named keep 1"
    )
    learned_sigma: float = Field(
        0.0,
        ge=0,
        le=10,
        json_schema_extra={"unit": "weight of the penalty"},
        description="learn each landmark's factor on sigma, with this penalty on its square; 0: off (try 0.05)",
    )

    @property
    def least_sigma_px(self) -> float:
        """Heatmap px below which sigma is too small for this loss."""
        return MIN_SIGMA_OF_SHARES_PX if self.loss == "cross_entropy" else MIN_SIGMA_HEATMAP_PX

    @property
    def below_least_sigma(self) -> str:
        """What happens there, in words."""
        if self.loss == "cross_entropy":
            return "a target no longer says where between pixels it lies"
        return "a target nearly vanishes between pixels"

    @field_validator("landmark_sigma")
    @classmethod
    def _readable(cls, text: str) -> str:
        sigma_factors(text)
        return text


def sigma_factors(text: str) -> dict[str, float]:
    """The factors of `landmark_sigma` by landmark.

    Raises:
        ValueError: not of the form, a landmark twice, or a factor outside 0.25 to 4.
    """
    factors: dict[str, float] = {}
    for item in text.split():
        symbol, equals, factor = item.rpartition("=")
        try:
            value = float(factor)
        except ValueError:
            value = 0.0
        if not equals or not symbol or not 0.25 <= value <= 4 or symbol in factors:
            raise ValueError(f"must be LANDMARK=FACTOR, each landmark once, factors from 0.25 to 4, separated by blanks; {item!r} is not")
        factors[symbol] = value
    return factors
