"""What the viewer shows: films, models and their points, as plain values for JSON."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ceph_core.errors import InputError
from ceph_core.landmarks import PROTOCOLS, Protocol, canonical
from ceph_core.metrics import radial_errors_mm
from search.records import BEST_SINGLE, ENSEMBLE, MEAN_SHAPE, MEMBER_PREFIX, READER_PREFIX, REFERENCE, Run
from search.viewer.pictures import Picture

Array = NDArray[np.float64]

_DIGITS = 3
"""Of coordinates, px: a table that holds them is exact to well below the 0.01 px that anyone may ask for."""


def content(run: Run, pictures: Mapping[str, Picture]) -> dict[str, Any]:
    """Everything the page is made from.

    Args:
        run: whose predictions are shown; films without any are not.
        pictures: by film id.

    Returns:
        Values that JSON has: points are [x, y] in original pixels or null, spacings mm per original pixel or null.
    """
    table = run.predictions
    films = list(dict.fromkeys(table["film"]))
    symbols = list(dict.fromkeys(table["landmark"]))
    told = run.splits.drop_duplicates("film").set_index("film").reindex(films)
    spacing = told[["spacing_x_mm", "spacing_y_mm"]].to_numpy(dtype=np.float64).reshape(-1, 2)
    by_model = {str(model): _on_films(rows, films, symbols) for model, rows in table.groupby("model", sort=False)}
    points = {model: placed[..., :2] for model, placed in by_model.items()}
    reference = points.pop(REFERENCE, np.full((len(films), len(symbols), 2), np.nan))
    place_of = {row["film"]: {"role": row["role"], "fold": row["fold"]} for row in table.drop_duplicates("film").to_dict("records")}
    # What chose a model flatters it: where it was tested, the test films count.
    is_test = np.array([place_of[film]["role"] == "test" for film in films], dtype=bool)
    tested = {model: is_test & ~np.isnan(placed).all(axis=(1, 2)) for model, placed in points.items()}
    counted = {model: rows if rows.any() else np.ones_like(is_test) for model, rows in tested.items()}
    mre_mm = {
        model: _mre_mm(placed[counted[model]], reference[counted[model]], spacing[counted[model]]) for model, placed in points.items()
    }
    radii, reasons, notes = _doubts(run, by_model.get(ENSEMBLE), symbols, spacing)
    return {
        "run": {"name": run.folder.path.resolve().name, "id": run_id(run), "status": run.status},
        "landmarks": [{"symbol": symbol, "name": _name_of(symbol)} for symbol in symbols],
        "models": [
            {"name": model, "mre_mm": _number(mre_mm[model], 4)}
            for model in sorted(points, key=lambda model: (_rank(model), mre_mm[model], model))
        ],
        "ensemble": ENSEMBLE,
        "films": [
            {
                "id": film,
                **place_of[film],
                **_of_split(told.loc[film]),
                **_of_picture(run, pictures.get(film, Picture(None, None, "no picture: splits.csv does not name the film"))),
                "reference": _listed(reference[row]),
                "points": {model: found for model, placed in points.items() if (found := _listed(placed[row])) is not None},
                **({} if radii is None else {"radius_mm": [_number(radius, 2) for radius in radii[row]]}),
                **({} if reasons is None else {"review": list(reasons[row])}),
            }
            for row, film in enumerate(films)
        ],
        "notes": notes,
    }


def run_id(run: Run) -> str:
    """What corrections are kept under in a browser: the same for a run that was moved or went on, another for another run."""
    data = run.plan.get("data") or {}
    told = [run.folder.path.resolve().name, data.get("fingerprint"), run.plan.get("seed"), run.plan.get("command")]
    return hashlib.blake2b(json.dumps(told, default=str).encode(), digest_size=8).hexdigest()


def _on_films(rows: pd.DataFrame, films: Sequence[str], symbols: Sequence[str]) -> Array:
    """(N, K, 3) x, y and confidence, NaN where the model has none."""
    grid = pd.MultiIndex.from_product([films, symbols])
    placed = rows.drop_duplicates(["film", "landmark"]).set_index(["film", "landmark"])[["x_px", "y_px", "confidence"]].reindex(grid)
    return placed.to_numpy(dtype=np.float64).reshape(len(films), len(symbols), 3)


def _mre_mm(points: Array, reference: Array, spacing: Array) -> float:
    """Mean over what both have; infinite where that is nothing, so that it sorts last."""
    truth = np.where(np.isnan(points) | np.isnan(spacing)[:, None, :], np.nan, reference)
    # A film without mm a pixel has no truth left, so that 1 stands for what is not looked at.
    errors = radial_errors_mm(np.where(np.isnan(points), 0.0, points), truth, np.where(np.isnan(spacing), 1.0, spacing))
    return float(np.nanmean(errors)) if not np.isnan(errors).all() else math.inf


def _doubts(
    run: Run, ensemble: Array | None, symbols: Sequence[str], spacing: Array
) -> tuple[Array | None, list[tuple[str, ...]] | None, list[str]]:
    """The ensemble's (N, K) radii in mm and reasons to look again, as far as its export can tell; and what went wrong with that."""
    folder = run.folder.ensemble_dir
    if ensemble is None or not folder.is_dir():
        return None, None, []
    # Only where there is an export: these bring torch along.
    from ceph_core.inference.calibration import read_calibration
    from ceph_core.inference.refine import reviewer_of

    radii, reasons, notes = None, None, []
    answered = ~np.isnan(ensemble[..., :2]).any(axis=(1, 2))
    try:
        if (calibration := read_calibration(folder, symbols)) is not None:
            radii = calibration.radius_mm(ensemble[..., 2])
    except InputError as error:
        notes.append(f"no radii: {error}")
    try:
        protocol = Protocol("", tuple(symbols), tuple(symbols))
        if (reviewer := reviewer_of(folder, protocol, needed=False)) is not None:
            given = ensemble[answered]
            found = reviewer.review(given[..., :2], given[..., 2], np.where(np.isnan(spacing), 1.0, spacing)[answered])
            reasons = [("",) * len(symbols)] * len(ensemble)
            for number, row in enumerate(np.flatnonzero(answered)):
                reasons[row] = found.reasons(number)
    except InputError as error:
        notes.append(f"no points to review: {error}")
    return radii, reasons, notes


def _of_split(row: pd.Series) -> dict[str, Any]:
    """What splits.csv says of a film; empty where it says nothing."""
    text = {key: "" if pd.isna(row[key]) else str(row[key]) for key in ("image", "split", "group")}
    spacing = [_number(row[key], 9) for key in ("spacing_x_mm", "spacing_y_mm")]
    return {**text, "spacing_mm": None if None in spacing else spacing}


def _of_picture(run: Run, picture: Picture) -> dict[str, Any]:
    height, width = picture.size or (None, None)
    file = None if picture.file is None else f"{run.folder.pictures_dir.name}/{picture.file}"
    return {"picture": file, "height": height, "width": width, "problem": picture.problem}


def _listed(points: Array) -> list[list[float] | None] | None:
    """(K, 2) as lists, null for a missing point; None if all are."""
    listed = [None if math.isnan(x + y) else [round(x, _DIGITS), round(y, _DIGITS)] for x, y in points.tolist()]
    return listed if any(listed) else None


def _number(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def _rank(model: str) -> int:
    """Networks by what they are for, then by their error; members of the ensemble; people; the mean shape."""
    if model in (ENSEMBLE, BEST_SINGLE):
        return (ENSEMBLE, BEST_SINGLE).index(model)
    if model == MEAN_SHAPE:
        return 5
    return 4 if model.startswith(READER_PREFIX) else 3 if model.startswith(MEMBER_PREFIX) else 2


def _name_of(symbol: str) -> str:
    known = (pair for protocol in PROTOCOLS.values() for pair in zip(protocol.symbols, protocol.names, strict=True))
    return next((name for other, name in known if canonical(other) == canonical(symbol)), "")
