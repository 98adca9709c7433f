"""Easy films first (Bengio et al., ICML 2009)."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ceph_core.config.base import Frozen


class CurriculumConfig(Frozen):
    """Which films a run shows when.  The guide: the best to epoch 50 of 250, medium ones to 150, then all."""

    difficulty: Literal["off", "csv", "image", "loss"] = Field(
        "off",
        description="what makes a film hard: csv, a column of the file `csv` or of the data's own table; image, low contrast and "
        "sharpness and high noise; loss, its loss after a warm-up on all films; off: every epoch shows every film",
    )
    csv: Path | None = Field(
        None, description="file with the columns film_id and `column`, a row a training film; none: column difficulty of the data's table"
    )
    column: str = Field("difficulty", min_length=1, description="column of `csv` that holds a number; higher is harder")
    warmup: float = Field(
        0.04,
        gt=0,
        lt=0.5,
        json_schema_extra={"unit": "share of the run"},
        description="loss: share of the run's epochs on all films before their losses are compared",
    )
    easy_until: float = Field(
        0.2,
        ge=0,
        le=1,
        json_schema_extra={"unit": "share of the run"},
        description="share of the run's epochs that shows only the easy films",
    )
    medium_until: float = Field(
        0.6,
        ge=0,
        le=1,
        json_schema_extra={"unit": "share of the run"},
        description="share of the run's epochs by whose end all films are shown",
    )
    easy_films: float = Field(0.34, gt=0, le=1, json_schema_extra={"unit": "share of films"}, description="share of the films that is easy")
    medium_films: float = Field(
        0.67, gt=0, le=1, json_schema_extra={"unit": "share of films"}, description="share of the films that is easy or medium"
    )

    @model_validator(mode="after")
    def _in_order(self) -> "CurriculumConfig":
        if self.easy_until > self.medium_until:
            raise ValueError(f"easy_until {self.easy_until:g} must not be above medium_until {self.medium_until:g}")
        if self.easy_films > self.medium_films:
            raise ValueError(f"easy_films {self.easy_films:g} must not be above medium_films {self.medium_films:g}")
        if self.csv is not None and self.difficulty != "csv":
            raise ValueError("the file csv goes with difficulty csv; give both, or neither")
        return self
