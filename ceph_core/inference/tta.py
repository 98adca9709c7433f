"""Test-time augmentation (TTA): a film is read in several views, and its points are averaged in its own frame.

A view is the picture on a canvas, moved by an affine that has a scale and a shift per axis as the film's own has.  So the
points of a view come back by the two together, and heatmaps of several canvases meet in a view as they do without one.
A lateral film shows no left and right landmarks: a mirror image has the same ones in the same order, and none are swapped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional

from ceph_core.config import NO_TTA, TTA_WORDS, Config, Frozen
from ceph_core.errors import InputError
from ceph_core.geometry import Canvas, Fit
from ceph_core.inference.frames import Placement

MAX_SHIFT_PX = 64
SCALES = (0.5, 2.0)
"""Least and largest scale of a view."""


@dataclass(frozen=True)
class View:
    """One way to show a canvas: at most one of a mirror image, a shift in whole input px and a scale about its centre."""

    flip: bool = False
    shift_px: tuple[int, int] = (0, 0)
    scale: float = 1.0

    def show(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 1, H, W) as the view shows them, on a canvas of the same size; black where it reaches beyond them."""
        if self.flip:
            return pictures.flip(-1)
        height, width = pictures.shape[-2:]
        at = self._fit(Canvas(height, width))
        if (at.height, at.width) != (height, width):
            # As `geometry.resample` puts a film on its canvas.
            size = (at.height, at.width)
            pictures = functional.interpolate(pictures.float(), size=size, mode="bilinear", align_corners=False, antialias=True)
        return functional.pad(pictures, (at.left, width - at.width - at.left, at.top, height - at.height - at.top))

    def placed(self, film: Placement, canvas: Canvas) -> Placement:
        """Where films lie in the view: their affines to the canvas, then the view's own."""
        at = self._fit(canvas)
        scale = torch.tensor([at.width / canvas.width, at.height / canvas.height], dtype=torch.float64)
        shift = 0.5 * scale - 0.5 + torch.tensor([at.left, at.top], dtype=torch.float64)
        if self.flip:
            scale, shift = torch.tensor([-1.0, 1.0], dtype=torch.float64), torch.tensor([canvas.width - 1.0, 0.0], dtype=torch.float64)
        scale, shift = scale.to(film.scale.device), shift.to(film.scale.device)
        return Placement(scale * film.scale, scale * film.shift + shift)

    def _fit(self, canvas: Canvas) -> Fit:
        """Where the canvas lies in the view."""
        height, width = max(1, round(canvas.height * self.scale)), max(1, round(canvas.width * self.scale))
        dx, dy = self.shift_px
        return Fit(height, width, (canvas.height - height) // 2 + dy, (canvas.width - width) // 2 + dx)


class Tta(Frozen):
    """The views beside the film as it is; each costs a pass.  No view: no test-time augmentation."""

    flip: bool = Field(False, description="the mirror image; only for members that were trained with flips")
    shifts_px: tuple[tuple[int, int], ...] = Field((), description="shifts (x, y), whole input px of each member's canvas")
    scales: tuple[float, ...] = Field((), description="scales about the canvas' centre")

    @field_validator("shifts_px")
    @classmethod
    def _near(cls, shifts: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        if far := [shift for shift in shifts if max(map(abs, shift)) > MAX_SHIFT_PX]:
            raise ValueError(f"{far[0]} moves the film off its canvas; allowed are shifts of up to {MAX_SHIFT_PX} px")
        return shifts

    @field_validator("scales")
    @classmethod
    def _sane(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if wrong := [scale for scale in scales if not SCALES[0] <= scale <= SCALES[1]]:
            raise ValueError(f"{wrong[0]:g} is no scale of a view; allowed are {SCALES[0]:g} to {SCALES[1]:g}")
        return scales

    @property
    def views(self) -> tuple[View, ...]:
        """Every view that is averaged, the film as it is first."""
        flipped = (View(flip=True),) if self.flip else ()
        return (View(), *flipped, *(View(shift_px=by) for by in self.shifts_px), *(View(scale=by) for by in self.scales))

    def __str__(self) -> str:
        """As table rows name it: "none" or, say, "flip + 4 shifts + 2 scales"."""
        counts = (("shift", len(self.shifts_px)), ("scale", len(self.scales)))
        parts = ["flip"] * self.flip + [f"{count} {word}{'s' * (count > 1)}" for word, count in counts if count]
        return " + ".join(parts) or "none"

    def refusals(self, members: Sequence[Config]) -> list[str]:
        """A line for each member, by its training's configuration, that cannot read one of the views."""
        return [
            f"tta: flip: member_{number} was trained without flips (augment.flip_p 0), a flipped film is something it has never seen; "
            "train with augment.flip_p 0.5 or leave flip out of --tta"
            for number, config in enumerate(members)
            if self.flip and not config.augment.flip_p
        ]


MANIFEST = "manifest"
WORDS: dict[str, dict[str, Any]] = {
    "flip": {"flip": True},
    "shift": {"shifts_px": ((1, 1), (1, -1), (-1, 1), (-1, -1))},
    "scale": {"scales": (0.95, 1.05)},
}
"""What each word of `--tta` and `inference.tta` stands for."""
assert tuple(WORDS) == TTA_WORDS


def parse(text: str) -> Tta | None:
    """The views of a command line: "flip,shift,scale" or a part of it, "none" for none, "manifest" (None) for the ensemble's own.

    Raises:
        InputError: other words.
    """
    if text == MANIFEST:
        return None
    words = [word.strip() for word in text.split(",") if text != NO_TTA]
    if unknown := [word for word in words if word not in WORDS]:
        raise InputError(
            f"--tta: {', '.join(map(repr, unknown))}: allowed are {', '.join(WORDS)}, joined by commas, or {NO_TTA} or {MANIFEST} alone"
        )
    return Tta.model_validate({key: value for word in words for key, value in WORDS[word].items()})


def common_of(members: Sequence[Config]) -> Tta:
    """The views of networks together: those of their configurations, or none where these differ."""
    texts = {config.inference.tta for config in members}
    made = parse(texts.pop()) if len(texts) == 1 else Tta()
    assert made is not None
    return made
