"""More attention to the landmarks that a run finds worst."""

from pydantic import Field

from ceph_core.config.base import Frozen


class HardLandmarksConfig(Frozen):
    """A landmark's running error on the training films, over the mean of all landmarks, raised to a power.  Off by default."""

    weight: float = Field(
        0.0,
        ge=0,
        le=2,
        json_schema_extra={"unit": "exponent"},
        description="power by which a landmark's relative error becomes its weight in the loss; 0: off",
    )
    widen: float = Field(
        0.0,
        ge=0,
        le=2,
        json_schema_extra={"unit": "exponent"},
        description="power by which a landmark's relative error widens its target's sigma; 0: off",
    )
    max_weight: float = Field(
        3.0,
        ge=1,
        le=20,
        json_schema_extra={"unit": "times the mean"},
        description="a weight is at most this, at least 1 over this, before the mean is made 1",
    )
    max_widen: float = Field(
        1.5, ge=1, le=4, json_schema_extra={"unit": "times sigma"}, description="a sigma is widened by this at most, and never narrowed"
    )
    start: float = Field(
        0.2,
        ge=0,
        lt=1,
        json_schema_extra={"unit": "share of the run"},
        description="share of the run's epochs before errors count: early ones are chance",
    )
    memory: float = Field(
        0.7,
        ge=0,
        lt=1,
        json_schema_extra={"unit": "share an epoch"},
        description="share of the running error that an epoch leaves as it was",
    )

    @property
    def is_on(self) -> bool:
        """Whether errors change anything."""
        return self.weight > 0 or self.widen > 0
