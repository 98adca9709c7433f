"""The search so far in the sampler's terms, rebuilt from the ledger: for a resume, and for importances."""

import math
from collections.abc import Iterable
from typing import Any

from search.history import Outcome, Point, Trial
from search.records.run import TrialHistory


def past_trials(histories: Iterable[TrialHistory]) -> list[Trial]:
    """Search trials by number; confirmation runs are left out, for no sampler proposed them."""
    searched = [told for told in histories if told.trial["role"] == "search"]
    return [_trial(told) for told in sorted(searched, key=lambda told: int(told.trial["number"]))]


def _trial(told: TrialHistory) -> Trial:
    total = int(told.trial["config"]["train"]["epochs"])
    curve = {
        int(report["epoch"]): Point(_finite(report.get("val_mre_mm")), total) for report in told.reports if report.get("validated", True)
    }
    return Trial(
        number=int(told.trial["number"]),
        values=dict(told.trial["values"]),
        curve=curve,
        outcome=_outcome(told, curve),
        name=str(told.trial["trial"]),
        is_baseline=bool(told.trial.get("is_baseline")),
    )


def _outcome(told: TrialHistory, curve: dict[int, Point]) -> Outcome | None:
    if told.end is None:
        return None
    if told.end.get("infeasible"):
        return Outcome("infeasible")
    value = curve[max(curve)].value_mm if curve else None
    if told.end["status"] == "failed" or value is None:
        return Outcome("failed")
    return Outcome("complete" if told.end["status"] == "completed" else "stopped", value)


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
