"""Starting points by machine: what `train` and `check` change the defaults by."""

from typing import Any, Literal, get_args

from ceph_core.config.keys import apply
from ceph_core.config.root import Config

Profile = Literal["gpu", "cpu"]
PROFILES: tuple[Profile, ...] = get_args(Profile)

_CHANGES: dict[Profile, dict[str, Any]] = {
    # The defaults are the guide's recommendation; nothing better has been measured on a GPU.
    "gpu": {},
    # Measured on real films on two cores: docs/recipe.md.
    "cpu": {
        "model.name": "hrnet_w18_small",
        "model.head_stride": 2,
        "data.image_size": 256,
        "data.zoom": 1.5,
        "heatmap.loss": "adaptive_wing",
        "heatmap.sigma_rel": 0.010,
        "heatmap.decoder": "soft_argmax",
        "heatmap.decoder_window": 2.0,
        "augment.strength": 1.5,
        "augment.elastic": 0.02,
        "augment.gamma": 0.6,
        "augment.cutout_p": 0.3,
        "inference.tta": "scale",
        "train.epochs": 100,
        "train.batch_size": 2,
        "train.lr": 4e-3,
    },
}


def profile_changes(name: Profile) -> dict[str, Any]:
    """What a machine of this kind changes the defaults by, by dotted key."""
    return dict(_CHANGES[name])


def profile(name: Profile) -> Config:
    """The configuration to start from on a machine of this kind."""
    return apply(Config(), _CHANGES[name], f"profile {name}")
