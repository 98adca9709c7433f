"""The whole configuration of one training."""

from pydantic import Field

from ceph_core.config.augment import AugmentConfig
from ceph_core.config.base import Frozen
from ceph_core.config.curriculum import CurriculumConfig
from ceph_core.config.data import DataConfig
from ceph_core.config.hard_landmarks import HardLandmarksConfig
from ceph_core.config.heatmap import HeatmapConfig
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
