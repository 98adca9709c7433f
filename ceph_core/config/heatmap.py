"""The regression target."""

from typing import Literal

from pydantic import Field

from ceph_core.config.base import Frozen

MIN_SIGMA_HEATMAP_PX = 0.7
"""Below this a Gaussian nearly vanishes between two heatmap pixels and no decoder finds its centre."""


Decoder = Literal["log_parabola", "soft_argmax", "quarter", "argmax"]


class HeatmapConfig(Frozen):
    """One Gaussian per landmark, and how the network is told to match it."""

    sigma_rel: float = Field(
        0.007, gt=0, le=0.1, description="standard deviation as a fraction of the input's long side (0.007 = 3.58 px at 512)"
    )
    loss: Literal["mse", "adaptive_wing", "cross_entropy"] = Field("mse", description="heatmap loss")
    decoder: Decoder = Field(
        "log_parabola",
        description="how a peak is placed between pixels: log_parabola and soft_argmax to a part of one, quarter to 0.25, argmax to 0.5",
    )
    decoder_window: float = Field(
        3.0, ge=1, le=10, description="distance at which soft_argmax's window has half its weight, in sigmas (never below 1.5 heatmap px)"
    )
