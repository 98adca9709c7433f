"""Points that models, references and readers set on validation and test films: predictions.parquet."""

import pandas as pd

from ceph_core.errors import InputError
from search.records.folder import RunFolder, atomic

# Values of the column `model`; any other value is a trial's id.
ENSEMBLE = "ensemble"
BEST_SINGLE = "best single"
BASELINE = "baseline"
MEAN_SHAPE = "mean shape"
REFERENCE = "reference"
READER_PREFIX = "reader:"
MEMBER_PREFIX = "member:"

PREDICTION_COLUMNS = {
    "model": "str", "role": "str", "fold": "int64", "film": "str", "landmark": "str",
    "x_px": "float64", "y_px": "float64", "confidence": "float64",
}  # fmt: skip
SPLIT_COLUMNS = {
    "film": "str", "split": "str", "fold": "int64", "group": "str", "spacing_x_mm": "float64", "spacing_y_mm": "float64", "image": "str",
    "device": "str", "difficulty": "float64",
}  # fmt: skip
_LATER: dict[str, str | float] = {"device": "", "difficulty": float("nan")}
"""Columns that older runs lack, and what they then hold."""


def write_predictions(run: RunFolder, predictions: pd.DataFrame) -> None:
    """Replace predictions.parquet.

    Args:
        run: the run's folder.
        predictions: model, role ("validation" or "test"), fold (-1: none), film, landmark (symbol), x_px and y_px
            (original pixels, NaN where missing), confidence (0-1, NaN where none).
    """
    missing = PREDICTION_COLUMNS.keys() - set(predictions.columns)
    assert not missing, f"predictions lack {sorted(missing)}"
    unknown = set(predictions["role"]) - {"validation", "test"}
    assert not unknown, f"role {sorted(unknown)}"
    doubled = predictions.duplicated(["model", "role", "film", "landmark"])
    assert not doubled.any(), f"{int(doubled.sum())} points stand twice"
    with atomic(run.predictions_path) as temporary:
        predictions[list(PREDICTION_COLUMNS)].astype(PREDICTION_COLUMNS).to_parquet(temporary, index=False)


def read_predictions(run: RunFolder) -> pd.DataFrame:
    """predictions.parquet; without rows while nothing was predicted."""
    if not run.predictions_path.exists():
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in PREDICTION_COLUMNS.items()})
    return pd.read_parquet(run.predictions_path)


def write_splits(run: RunFolder, splits: pd.DataFrame) -> None:
    """Replace splits.csv.

    Args:
        run: the run's folder.
        splits: film, split, fold (-1: none), group, spacing_x_mm and spacing_y_mm (mm per original pixel), image (absolute path);
            device (empty: not known) and difficulty (NaN: not known) may be left out.
    """
    splits = splits.assign(**{name: value for name, value in _LATER.items() if name not in splits})
    missing = SPLIT_COLUMNS.keys() - set(splits.columns)
    assert not missing, f"splits lack {sorted(missing)}"
    with atomic(run.splits_path) as temporary:
        splits[list(SPLIT_COLUMNS)].to_csv(temporary, index=False)


def read_splits(run: RunFolder) -> pd.DataFrame:
    """splits.csv; without rows while nothing was split.

    Raises:
        InputError: columns are missing.
    """
    if not run.splits_path.exists():
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in SPLIT_COLUMNS.items()})
    text = {name: str for name, kind in SPLIT_COLUMNS.items() if kind == "str"}
    splits = pd.read_csv(run.splits_path, dtype=text, keep_default_na=False, na_values={"difficulty": [""]})
    splits = splits.assign(**{name: value for name, value in _LATER.items() if name not in splits})
    missing = SPLIT_COLUMNS.keys() - set(splits.columns)
    if missing:
        raise InputError(f"{run.splits_path}: columns {', '.join(sorted(missing))} are missing; allowed are {', '.join(SPLIT_COLUMNS)}")
    return splits.astype(SPLIT_COLUMNS)
