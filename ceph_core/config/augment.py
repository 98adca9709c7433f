"""Augmentation: one dial over every range, each range also alone."""

from pydantic import Field

from ceph_core.config.base import Frozen


class AugmentConfig(Frozen):
    """Ranges at strength 1.0 are the guide's: rotation 10 deg, shift 10 %, scale 0.9-1.1, brightness and contrast 0.2."""

    strength: float = Field(1.0, ge=0, le=4, description="one dial over every range below that is not set; 0 turns augmentation off")
    rotation_deg: float | None = Field(None, ge=0, le=45, description="rotation +-deg (10 x strength if unset)")
    shift: float | None = Field(None, ge=0, le=0.5, description="shift +-share of each side (0.10 x strength if unset)")
    scale: float | None = Field(None, ge=0, le=0.5, description="scale 1 +-this (0.10 x strength if unset)")
    brightness: float | None = Field(None, ge=0, le=1, description="brightness +-share of the grey range (0.2 x strength if unset)")
    contrast: float | None = Field(None, ge=0, le=1, description="contrast +-share (0.2 x strength if unset)")
    flip_p: float = Field(
        0.0,
        ge=0,
        le=1,
        description="probability of a left-right flip; a lateral film has no left-right pairs, so 0 unless films face both ways",
    )

    def resolved(self) -> "AugmentConfig":
        """This configuration with every range filled in from the dial."""
        dial = {"rotation_deg": 10.0, "shift": 0.10, "scale": 0.10, "brightness": 0.2, "contrast": 0.2}
        limits = {"rotation_deg": 45.0, "shift": 0.5, "scale": 0.5, "brightness": 1.0, "contrast": 1.0}
        filled = {
            name: min(at_one * self.strength, limits[name]) if getattr(self, name) is None else getattr(self, name)
            for name, at_one in dial.items()
        }
        return self.model_copy(update=filled)
