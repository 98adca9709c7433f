"""How a trained network reads films, beyond what its training fixes."""

from pydantic import Field, field_validator

from ceph_core.config.base import Frozen

TTA_WORDS = ("flip", "shift", "scale")
NO_TTA = "none"


class InferenceConfig(Frozen):
    """Carried by every member, so that a model folder reads films as it was judged."""

    tta: str = Field(
        NO_TTA,
        description="test-time augmentation, views whose points are averaged, a pass each: flip (only with augment.flip_p), shift "
        "(4 passes), scale (2), joined by commas; none. Epochs are validated without it, results are judged with it",
    )

    @field_validator("tta")
    @classmethod
    def _known(cls, text: str) -> str:
        words = [word.strip() for word in text.split(",")]
        if text != NO_TTA and (wrong := [word for word in words if word not in TTA_WORDS or words.count(word) > 1]):
            raise ValueError(f"must be {NO_TTA}, or {', '.join(TTA_WORDS)}, each once, joined by commas; {wrong[0]!r} is not")
        return text
