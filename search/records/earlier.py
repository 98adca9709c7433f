"""Trials of earlier runs that a run's sampler began with; kept in its own folder, so that a resume needs no other."""

import json
from collections.abc import Sequence
from typing import Any

from ceph_core.errors import InputError
from search.history import Outcome, Point, Trial
from search.records.folder import RunFolder, atomic


def write_earlier(folder: RunFolder, trials: Sequence[Trial]) -> None:
    """Keep them; none: no file."""
    if not trials:
        return
    rows = [
        {
            "name": trial.name,
            "values": trial.values,
            "curve": {str(epoch): [point.value_mm, point.total_epochs] for epoch, point in trial.curve.items()},
            "outcome": None if trial.outcome is None else [trial.outcome.kind, trial.outcome.value_mm],
            "seconds": trial.seconds,
        }
        for trial in trials
    ]
    with atomic(folder.earlier_path) as temporary:
        temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def read_earlier(folder: RunFolder) -> tuple[Trial, ...]:
    """What was kept, by number.

    Raises:
        InputError: the file is damaged.
    """
    if not folder.earlier_path.exists():
        return ()
    try:
        rows = json.loads(folder.earlier_path.read_text(encoding="utf-8"))
        return tuple(_trial(number, row) for number, row in enumerate(rows))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder.earlier_path}: cannot be read ({type(error).__name__}: {error}); restore it") from error


def _trial(number: int, row: dict[str, Any]) -> Trial:
    curve = {int(epoch): Point(value, total) for epoch, (value, total) in row["curve"].items()}
    outcome = None if row["outcome"] is None else Outcome(*row["outcome"])
    return Trial(number, row["values"], curve, outcome, row["name"], seconds=row.get("seconds"))  # an earlier version kept none
