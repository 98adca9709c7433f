"""The network."""

from typing import Literal

from pydantic import Field

from ceph_core.config.base import Frozen

ModelName = Literal["hrnet_w18_small", "hrnet_w18", "hrnet_w32", "hrnet_w48"]


class ModelConfig(Frozen):
    """An HRNet of timm's with a landmark head (Wang et al., TPAMI 2020, arXiv 1908.07919)."""

    name: ModelName = Field("hrnet_w48", description="timm model")
    head_stride: Literal[1, 2, 4] = Field(4, json_schema_extra={"unit": "input px a heatmap px"}, description="input px per heatmap px")
    pretrained: bool | str = Field(
        False, description="true: timm's ImageNet weights (needs network); PATH: a local weight file; false: from scratch"
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        json_schema_extra={"unit": "share of channels"},
        description="share of the head's channels that a training step leaves out (spatial dropout)",
    )
    drop_path: float = Field(
        0.0,
        ge=0,
        lt=1,
        json_schema_extra={"unit": "probability"},
        description="probability of skipping a residual block in a training step, rising with depth to this (stochastic depth)",
    )
    norm: Literal["batch", "frozen", "group"] = Field(
        "batch",
        description="batch norm; frozen: its statistics stay, pretrained ones from the start, others after norm_frozen_after; "
        "group: group norm, which does not see the batch",
    )
    norm_frozen_after: float = Field(
        0.5,
        ge=0,
        le=1,
        json_schema_extra={"unit": "share of the run"},
        description="frozen, from scratch: share of the run's epochs that still learns statistics",
    )
