"""Where films come from (one choice a run) and at what size a network sees them (searched)."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from ceph_core.config.base import Frozen

SIZE_STEP = 32
"""HRNet's coarsest branch has stride 32, so input sides are multiples of it."""


class SourceConfig(Frozen):
    """A data set on disk, or drawn cephalograms when there is none."""

    format: Literal["auto", "isbi2015", "aariz", "cldetection2023", "cldetection2024", "coco", "table", "phantom"] = Field(
        "auto", description="data-set format; auto looks at the folder"
    )
    root: Path | None = Field(None, description="data-set folder, or a table or COCO file; none: drawn cephalograms (phantom)")
    spacing_mm: float | None = Field(
        None,
        gt=0,
        le=5,
        json_schema_extra={"unit": "mm a pixel"},
        description="mm per original pixel, where the data set does not carry it",
    )
    annotator: Literal["mean", "mean_ceil", "senior", "junior"] = Field(
        "mean", description="whose points are the reference, where several readers marked the films; mean_ceil: as Aariz's loader has it"
    )
    validation_share: float = Field(
        0.15,
        ge=0,
        lt=0.5,
        json_schema_extra={"unit": "share of films"},
        description="share of the training films that validate; 0 (not in a search): train on all of them, unseen",
    )
    test_share: float = Field(
        0.25,
        gt=0,
        lt=0.5,
        json_schema_extra={"unit": "share of films"},
        description="share of all films locked away as test, if the data set has no test split",
    )
    num_folds: int = Field(5, ge=2, le=20, json_schema_extra={"unit": "folds"}, description="grouped folds written into splits.csv")
    split_seed: int = Field(0, ge=0, json_schema_extra={"unit": "seed"}, description="seed of the split")
    phantom_train: int = Field(80, ge=8, le=100_000, json_schema_extra={"unit": "films"}, description="phantom: drawn training films")
    phantom_test: int = Field(40, ge=2, le=100_000, json_schema_extra={"unit": "films"}, description="phantom: drawn test films")
    phantom_seed: int = Field(0, ge=0, json_schema_extra={"unit": "seed"}, description="phantom: seed of the drawing")


class DataConfig(Frozen):
    """The film as the network sees it."""

    image_size: int = Field(
        512,
        ge=64,
        le=2048,
        json_schema_extra={"unit": "px"},
        description="long side of the input, px; the short side follows the data set's aspect",
    )

    zoom: float = Field(
        1.0,
        ge=1,
        le=4,
        json_schema_extra={"unit": "times as large"},
        description="second pass: the network reads the film again, so many times as large, in a window around the points of its first "
        "pass; less where the training films' landmarks would not fit; 1: one pass",
    )

    @field_validator("image_size")
    @classmethod
    def _on_the_grid(cls, size: int) -> int:
        if size % SIZE_STEP:
            below, above = size // SIZE_STEP * SIZE_STEP, (size // SIZE_STEP + 1) * SIZE_STEP
            raise ValueError(f"must be a multiple of {SIZE_STEP} (HRNet's coarsest stride); nearest are {below} and {above}")
        return size
