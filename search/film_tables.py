"""What a run records of its films: splits.csv, and the points that models, readers and the mean shape set on them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ceph_core.data.films import TrainingData
from ceph_core.metrics import mean_shape_mm
from search.promotion import Outcome
from search.records import MEAN_SHAPE, READER_PREFIX, REFERENCE, SPLIT_COLUMNS, RunFolder, write_splits


def write_split_table(run: RunFolder, data: TrainingData) -> None:
    """splits.csv: each film's split, fold, group, spacing, file, device and difficulty."""
    records = data.dataset.by_id()
    rows = [
        (
            row.film_id, row.split, row.fold, row.group, *film.spacing_mm, str(film.image), film.device or "",
            np.nan if film.difficulty is None else film.difficulty,
        )
        for row in data.splits.rows
        for film in [records[row.film_id]]
    ]  # fmt: skip
    write_splits(run, pd.DataFrame(rows, columns=list(SPLIT_COLUMNS)))


def prediction_table(data: TrainingData, outcome: Outcome) -> pd.DataFrame:
    """Every model's points, and beside them the reference, the human readers and the mean shape."""
    records = data.dataset.by_id()
    has_folds = any(network.fold >= 0 for entry in outcome.picked for network in entry.networks)
    fold_of = {row.film_id: row.fold for row in data.splits.rows} if has_folds else {}
    tables = [_points_table(data, fold_of, model, role, *given) for (model, role), given in outcome.predictions.items()]
    for role, ids in (("validation", outcome.judged), ("test", data.test_ids)):
        films = [records[film] for film in ids]
        unmarked = np.full((len(data.dataset.protocol), 2), np.nan)
        truths = {REFERENCE: np.stack([film.landmarks_px for film in films])}
        for name in sorted({name for film in films for name in film.annotators}):
            truths[READER_PREFIX + name] = np.stack([film.annotators.get(name, unmarked) for film in films])
        train = [records[film] for film in data.train_ids]
        shape = mean_shape_mm(np.stack([film.landmarks_px for film in train]), np.array([film.spacing_mm for film in train]))
        truths[MEAN_SHAPE] = shape / np.array([film.spacing_mm for film in films])[:, None, :]
        for model, points in truths.items():
            tables.append(_points_table(data, fold_of, model, role, ids, points, np.full(points.shape[:2], np.nan)))
    return pd.concat(tables, ignore_index=True)


def _points_table(
    data: TrainingData, fold_of: Mapping[str, int], model: str, role: str, ids: Sequence[str], points_px: np.ndarray, confidence: np.ndarray
) -> pd.DataFrame:
    """Of a model on films; `fold_of` is empty where the judged films were not held out by folds."""
    symbols = data.dataset.protocol.symbols
    return pd.DataFrame(
        {
            "model": model,
            "role": role,
            "fold": np.repeat([fold_of.get(film, -1) if role == "validation" else -1 for film in ids], len(symbols)),
            "film": np.repeat(np.asarray(ids, dtype=object), len(symbols)),
            "landmark": np.tile(np.asarray(symbols, dtype=object), len(ids)),
            "x_px": points_px[..., 0].ravel(),
            "y_px": points_px[..., 1].ravel(),
            "confidence": confidence.ravel(),
        }
    )
