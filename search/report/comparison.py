"""Errors on the locked test films of every model, the mean shape and the human readers."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ceph_core import metrics
from ceph_core.metrics import Errors, Paired, Summary
from search.records import BASELINE, BEST_SINGLE, ENSEMBLE, MEAN_SHAPE, MEMBER_PREFIX, READER_PREFIX, REFERENCE, Run
from search.verdict import paired_differences

Points = NDArray[np.float64]

_ORDER = (ENSEMBLE, BEST_SINGLE, BASELINE, MEMBER_PREFIX, MEAN_SHAPE)


@dataclass(frozen=True, eq=False)
class Scored:
    """One row of the comparison: (N, K) errors in mm, what they sum up to, and the MRE's 95 % interval over films."""

    name: str
    errors_mm: Errors
    summary: Summary
    low_mm: float
    high_mm: float


@dataclass(frozen=True, eq=False)
class Placed:
    """Points that models, the reference and readers set on the films of one role.

    Attributes:
        films: N ids.
        landmarks: K symbols.
        points: by model, (N, K, 2) original pixels, NaN where missing; the reference among them.
        spacing_mm: (N, 2) mm per original pixel.
    """

    films: tuple[str, ...]
    landmarks: tuple[str, ...]
    points: dict[str, Points]
    spacing_mm: Points

    def errors_mm(self, model: str) -> Errors:
        """(N, K) of a model, NaN where the reference is missing; a reader who left a landmark out did not err on it.

        Raises:
            ValueError: a model left a landmark out: it has failed, and the metric says so.
        """
        points, truth = self.points[model], self.points[REFERENCE]
        seen = np.where(np.isnan(points), np.nan, truth) if model.startswith(READER_PREFIX) else truth
        return metrics.radial_errors_mm(points, seen, self.spacing_mm)

    @property
    def reference(self) -> Points:
        """(N, K, 2) the points everything is measured against, original pixels."""
        return self.points[REFERENCE]


@dataclass(frozen=True, eq=False)
class Comparison(Placed):
    """The locked test.

    Attributes:
        rows: by name, in the order of the table.
        paired: differences; negative: the first is better.  See `search.verdict`.
        notes: what could not be computed, and how human rows are to be read.
    """

    rows: dict[str, Scored]
    paired: dict[str, Paired]
    notes: tuple[str, ...]


def points_of(run: Run, role: str) -> Placed | str:
    """Those on validation or test films, or why there are none."""
    given = run.predictions[run.predictions["role"] == role]
    reference = given[given["model"] == REFERENCE]
    if reference.empty:
        return "the locked test has not been opened yet: promotion opens it once, at the end of a run"
    films = tuple(dict.fromkeys(reference["film"]))
    landmarks = tuple(dict.fromkeys(reference["landmark"]))
    spacing = (
        run.splits.drop_duplicates("film").set_index("film").reindex(films)[["spacing_x_mm", "spacing_y_mm"]].to_numpy(dtype=np.float64)
    )
    if np.isnan(spacing).any():
        unknown = int(np.isnan(spacing).any(axis=1).sum())
        return f"splits.csv gives no spacing for {unknown} of {len(films)} {role} films, so nothing can be said in mm"
    grid = pd.MultiIndex.from_product([films, landmarks])
    points = {str(model): _on(grid, rows, len(films)) for model, rows in given.groupby("model", sort=False)}
    return Placed(films, landmarks, points, spacing)


def compare(run: Run) -> Comparison | str:
    """The comparison on test films, or why there is none."""
    placed = points_of(run, "test")
    if isinstance(placed, str):
        return placed
    films, landmarks, points, spacing = placed.films, placed.landmarks, placed.points, placed.spacing_mm
    rows: dict[str, Scored] = {}
    notes: list[str] = []
    for model in sorted(points.keys() - {REFERENCE}, key=_place):
        try:
            rows[model] = _score(model, placed.errors_mm(model))
        except ValueError as error:
            notes.append(f"{model}: not scored: {error}")
    _add_readers_apart(points, spacing, rows, notes)
    paired = paired_differences({name: row.errors_mm for name, row in rows.items()})
    return Comparison(films, landmarks, points, spacing, rows, paired, tuple(notes))


def _on(grid: pd.MultiIndex, rows: pd.DataFrame, num_films: int) -> Points:
    placed = rows.set_index(["film", "landmark"])[["x_px", "y_px"]].reindex(grid)
    return placed.to_numpy(dtype=np.float64).reshape(num_films, -1, 2)


def _place(model: str) -> tuple[int, str]:
    if model.startswith(MEMBER_PREFIX):
        return _ORDER.index(MEMBER_PREFIX), model
    return _ORDER.index(model) if model in _ORDER else len(_ORDER) + model.startswith(READER_PREFIX), model


def _score(name: str, errors_mm: Errors) -> Scored:
    return Scored(name, errors_mm, metrics.summarize(errors_mm), *metrics.bootstrap_interval(errors_mm))


def _add_readers_apart(points: dict[str, Points], spacing: Points, rows: dict[str, Scored], notes: list[str]) -> None:
    readers = [model for model in points if model.startswith(READER_PREFIX)]
    for one, other in combinations(readers, 2):
        apart = metrics.radial_errors_mm(points[one], np.where(np.isnan(points[one]), np.nan, points[other]), spacing)
        name = f"{one.removeprefix(READER_PREFIX)} against {other.removeprefix(READER_PREFIX)}"
        rows[name] = _score(name, apart)
    for reader in readers:
        if reader in rows and rows[reader].summary.mre_mm < 1e-6:
            del rows[reader]
            notes.append(f"{reader} is the reference itself, so it has no error of its own.")
    if len(readers) > 1 and all(reader in rows for reader in readers):
        notes.append(
            "The reference is drawn from these readers, so each stands closer to it than to the other: "
            "the row that sets one against the other is the fairer mark of what people agree on."
        )
