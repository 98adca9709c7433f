"""The guide's advice with this configuration's own values: what to set, and to what."""

import math

from ceph_core.config import Config
from ceph_core.training.progressive import stage_size

GUIDE_SIZE = 512
"""The guide gives sigma in px at this image size."""

SIGMA, WIDE, NARROW = 0.007, 4.0 / GUIDE_SIZE, 3.0 / GUIDE_SIZE
"""Its recommended sigma (3.58 px), the one to try where MRE stays high (4.0 px), and where heatmaps look blurry (3.0 px)."""

_SMALLER = {"hrnet_w48": "hrnet_w32", "hrnet_w32": "hrnet_w18", "hrnet_w18": "hrnet_w18_small"}


def wider_sigma(config: Config) -> str:
    """Sigma 4.0 at 512, or the least that does not vanish, unless it is that wide."""
    now, wanted = config.heatmap.sigma_rel, max(WIDE, _up(_limit(config, config.model.head_stride)))
    if now < wanted - 5e-5:
        return f"set heatmap.sigma_rel to {_sigma(wanted)}; it is {now:.4f}"
    return (
        f"heatmap.sigma_rel is {now:.4f}, not below {_sigma(wanted)}, so sigma is not to blame: "
        f"more epochs, a larger data.image_size (it is {config.data.image_size}) or other augmentation"
    )


def narrower_sigma(config: Config) -> str:
    """Sigma 3.0 at 512, or the least that does not vanish, unless it is that narrow."""
    now, wanted = config.heatmap.sigma_rel, max(NARROW, _up(_limit(config, config.model.head_stride)))
    longer = "more epochs or a larger data.image_size, since a network's doubt widens its peaks"
    if now > wanted + 5e-5:
        return f"set heatmap.sigma_rel to {_sigma(wanted)}; it is {now:.4f}; else {longer}"
    return f"heatmap.sigma_rel is {now:.4f}, not above {_sigma(wanted)}: {longer}"


def visible_sigma(config: Config) -> str:
    """The guide's sigma, or the least that does not vanish between heatmap pixels at the smallest size trained at."""
    now, stride, least = config.heatmap.sigma_rel, config.model.head_stride, config.heatmap.least_sigma_px
    wanted = max(SIGMA, _up(_limit(config, stride)))
    said = (
        f"heatmap.sigma_rel {now:.4f} is {now * _smallest(config) / stride:.2f} heatmap px where {least} is the least: "
        f"set it to {_sigma(wanted)}"
    )
    finer = _finer(config, SIGMA)
    return said if wanted == SIGMA or finer is None else f"{said}, or to {_sigma(SIGMA)} with model.head_stride {finer}"


def check_sigma(config: Config) -> str:
    """Whatever the guide's range says of this sigma."""
    now = config.heatmap.sigma_rel
    if now * config.data.image_size / config.model.head_stride < config.heatmap.least_sigma_px:
        return visible_sigma(config)
    return f"check heatmap.sigma_rel: it is {now:.4f}, the guide's range 0.006-0.008, its recommendation {_sigma(SIGMA)}"


def check_data(config: Config) -> str:
    """Labels and pixel sizes."""
    return "check the labels, and the pixel size (mm per px) of every film"


def generalise(config: Config) -> str:
    """More augmentation, dropout, a smaller network."""
    strength = config.augment.strength
    smaller = _SMALLER.get(config.model.name)
    more = 0.2 if config.model.dropout < 0.2 else min(config.model.dropout + 0.1, 0.5)
    dropout = f"raise model.dropout (it is {config.model.dropout:g}; try {more:g})"
    network = f", or model.name {smaller} in the place of {config.model.name}" if smaller else ""
    return f"raise augment.strength (it is {strength:g}; try {min(max(1.5 * strength, 1.0), 4.0):g}), {dropout}{network}"


def _sigma(sigma_rel: float) -> str:
    return f"{sigma_rel:.4f} ({sigma_rel * GUIDE_SIZE:.1f} px at {GUIDE_SIZE})"


def _smallest(config: Config) -> int:
    sizes = (stage_size(config.data.image_size, stage.size) for stage in config.schedule.stages)
    return min(stage_size(size, scale) for size in sizes for scale in config.schedule.scales)


def _limit(config: Config, stride: int) -> float:
    """The least sigma_rel at this stride."""
    return config.heatmap.least_sigma_px * stride / _smallest(config)


def _finer(config: Config, sigma_rel: float) -> int | None:
    """The coarsest stride, finer than now, at which this sigma is seen."""
    return next((s for s in (2, 1) if s < config.model.head_stride and sigma_rel >= _limit(config, s)), None)


def _up(sigma_rel: float) -> float:
    """To four digits, never below."""
    return math.ceil(sigma_rel * 1e4 - 1e-6) / 1e4
