"""The configuration against the guide: sigma, network, epochs, batch."""

import math
from collections.abc import Iterator
from pathlib import Path

from ceph_core.check.finding import Finding, Level
from ceph_core.config import Config
from ceph_core.config.data import SIZE_STEP
from ceph_core.training.multi_scale import sizes

GUIDE_SIGMA = 0.007
RULE, USUAL = (0.006, 0.008), (0.004, 0.02)
"""Sigma as a share of the image size: the guide's rule, and what published recipes span."""

GUIDE_MODELS = ("hrnet_w48", "hrnet_w32")
GUIDE_EPOCHS, GUIDE_BATCH, GUIDE_HALF_BATCH = 250, 6, 10


def sigma(config: Config) -> Iterator[Finding]:
    """Whether the target can be seen on the heatmap, at every size that films are shown at, and whether it is near the guide's rule."""
    size, stride, share = config.data.image_size, config.model.head_stride, config.heatmap.sigma_rel
    least, why = config.heatmap.least_sigma_px, config.heatmap.below_least_sigma
    what = f"heatmap.sigma_rel {share:.4g} is {share * size:.3g} px at {size} px: {share * size / stride:.2f} heatmap px at stride {stride}"
    rule = f"the guide's rule is {RULE[0]:.1%} to {RULE[1]:.1%} of the size, {RULE[0] * size:.3g} to {RULE[1] * size:.3g} px here"
    if share * size / stride < least:
        found = f"{what}; below {least} {why} and training collapses; {rule}"
        yield Finding("error", "sigma", found, _wider(size, stride, share, least))
        return
    vanishing = [each for each in sizes(config) if share * each / stride < least]
    if vanishing:
        yield Finding(
            "warning",
            "sigma",
            f"{what}, but {share * vanishing[0] / stride:.2f} where films are shown at {vanishing[0]} px; below {least} {why}",
            _wider(vanishing[0], stride, share, least),
        )
    level: Level = "ok"
    todo = ""
    if not USUAL[0] <= share <= USUAL[1]:
        level = "warning"
        todo = f"set heatmap.sigma_rel={GUIDE_SIGMA:g} (sigma {GUIDE_SIGMA * size:.3g} px at {size} px), or know why not"
    elif not RULE[0] <= share <= RULE[1]:
        level = "note"
    if level != "ok" or not vanishing:
        yield Finding(level, "sigma", f"{what}; {rule}", todo)


def _wider(size: int, stride: int, share: float, least: float) -> str:
    """What to set so that a target can be seen: sigma by the rule, and a head or film that is fine enough; or only a wider sigma."""
    wanted = share if RULE[0] <= share <= RULE[1] else GUIDE_SIGMA
    finer = next((each for each in (4, 2, 1) if each <= stride and wanted * size / each >= least), None)
    larger = math.ceil(least / wanted / SIZE_STEP) * SIZE_STEP
    steps = [
        *([f"heatmap.sigma_rel={wanted:g} (sigma {wanted * (size if finer else larger):.3g} px)"] if wanted != share else []),
        *([f"data.image_size={larger}"] if finer is None else []),
        *([f"model.head_stride={finer or 1}"] if (finer or 1) != stride else []),
    ]
    only_wider = f", or only heatmap.sigma_rel={_up(least * stride / size):g}" if (finer or 1) != stride or not finer else ""
    return f"set {' and '.join(steps)}{only_wider}"


def _up(share: float) -> float:
    """A little more, rounded to two digits."""
    return float(f"{share * 1.06:.2g}")


def guide(config: Config, half_precision: bool) -> Iterator[Finding]:
    """Network, epochs and batch beside what the guide recommends: worth knowing, no more."""
    name, train = config.model.name, config.train
    batches = (GUIDE_BATCH, GUIDE_HALF_BATCH) if half_precision else (GUIDE_BATCH,)
    others = []
    if name not in GUIDE_MODELS:
        others.append(f"model.name {name} (hrnet_w48; hrnet_w32 for few films or little memory)")
    if train.epochs != GUIDE_EPOCHS:
        others.append(f"train.epochs {train.epochs} ({GUIDE_EPOCHS})")
    if train.batch_size not in batches:
        others.append(f"train.batch_size {train.batch_size} ({GUIDE_BATCH}; {GUIDE_HALF_BATCH} in half precision)")
    if others:
        yield Finding("note", "guide", f"other than the guide recommends (in brackets): {', '.join(others)}")
    else:
        yield Finding("ok", "guide", f"{name}, {train.epochs} epochs and batch {train.batch_size} are the guide's")


def weights(config: Config) -> Iterator[Finding]:
    """Whether a file of pretrained weights is there."""
    given = config.model.pretrained
    if isinstance(given, str) and not Path(given).is_file():
        todo = "give the file of the weights, or set model.pretrained=false"
        yield Finding("error", "weights", f"model.pretrained {given}: no such file", todo)
