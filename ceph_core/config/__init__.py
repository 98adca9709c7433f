"""Every knob of a training, as one frozen schema.  A knob that is not a field here does not exist."""

from ceph_core.config.augment import AugmentConfig
from ceph_core.config.base import Frozen
from ceph_core.config.curriculum import CurriculumConfig
from ceph_core.config.data import DataConfig, SourceConfig
from ceph_core.config.hard_landmarks import HardLandmarksConfig
from ceph_core.config.heatmap import MIN_SIGMA_HEATMAP_PX, Decoder, HeatmapConfig
from ceph_core.config.inference import NO_TTA, TTA_WORDS, InferenceConfig
from ceph_core.config.keys import apply, field_at, get, knobs, located, problems_of, sharing
from ceph_core.config.model import ModelConfig
from ceph_core.config.root import Config
from ceph_core.config.schedule import ScheduleConfig, Stage
from ceph_core.config.train import TrainConfig

__all__ = [
    "MIN_SIGMA_HEATMAP_PX", "NO_TTA", "TTA_WORDS", "AugmentConfig", "Config", "CurriculumConfig", "DataConfig", "Decoder", "Frozen",
    "HardLandmarksConfig", "HeatmapConfig", "InferenceConfig", "ModelConfig", "ScheduleConfig", "SourceConfig", "Stage", "TrainConfig",
    "apply", "field_at", "get", "knobs", "located", "problems_of", "sharing",
]  # fmt: skip
