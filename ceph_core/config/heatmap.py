"""The regression target."""

from typing import Literal

from pydantic import Field

from ceph_core.config.base import Frozen

MIN_SIGMA_HEATMAP_PX = 0.7
"""Below this a Gaussian nearly vanishes between two heatmap pixels and no decoder finds its centre."""


class HeatmapConfig(Frozen):
    """One Gaussian per landmark, and how the network is told to match it."""

    sigma_rel: float = Field(
        0.007, gt=0, le=0.1, description="standard deviation as a fraction of the input's long side (0.007 = 3.58 px at 512)"
    )
    loss: Literal["mse", "adaptive_wing", "cross_entropy"] = Field("mse", description="heatmap loss")
