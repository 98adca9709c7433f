"""What an epoch brought, as an object, as flat figures and as TensorBoard scalars."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ceph_core.metrics import Summary

SCALARS = {
    "train/loss": "train_loss",
    "val/loss": "val_loss",
    "val/MRE_mm": "val_mre_mm",
    "val/SDR_2mm": "val_sdr_2mm",
    "val/SDR_4mm": "val_sdr_4mm",
    "val/peak_width_rel": "peak_width_rel",
    "lr": "lr",
}
"""TensorBoard's tag -> the figure's name."""


@dataclass(frozen=True)
class EpochResult:
    """What one epoch brought.

    Attributes:
        epoch: counted from 1.
        train_loss: mean over the epoch's steps, each over its batch's visible landmarks.
        val_loss: of the averaged weights on the validation films; NaN with every figure of `val` if the epoch diverged or was not
            validated.
        val: figures of the averaged weights on the validation films, mm and percent.
        lr: at the epoch's end.
        image_size, batch_size, micro_batch: as trained.
        seconds: whole epoch; `train_seconds` of it without validation.
        films_per_s: training films over `train_seconds`.
        peak_memory_mb: of the device so far.
        validated: whether the epoch ended with a validation, or diverged, so that there is nothing to validate any more.
        peak_width_rel: fitted width of the predicted peaks on the validation films over the target's sigma; NaN where not validated.
        mean_shape_mm: what a network that learned nothing scores on the validation films.
        health: names of the findings that hold now (`training.health`).
        landmarks: by symbol, figures of the techniques that treat landmarks apart: `weight` in the loss, `sigma` as a share of
            the configured one, running training `error` as a share of the long side; empty without them.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val: Summary
    lr: float
    image_size: int
    batch_size: int
    micro_batch: int
    seconds: float
    train_seconds: float
    films_per_s: float
    peak_memory_mb: float
    validated: bool = True
    peak_width_rel: float = math.nan
    mean_shape_mm: float = math.nan
    health: tuple[str, ...] = ()
    landmarks: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def diverged(self) -> bool:
        """Whether the loss is no number any more; no later epoch's will be."""
        return self.validated and not math.isfinite(self.val_loss)

    def figures(self) -> dict[str, Any]:
        """Flat, those of `val` as `val_mre_mm` and so on, `health` with commas between."""
        rest = {name: value for name, value in vars(self).items() if name != "val"}
        return {**rest, "health": ",".join(self.health), **{f"val_{name}": value for name, value in asdict(self.val).items()}}


def scalars(figures: Mapping[str, Any]) -> dict[str, float]:
    """TensorBoard's scalars among flat figures; those that are missing or not finite are left out, for its plots choke on them."""
    found = {tag: figures.get(name) for tag, name in SCALARS.items()}
    for symbol, own in (figures.get("landmarks") or {}).items():
        found |= {f"landmark_{name}/{symbol}": value for name, value in own.items()}
    return {tag: float(value) for tag, value in found.items() if value is not None and math.isfinite(value)}
