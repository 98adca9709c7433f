"""What `recipe.py` turns on, one at a time or half of them at once, and what the guide says of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ceph_core.config.profiles import profile_changes

BASE: dict[str, Any] = {
    "model.name": "hrnet_w18_small",
    "model.head_stride": 2,
    "heatmap.loss": "cross_entropy",
    "heatmap.sigma_rel": 0.007,
    "data.image_size": 192,
    "train.batch_size": 4,
    "train.lr": 4e-3,
    "train.validations": 5,
}
"""Everything off: the guide's augmentation on the small network of the cpu profile."""


@dataclass(frozen=True)
class Technique:
    """Knobs that turn it on, and the gain that the guide (or, where it says nothing, its source) promises."""

    changes: Mapping[str, Any]
    claim: str = "–"


TECHNIQUES: dict[str, Technique] = {
    "progressive resizing (0.75 of the size, twice the batch, for 40 %)": Technique(
        {"schedule.stages": [{"epochs": 0.4, "size": 0.75, "batch": 2}, {"epochs": 0.6}]}, "faster, good initial features"
    ),
    "multi-scale (0.75, 0.875, 1 an epoch)": Technique({"schedule.scales": [0.75, 0.875, 1.0]}, "recommended"),
    "curriculum (by image quality)": Technique({"curriculum.difficulty": "image"}, "recommended"),
    "hard landmarks weigh more": Technique({"hard_landmarks.weight": 1.0}, "recommended"),
    "hard landmarks get a wider sigma": Technique({"hard_landmarks.widen": 0.5}, "recommended"),
    "dropout 0.2": Technique({"model.dropout": 0.2}, "against overfitting"),
    "drop-path 0.1": Technique({"model.drop_path": 0.1}),
    "accumulation from single films": Technique({"train.micro_batch": 1}, "same as the whole batch"),
    "sigma 0.010": Technique({"heatmap.sigma_rel": 0.010}, "0.006-0.008 of the size is best"),
    "learning rate 2e-3": Technique({"train.lr": 2e-3}),
    "batch 2": Technique({"train.batch_size": 2}, "larger batches are better"),
    "weight decay 0.1": Technique({"train.weight_decay": 0.1}),
    "EMA decay 0.995": Technique({"train.ema_decay": 0.995}),
    "head at stride 4": Technique({"model.head_stride": 4}),
    "rotation 15 deg": Technique({"augment.rotation_deg": 15.0}, "more augmentation is better"),
    "shift 0.05": Technique({"augment.shift": 0.05}, "more augmentation is better"),
    "scale 0.2": Technique({"augment.scale": 0.2}, "more augmentation is better"),
    "one scale for both axes": Technique({"augment.anisotropic_p": 0.0}),
    "elastic 0.02": Technique({"augment.elastic": 0.02}),
    "gamma 0.8": Technique({"augment.gamma": 0.8}, "0.3-2.2 (challenge winner)"),
    "gain 0.4": Technique({"augment.gain": 0.4}, "0.45-0.65 (challenge winner)"),
    "contrast 0.4": Technique({"augment.contrast": 0.4}, "more augmentation is better"),
    "blur, probability 0.2": Technique({"augment.blur_p": 0.2}, "up to 0.2 (challenge winner)"),
    "X-ray bands, probability 0.8": Technique({"augment.bands_p": 0.8}, "0.7-0.9 (challenge winner)"),
    "inversion, probability 0.15": Technique({"augment.invert_p": 0.15}, "up to 0.15 (challenge winner)"),
    "cut-out, probability 0.5": Technique({"augment.cutout_p": 0.5}, "7-30 % of the side (challenge winner)"),
    "flips": Technique({"augment.flip_p": 0.5}, "test-time flip: 2-4 %"),
    "learned sigma": Technique({"heatmap.learned_sigma": 0.05}),
}
"""28 of them: with two block columns and their product, the 31 columns of 32 runs."""

ALONE: dict[str, Technique] = {
    "heatmap MSE": Technique({"heatmap.loss": "mse", "heatmap.sigma_rel": 0.010}, "the guide's loss"),
    "heatmap MSE at stride 4, sigma 0.015": Technique(
        {"heatmap.loss": "mse", "heatmap.sigma_rel": 0.015, "model.head_stride": 4}, "the guide's loss and stride"
    ),
    "group norm": Technique({"model.norm": "group"}),
    "norm frozen half-way": Technique({"model.norm": "frozen"}),
    "adaptive wing": Technique({"heatmap.loss": "adaptive_wing", "heatmap.sigma_rel": 0.010}),
    "curriculum (by loss after a warm-up)": Technique({"curriculum.difficulty": "loss"}, "recommended"),
}
"""Third levels, and what changes so much that it would hide all else in a design: measured only in pairs."""

ONE_PASS: dict[str, Any] = {
    **profile_changes("cpu"), "data.zoom": 1.0, "heatmap.loss": "cross_entropy", "heatmap.sigma_rel": 0.007,
}  # fmt: skip

WHOLE: dict[str, Mapping[str, Any]] = {
    "the guide's augmentation, batch 4": {"data.image_size": 256, "train.epochs": 100},
    "the cpu profile until December 2026 (one pass, cross-entropy)": ONE_PASS,
    "the same with adaptive wing, sigma 0.010": {**ONE_PASS, "heatmap.loss": "adaptive_wing", "heatmap.sigma_rel": 0.010},
    "the cpu profile": profile_changes("cpu"),
}  # fmt: skip
"""Whole recipes at the size and length that the cpu profile ships; each is held against those before it."""
