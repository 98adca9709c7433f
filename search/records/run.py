"""Reading a run back: tables for people and reports, history for a resume."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ceph_core.errors import InputError
from search.records.folder import RunFolder
from search.records.ledger import Event, is_driven, read_events
from search.records.predictions import read_predictions, read_splits
from search.records.tables import curves_table, read_tables, trials_table

Status = Literal["running", "interrupted", "finished", "failed"]


@dataclass(frozen=True, eq=False)
class Run:
    """A run as its folder tells it.

    Attributes:
        folder: where it lies.
        plan: plan.yaml.
        trials: one row a trial; a searched knob's column is `param/<key>`.  Errors mm, SDR percent, memory MB.
        curves: one row a report (trial, epoch).
        predictions: model, role, fold, film, landmark, x_px, y_px (original pixels), confidence.
        splits: film, split, fold, group, spacing_x_mm, spacing_y_mm, image.
        promotion: the last promotion event; None before promotion.
        manifest: ensemble/manifest.json; None before the export.
        status: "interrupted": not finished, and no driver lives.
        seconds: wall time with a living driver, added up over resumes.
        gpus_per_trial: share that its last driver settled on; None before the first, and for runs that did not record it.
    """

    folder: RunFolder
    plan: dict[str, Any]
    trials: pd.DataFrame
    curves: pd.DataFrame
    predictions: pd.DataFrame
    splits: pd.DataFrame
    promotion: Event | None
    manifest: dict[str, Any] | None
    status: Status
    seconds: float
    gpus_per_trial: float | None = None


@dataclass
class TrialHistory:
    """What the ledger says of one trial: its announcement, its reports in order, its end (None: it had not ended).

    Attributes:
        reports_before: how many there were when it was reopened; 0 if it never was.
    """

    trial: Event
    reports: list[Event] = field(default_factory=list)
    end: Event | None = None
    reports_before: int = 0


def load(run: Path | str) -> Run:
    """Tables of a run, finished or not; from the parquet files where they are current, else from the ledger.

    Raises:
        InputError: the folder is no run, or one of its files is damaged.
    """
    folder = RunFolder(Path(run))
    if not folder.plan_path.exists():
        raise InputError(f"{run}: not a run, plan.yaml is missing; `python -m search list` shows the runs there are")
    events = read_events(folder.path)
    trials, curves = read_tables(folder) or (trials_table(events), curves_table(events))
    return Run(
        folder=folder,
        plan=folder.read_plan(),
        trials=trials,
        curves=curves,
        predictions=read_predictions(folder),
        splits=read_splits(folder),
        promotion=next((event for event in reversed(events) if event["event"] == "promotion"), None),
        manifest=_manifest(folder),
        status=_status(folder, events),
        seconds=_seconds(events),
        gpus_per_trial=next((event["gpus_per_trial"] for event in reversed(events) if "gpus_per_trial" in event), None),
    )


def history(run: Path | str) -> tuple[TrialHistory, ...]:
    """Trials in the order they were announced, each with its own events: what a resume feeds the sampler and rungs."""
    return histories(read_events(Path(run)))


def histories(events: Sequence[Event]) -> tuple[TrialHistory, ...]:
    """`history` of events already read."""
    trials: dict[str, TrialHistory] = {}
    for event in events:
        if event["event"] == "trial":
            trials[event["trial"]] = TrialHistory(event)
        elif event["event"] == "report":
            trials[event["trial"]].reports.append(event)
        elif event["event"] == "end":
            trials[event["trial"]].end = event
        elif event["event"] == "reopened":
            told = trials[event["trial"]]
            told.end, told.reports_before = None, len(told.reports)
    return tuple(trials.values())


def _status(folder: RunFolder, events: Sequence[Event]) -> Status:
    marks = [event for event in events if event["event"] in {"run", "finished"}]
    if marks and marks[-1]["event"] == "finished":
        return "failed" if marks[-1].get("status") == "failed" else "finished"
    return "running" if is_driven(folder.path) else "interrupted"


def _seconds(events: Sequence[Event]) -> float:
    """From each start or resume to the last event before the next."""
    total, began, last = 0.0, None, 0.0
    for event in events:
        if event["event"] == "run":
            total += last - began if began is not None else 0.0
            began = event["time"]
        last = event["time"]
    return total + (last - began if began is not None else 0.0)


def _manifest(folder: RunFolder) -> dict[str, Any] | None:
    if not folder.manifest_path.exists():
        return None
    try:
        manifest = json.loads(folder.manifest_path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{folder.manifest_path}: not JSON: {error}; export the ensemble again") from None
    assert isinstance(manifest, dict)
    return manifest
