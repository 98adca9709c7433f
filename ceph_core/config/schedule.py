"""How size and batch change over a run, in ratios of the searched values."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from ceph_core.config.base import Frozen


class Stage(Frozen):
    """A share of the run at a share of the image size and a multiple of the batch."""

    epochs: float = Field(gt=0, le=1, json_schema_extra={"unit": "share of the run"}, description="share of the run's epochs")
    size: float = Field(
        1.0,
        gt=0,
        le=1,
        json_schema_extra={"unit": "share of data.image_size"},
        description="share of data.image_size, rounded to the grid of 32 px",
    )
    batch: float = Field(
        1.0, gt=0, le=16, json_schema_extra={"unit": "multiple of train.batch_size"}, description="multiple of train.batch_size, rounded"
    )


class ScheduleConfig(Frozen):
    """Stages in order; the searched image size and batch are those of the last."""

    stages: tuple[Stage, ...] = Field((Stage(epochs=1.0),), min_length=1, description="stages in order; their epochs add up to 1")
    scales: tuple[float, ...] = Field(
        (1.0,),
        min_length=1,
        json_schema_extra={"unit": "shares of the stage's size"},
        description="multi-scale: shares of the stage's size, 0.5-1.5, of which one is drawn a time (guide: 0.75, 0.875, 1)",
    )
    draw: Literal["epoch", "batch"] = Field("epoch", description="multi-scale: how often a size is drawn")

    @field_validator("scales")
    @classmethod
    def _near_the_size(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if wrong := [scale for scale in scales if not 0.5 <= scale <= 1.5]:
            raise ValueError(f"a scale must lie from 0.5 to 1.5, got {', '.join(f'{scale:g}' for scale in wrong)}")
        return scales

    @model_validator(mode="after")
    def _whole_run(self) -> "ScheduleConfig":
        total = sum(stage.epochs for stage in self.stages)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the stages' shares of epochs add up to {total:g}; they must add up to 1")
        last = self.stages[-1]
        if last.size != 1 or last.batch != 1:
            raise ValueError("the last stage must have size 1 and batch 1: the searched image size and batch are the last stage's")
        return self
