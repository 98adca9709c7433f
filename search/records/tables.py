"""Tables derived from the ledger: one row a trial, one row a report."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from search.records.folder import RunFolder, atomic
from search.records.ledger import Event, LedgerEnd, ledger_bytes, read_on

PARAM_PREFIX = "param/"

TRIAL_COLUMNS = {
    "trial": "str", "number": "int64", "role": "str", "candidate": "str", "seed": "int64", "fold": "int64", "is_baseline": "bool",
    "status": "str", "epochs": "int64", "epochs_done": "int64", "best_mre_mm": "float64", "last_mre_mm": "float64",
    "val_sdr_2mm": "float64", "val_sdr_2_5mm": "float64", "val_sdr_3mm": "float64", "val_sdr_4mm": "float64",
    "seconds": "float64", "seconds_per_epoch": "float64", "peak_memory_mb": "float64", "reason": "str", "error": "str",
    "start_time": "float64", "end_time": "float64", "health": "str", "retries": "str",
}  # fmt: skip
CURVE_COLUMNS = {
    "trial": "str", "epoch": "int64", "train_loss": "float64", "val_loss": "float64", "val_mre_mm": "float64", "val_median_mm": "float64",
    "val_sdr_2mm": "float64", "val_sdr_2_5mm": "float64", "val_sdr_3mm": "float64", "val_sdr_4mm": "float64", "lr": "float64",
    "image_size": "float64", "batch_size": "float64", "micro_batch": "float64", "seconds": "float64", "films_per_s": "float64",
    "peak_memory_mb": "float64",
    "rung": "float64", "decision": "str", "time": "float64", "validated": "bool",
    "peak_width_rel": "float64", "mean_shape_mm": "float64", "health": "str",
}  # fmt: skip
_SHARES = ("val_sdr_2mm", "val_sdr_2_5mm", "val_sdr_3mm", "val_sdr_4mm")


def trials_table(events: Sequence[Event]) -> pd.DataFrame:
    """One row a trial, by number; a trial that has not ended is "running"."""
    trials = _Trials()
    for event in events:
        trials.take(event)
    return trials.table()


def curves_table(events: Sequence[Event]) -> pd.DataFrame:
    """One row a report, in the order of the ledger."""
    return _typed([{"validated": True, "health": "", **event} for event in events if event["event"] == "report"], CURVE_COLUMNS)


def write_tables(run: RunFolder) -> None:
    """Replace trials.parquet and curves.parquet by what the ledger says now."""
    Tables(run).write()


class Tables:
    """The tables of a run that goes on: each writing reads what the ledger has gained since the last."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._trials = _Trials()
        self._curves = curves_table([])
        self._read = LedgerEnd()

    def write(self) -> None:
        """Replace trials.parquet and curves.parquet by what the ledger says now."""
        events, self._read = read_on(self._run.path, self._read)
        for event in events:
            self._trials.take(event)
        gained = curves_table(events)
        if len(gained):
            self._curves = pd.concat([self._curves, gained], ignore_index=True) if len(self._curves) else gained
        for path, table in ((self._run.trials_path, self._trials.table()), (self._run.curves_path, self._curves)):
            table.attrs["ledger_bytes"] = self._read.bytes
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
    return (_whole(trials, TRIAL_COLUMNS), _whole(curves, CURVE_COLUMNS)) if current else None


def _whole(table: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """With the columns that a run of an earlier version lacks: no text, no number."""
    missing = {name: kind for name, kind in columns.items() if name not in table}
    return table.assign(**{name: pd.Series("" if kind == "str" else np.nan, table.index, dtype=kind) for name, kind in missing.items()})


class _Trials:
    """Rows of the trials table, kept up with the ledger event by event."""

    def __init__(self) -> None:
        self._rows: dict[str, Event] = {}
        self._values: dict[str, Event] = {}
        self._timed_epochs: dict[str, int] = {}

    def take(self, event: Event) -> None:
        kind = event["event"]
        if kind == "trial":
            self._rows[event["trial"]] = _row(event)
            self._values[event["trial"]] = event.get("values", {})
            self._timed_epochs[event["trial"]] = 0
        elif kind == "report":
            self._report(self._rows[event["trial"]], event)
        elif kind == "retry":
            row = self._rows[event["trial"]]
            row["retries"] = "; ".join([*filter(None, [row["retries"]]), f"{event['cause']}: {event['reason']}"])
        elif kind == "reopened":
            self._rows[event["trial"]] |= {"status": "running", "reason": "", "end_time": None}
        elif kind == "end":
            self._rows[event["trial"]] |= {
                "status": event["status"],
                "reason": event.get("reason") or "",
                "error": event.get("error") or "",
                "end_time": event["time"],
            }

    def table(self) -> pd.DataFrame:
        table = _typed(list(self._rows.values()), TRIAL_COLUMNS).sort_values("number", kind="stable", ignore_index=True)
        for knob in dict.fromkeys(knob for values in self._values.values() for knob in values):
            table[PARAM_PREFIX + knob] = _knob_column([self._values[trial].get(knob) for trial in table["trial"]])
        return table

    def _report(self, row: Event, report: Event) -> None:
        error, seconds, memory = (report.get(key) for key in ("val_mre_mm", "seconds", "peak_memory_mb"))
        row["epochs_done"] = report["epoch"]
        row["health"] = report.get("health") or ""
        if report.get("validated", True):
            row |= {"last_mre_mm": error, **{key: report.get(key) for key in _SHARES}}
        if error is not None:
            row["best_mre_mm"] = error if row["best_mre_mm"] is None else min(row["best_mre_mm"], error)
        if seconds is not None:
            self._timed_epochs[row["trial"]] += 1
            row["seconds"] += seconds
            row["seconds_per_epoch"] = row["seconds"] / self._timed_epochs[row["trial"]]
        if memory is not None:
            row["peak_memory_mb"] = memory if row["peak_memory_mb"] is None else max(row["peak_memory_mb"], memory)


def _row(trial: Event) -> Event:
    """Of a trial just announced."""
    return {
        **dict.fromkeys(TRIAL_COLUMNS),
        **{key: trial.get(key) for key in ("trial", "number", "role")},
        "candidate": trial.get("candidate") or trial["trial"],
        "seed": trial.get("seed", 0),
        "fold": trial.get("fold", -1),
        "is_baseline": bool(trial.get("is_baseline")),
        "status": "running",
        "epochs": trial.get("config", {}).get("train", {}).get("epochs", 0),
        "epochs_done": 0,
        "seconds": 0.0,
        "reason": "",
        "error": "",
        "health": "",
        "retries": "",
        "start_time": trial.get("time"),
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
