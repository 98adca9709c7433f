"""Tables derived from the ledger: one row a trial, one row a report."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pandas as pd

from search.records.folder import RunFolder, atomic
from search.records.ledger import Event, ledger_bytes, read_events

PARAM_PREFIX = "param/"

TRIAL_COLUMNS = {
    "trial": "str", "number": "int64", "role": "str", "candidate": "str", "seed": "int64", "fold": "int64", "is_baseline": "bool",
    "status": "str", "epochs": "int64", "epochs_done": "int64", "best_mre_mm": "float64", "last_mre_mm": "float64",
    "val_sdr_2mm": "float64", "val_sdr_2_5mm": "float64", "val_sdr_3mm": "float64", "val_sdr_4mm": "float64",
    "seconds": "float64", "seconds_per_epoch": "float64", "peak_memory_mb": "float64", "reason": "str", "error": "str",
    "start_time": "float64", "end_time": "float64",
}  # fmt: skip
CURVE_COLUMNS = {
    "trial": "str", "epoch": "int64", "train_loss": "float64", "val_loss": "float64", "val_mre_mm": "float64", "val_median_mm": "float64",
    "val_sdr_2mm": "float64", "val_sdr_2_5mm": "float64", "val_sdr_3mm": "float64", "val_sdr_4mm": "float64", "lr": "float64",
    "image_size": "float64", "batch_size": "float64", "seconds": "float64", "films_per_s": "float64", "peak_memory_mb": "float64",
    "rung": "float64", "decision": "str", "time": "float64",
}  # fmt: skip


def trials_table(events: Sequence[Event]) -> pd.DataFrame:
    """One row a trial, by number; a trial that has not ended is "running"."""
    reports: dict[str, list[Event]] = defaultdict(list)
    ends: dict[str, Event] = {}
    announced: list[Event] = []
    for event in events:
        if event["event"] == "trial":
            announced.append(event)
        elif event["event"] == "report":
            reports[event["trial"]].append(event)
        elif event["event"] == "end":
            ends[event["trial"]] = event
    rows = [_trial_row(trial, reports[trial["trial"]], ends.get(trial["trial"])) for trial in announced]
    table = _typed(rows, TRIAL_COLUMNS).sort_values("number", kind="stable", ignore_index=True)
    knobs = list(dict.fromkeys(knob for trial in announced for knob in trial.get("values", {})))
    values = {trial["trial"]: trial.get("values", {}) for trial in announced}
    for knob in knobs:
        table[PARAM_PREFIX + knob] = _knob_column([values[trial].get(knob) for trial in table["trial"]])
    return table


def curves_table(events: Sequence[Event]) -> pd.DataFrame:
    """One row a report, in the order of the ledger."""
    return _typed([event for event in events if event["event"] == "report"], CURVE_COLUMNS)


def write_tables(run: RunFolder) -> None:
    """Replace trials.parquet and curves.parquet by what the ledger says now."""
    # The length first: a line appended meanwhile makes the tables look old, never current.
    size = ledger_bytes(run.path)
    events = read_events(run.path)
    for path, table in ((run.trials_path, trials_table(events)), (run.curves_path, curves_table(events))):
        table.attrs["ledger_bytes"] = size
        with atomic(path) as temporary:
            table.to_parquet(temporary, index=False)


def read_tables(run: RunFolder) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """(trials, curves) as written, if they hold all that the ledger says (or there is no ledger to say more)."""
    if not (run.trials_path.exists() and run.curves_path.exists()):
        return None
    trials, curves = pd.read_parquet(run.trials_path), pd.read_parquet(run.curves_path)
    size = ledger_bytes(run.path)
    current = all(size is None or table.attrs.get("ledger_bytes") == size for table in (trials, curves))
    trials.attrs, curves.attrs = {}, {}
    return (trials, curves) if current else None


def _trial_row(trial: Event, reports: Sequence[Event], end: Event | None) -> Event:
    errors = [report["val_mre_mm"] for report in reports if report.get("val_mre_mm") is not None]
    last = reports[-1] if reports else {}
    seconds = [report["seconds"] for report in reports if report.get("seconds") is not None]
    memory = [report["peak_memory_mb"] for report in reports if report.get("peak_memory_mb") is not None]
    return {
        **{key: trial.get(key) for key in ("trial", "number", "role")},
        "candidate": trial.get("candidate") or trial["trial"],
        "seed": trial.get("seed", 0),
        "fold": trial.get("fold", -1),
        "is_baseline": bool(trial.get("is_baseline")),
        "status": end["status"] if end else "running",
        "epochs": trial.get("config", {}).get("train", {}).get("epochs", 0),
        "epochs_done": last.get("epoch", 0),
        "best_mre_mm": min(errors, default=None),
        "last_mre_mm": last.get("val_mre_mm"),
        **{key: last.get(key) for key in ("val_sdr_2mm", "val_sdr_2_5mm", "val_sdr_3mm", "val_sdr_4mm")},
        "seconds": sum(seconds),
        "seconds_per_epoch": sum(seconds) / len(seconds) if seconds else None,
        "peak_memory_mb": max(memory, default=None),
        "reason": (end or {}).get("reason") or "",
        "error": (end or {}).get("error") or "",
        "start_time": trial.get("time"),
        "end_time": end["time"] if end else None,
    }


def _typed(rows: Sequence[Event], columns: dict[str, str]) -> pd.DataFrame:
    table = pd.DataFrame(list(rows), columns=list(columns))
    return table.astype(columns)


def _knob_column(values: Sequence[Any]) -> pd.Series:
    """Numbers stay numbers (NaN: the knob did not exist in that trial); other mixtures become text."""
    given = [value for value in values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in given):
        return pd.Series(pd.to_numeric(pd.Series(values, dtype="object")), dtype="int64" if _all_whole(values) else "float64")
    return pd.Series([value if isinstance(value, str) or value is None else json.dumps(value) for value in values], dtype="str")


def _all_whole(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int) for value in values)
