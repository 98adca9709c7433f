"""Where recorded curves come from: a run of ours, or a table of anybody's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ceph_core.errors import InputError
from search import records
from search.replay.curves import Curve, Recorded, table_space
from search.space import Space

CONFIG, EPOCH, VALUE, SECONDS = "config", "epoch", "value", "seconds"
"""Columns of a table; every other column is a knob."""
_LOG_SPAN = 30.0
"""A positive knob whose largest value is so many times its smallest is searched on a log scale."""
_FEW = 2


def read_curves(path: Path, **sections: Any) -> Recorded:
    """The curves of a run folder or of a table (.parquet, .csv).

    A table has the columns `config` (an id), `epoch` (from 1), `value` (lower is better; empty: diverged) and, unless every
    epoch takes the same, `seconds`; every other column is a knob, the same in all rows of a configuration: numbers or words.

    Args:
        sections: of the space, to search it otherwise: `sampler`, `scheduler`, `budget`, ... as a space file has them.

    Raises:
        InputError: neither of the two, or too few whole curves.
    """
    if path.is_dir():
        return _of_run(path, sections)
    if path.suffix not in (".parquet", ".csv"):
        raise InputError(f"{path}: neither a run folder nor a .parquet or .csv table")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except Exception as error:
        raise InputError(f"{path}: cannot be read as a table ({type(error).__name__}: {str(error).splitlines()[0]})") from error
    return of_table(table, str(path), **sections)


def of_table(table: pd.DataFrame, source: str, **sections: Any) -> Recorded:
    """`read_curves` of a table in memory; configurations without all epochs of the longest are left out."""
    problems = [f"{source}: column `{column}` is missing" for column in (CONFIG, EPOCH, VALUE) if column not in table]
    if problems:
        raise InputError(problems)
    numbers = [column for column in (EPOCH, VALUE, SECONDS) if column in table]
    problems = [
        f"{source}: column `{column}` holds other things than numbers" for column in numbers if table[column].dtype.kind not in "iuf"
    ]
    if problems:
        raise InputError(problems)
    keys = [column for column in table.columns if column not in (CONFIG, EPOCH, VALUE, SECONDS)]
    if not keys:
        raise InputError(f"{source}: no column but {CONFIG}, {EPOCH}, {VALUE}, {SECONDS}: there is nothing to search over")
    epochs = int(table[EPOCH].max())
    points, curves = [], []
    for _, rows in table.sort_values([CONFIG, EPOCH]).groupby(CONFIG):
        if len(rows) == epochs:
            points.append({key: _plain(rows[key].iloc[0]) for key in keys})
            curves.append(Curve.of(rows[VALUE].to_numpy(float), rows[SECONDS].to_numpy(float) if SECONDS in rows else np.ones(epochs)))
    _enough(points, source)
    entries = {key: _entry([point[key] for point in points]) for key in keys}
    left_out = table[CONFIG].nunique() - len(points)
    return Recorded(table_space(entries, epochs, None, source=source, **sections), points, curves, left_out)


def _of_run(path: Path, sections: dict[str, Any]) -> Recorded:
    run = records.load(path)
    if "space" not in run.plan:
        raise InputError(f"{run.folder.plan_path}: space missing; the plan was edited, restore it")
    space = Space.from_dict({**run.plan["space"], **sections}, str(path))
    points, curves = [], []
    histories = [told for told in records.history(path) if told.trial["role"] == "search"]
    for told in histories:
        if told.end is not None and told.end["status"] == "completed":
            reports = told.reports
            points.append(told.trial["values"])
            curves.append(
                Curve(
                    np.array([np.nan if report["val_mre_mm"] is None else report["val_mre_mm"] for report in reports], dtype=np.float64),
                    np.array([report["seconds"] for report in reports], dtype=np.float64),
                    np.array([report.get("validated", True) for report in reports], dtype=bool),
                    np.array([report["image_size"] for report in reports], dtype=np.int64),
                )
            )
    _enough(points, str(path))
    return Recorded(space, points, curves, len(histories) - len(points))


def _enough(points: Sequence[object], source: str) -> None:
    if len(points) < _FEW:
        raise InputError(
            f"{source}: {len(points)} trainings with all their epochs are too few to replay; "
            "a search with `scheduler.rungs: []` records them"
        )


def _entry(values: Sequence[Any]) -> dict[str, Any]:
    """A knob over these values, as a space file says it."""
    if any(isinstance(value, str | bool) for value in values):
        return {"categorical": sorted(set(values), key=str)}
    low, high = min(values), max(values)
    if len(set(values)) <= 12:
        return {"categorical": sorted(set(values))}
    log = bool(low > 0 and high / low >= _LOG_SPAN)
    if all(float(value).is_integer() for value in values):
        return {"int": [int(low), int(high)], "log": log}
    return {"float": [float(low), float(high)], "log": log}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
