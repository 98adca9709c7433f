"""The run folder: the only code that knows how it is laid out.  Pure: no Ray, no Optuna.

`load(run)` is a public API: tables of a run, whatever state it is in.
"""

from search.records.earlier import read_earlier, write_earlier
from search.records.folder import RunFolder, atomic, create, find_runs, open_for_resume, refuse_if_in_use
from search.records.ledger import Event, Journal, Ledger, read_events
from search.records.past import past_trials
from search.records.predictions import (
    BASELINE,
    BEST_SINGLE,
    ENSEMBLE,
    MEAN_SHAPE,
    MEMBER_PREFIX,
    READER_PREFIX,
    REFERENCE,
    SPLIT_COLUMNS,
    write_predictions,
    write_splits,
)
from search.records.run import Run, TrialHistory, histories, history, load
from search.records.tables import PARAM_PREFIX, Tables, write_tables

__all__ = [
    "BASELINE", "BEST_SINGLE", "ENSEMBLE", "MEAN_SHAPE", "MEMBER_PREFIX", "PARAM_PREFIX", "READER_PREFIX", "REFERENCE", "SPLIT_COLUMNS",
    "Event", "Journal", "Ledger", "Run", "RunFolder", "Tables", "TrialHistory", "atomic", "create", "find_runs", "histories", "history",
    "load", "open_for_resume", "past_trials", "read_earlier", "read_events", "refuse_if_in_use", "write_earlier", "write_predictions",
    "write_splits", "write_tables",
]  # fmt: skip
