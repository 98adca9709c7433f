"""The network."""

from typing import Literal

from pydantic import Field

from ceph_core.config.base import Frozen

ModelName = Literal["hrnet_w18_small", "hrnet_w18", "hrnet_w32", "hrnet_w48"]


class ModelConfig(Frozen):
    """An HRNet of timm's with a landmark head (Wang et al., TPAMI 2020, arXiv 1908.07919)."""

    name: ModelName = Field("hrnet_w48", description="timm model")
    head_stride: Literal[1, 2, 4] = Field(4, description="input px per heatmap px")
    pretrained: bool | str = Field(
        False, description="true: timm's ImageNet weights (needs network); PATH: a local weight file; false: from scratch"
    )
