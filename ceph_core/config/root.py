"""The whole configuration of one training."""

from pydantic import Field, model_validator

from ceph_core.config.augment import AugmentConfig
from ceph_core.config.base import Frozen
from ceph_core.config.curriculum import CurriculumConfig
from ceph_core.config.data import DataConfig
from ceph_core.config.hard_landmarks import HardLandmarksConfig
from ceph_core.config.heatmap import HeatmapConfig
from ceph_core.config.inference import InferenceConfig
from ceph_core.config.model import ModelConfig
from ceph_core.config.schedule import ScheduleConfig
from ceph_core.config.train import TrainConfig


class Config(Frozen):
    """One training, whole.  The defaults are the guide's recommended setting."""

    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    heatmap: HeatmapConfig = Field(default_factory=HeatmapConfig)
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    curriculum: CurriculumConfig = Field(default_factory=CurriculumConfig)
    hard_landmarks: HardLandmarksConfig = Field(default_factory=HardLandmarksConfig)
    inference: InferenceConfig = Field(default_factory=InferenceConfig)

    @model_validator(mode="after")
    def _flips_together(self) -> "Config":
        if "flip" in self.inference.tta and not self.augment.flip_p:
            raise ValueError(
                "inference.tta: flip needs a network trained with flips, which augment.flip_p 0 rules out; set augment.flip_p=0.5 or "
                "leave flip out"
            )
        return self
