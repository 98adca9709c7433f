"""Augmentation: one dial over every range, each range also alone."""

from math import inf, isinf
from typing import Literal

from annotated_types import Le
from pydantic import Field

from ceph_core.config.base import Frozen

ALWAYS = inf
"""In the table below: at its limit, whatever the dial says."""

AT_STRENGTH_1 = {
    "guide": {
        "rotation_deg": 10.0, "shift": 0.10, "scale": 0.10, "anisotropic_p": ALWAYS, "elastic": 0.0, "brightness": 0.2, "contrast": 0.2,
        "gain": 0.0, "gamma": 0.0, "blur_p": 0.0, "bands_p": 0.0, "invert_p": 0.0, "cutout_p": 0.0,
    },
    "challenge": {
        "rotation_deg": 5.0, "shift": 0.03, "scale": 0.125, "anisotropic_p": 0.25, "elastic": 0.015, "brightness": 0.0, "contrast": 0.0,
        "gain": 0.5, "gamma": 1.2, "blur_p": 0.2, "bands_p": 0.8, "invert_p": 0.15, "cutout_p": 0.5,
    },
    "measured": {
        "rotation_deg": 10.0, "shift": 0.10, "scale": 0.10, "anisotropic_p": ALWAYS, "elastic": 0.04 / 3, "brightness": 0.2,
        "contrast": 0.2, "gain": 0.0, "gamma": 0.4, "blur_p": 0.0, "bands_p": 0.0, "invert_p": 0.0, "cutout_p": 0.2,
    },
}  # fmt: skip
"""Every range at strength 1, by recipe: the guide's; the optima of a challenge winner's sweep (who named neither elastic nor how often
to cut out: a mild value and every other film stand there); and what the cpu profile was measured with at strength 1.5 (docs/recipe.md)."""


class AugmentConfig(Frozen):
    """Ranges that are not set follow `strength` times their recipe's value, up to their own limit."""

    strength: float = Field(
        1.0,
        ge=0,
        le=4,
        json_schema_extra={"unit": "times the recipe's values"},
        description="one dial over every range below that is not set; 0 turns augmentation off",
    )
    recipe: Literal["guide", "challenge", "measured"] = Field(
        "guide",
        description="the ranges at strength 1; guide: rotation 10 deg, shift 10 %, scale 0.9-1.1, brightness and contrast 0.2; challenge: "
        "smaller moves, elastic, strong gain and gamma, blur, bands, inversion, cut-out; measured: the guide's with elastic, gamma and "
        "cut-out",
    )
    rotation_deg: float | None = Field(
        None, ge=0, le=45, json_schema_extra={"unit": "degrees"}, description="rotation +-deg (unset: guide 10, challenge 5 x strength)"
    )
    shift: float | None = Field(
        None,
        ge=0,
        le=0.5,
        json_schema_extra={"unit": "share of each side"},
        description="shift +-share of each side (unset: guide 0.10, challenge 0.03 x strength)",
    )
    scale: float | None = Field(
        None,
        ge=0,
        le=0.5,
        json_schema_extra={"unit": "share of the size"},
        description="scale 1 +-this (unset: guide 0.10, challenge 0.125 x strength)",
    )
    anisotropic_p: float | None = Field(
        None,
        ge=0,
        le=1,
        json_schema_extra={"unit": "probability"},
        description="probability that x and y are scaled apart, not together (unset: guide 1, challenge 0.25 x strength)",
    )
    elastic: float | None = Field(
        None,
        ge=0,
        le=0.04,
        json_schema_extra={"unit": "share of the long side"},
        description="smooth deformation: control points move by +-this share of the long side (unset: guide 0, challenge 0.015, "
        "measured 0.013 x strength)",
    )
    brightness: float | None = Field(
        None,
        ge=0,
        le=1,
        json_schema_extra={"unit": "share of the grey range"},
        description="brightness +-share of the grey range (unset: guide 0.2 x strength, challenge 0)",
    )
    contrast: float | None = Field(
        None,
        ge=0,
        le=1,
        json_schema_extra={"unit": "share of the contrast"},
        description="contrast +-share, about black (unset: guide 0.2 x strength, challenge 0, which has gain)",
    )
    gain: float | None = Field(
        None,
        ge=0,
        le=0.9,
        json_schema_extra={"unit": "share of the grey value"},
        description="multiplicative brightness, grey values x (1 +-this) (unset: guide 0, challenge 0.5 x strength)",
    )
    gamma: float | None = Field(
        None,
        ge=0,
        le=4,
        json_schema_extra={"unit": "exponent, less 1"},
        description="gamma between 1 / (1 + this) and 1 + this, evenly in its logarithm (unset: guide 0, challenge 1.2, measured 0.4 x "
        "strength)",
    )
    blur_p: float | None = Field(
        None,
        ge=0,
        le=1,
        json_schema_extra={"unit": "probability"},
        description="probability of a blur of 0.002-0.005 of the long side, about 0.5-1.2 mm (unset: guide 0, challenge 0.2 x strength)",
    )
    bands_p: float | None = Field(
        None,
        ge=0,
        le=1,
        json_schema_extra={"unit": "probability"},
        description="probability of soft darker or lighter bands across the film (unset: guide 0, challenge 0.8 x strength)",
    )
    invert_p: float | None = Field(
        None,
        ge=0,
        le=1,
        json_schema_extra={"unit": "probability"},
        description="probability of a negative, 255 - grey value (unset: guide 0, challenge 0.15 x strength)",
    )
    cutout_p: float | None = Field(
        None,
        ge=0,
        le=1,
        json_schema_extra={"unit": "probability"},
        description="probability of one black rectangle of 7-30 % of each side (unset: guide 0, challenge 0.5, measured 0.2 x strength)",
    )
    flip_p: float = Field(
        0.0,
        ge=0,
        le=1,
        json_schema_extra={"unit": "probability"},
        description="probability of a left-right flip; a lateral film has no left-right pairs, so 0 unless films face both ways",
    )

    def resolved(self) -> "AugmentConfig":
        """This configuration with every range filled in from the dial."""
        at_one = AT_STRENGTH_1[self.recipe]
        unset = [name for name in at_one if getattr(self, name) is None]
        return self.model_copy(update={name: self._from_dial(at_one[name], _limit(name)) for name in unset})

    def _from_dial(self, at_one: float, limit: float) -> float:
        return limit if isinf(at_one) else min(at_one * self.strength, limit)


def _limit(name: str) -> float:
    """The largest value that the knob's own field allows."""
    return next(float(bound.le) for bound in AugmentConfig.model_fields[name].metadata if isinstance(bound, Le))  # type: ignore[arg-type]
