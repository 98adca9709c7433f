"""One run in a line: how it stands, from its records alone, whatever state they are in."""

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ceph_core.errors import InputError
from search import records
from search.boundary import BoundaryOptimum, boundary_optima_of
from search.records import ENSEMBLE, Run, RunFolder
from search.report.tables import best_trial, tier_of_trial

_NO_LIMIT = 100_000
"""What budget.trials is where the clock alone decides."""


@dataclass(frozen=True)
class Overview:
    """How a run stands.

    Attributes:
        state: running, interrupted, finished, failed, or damaged: its `problems` say why it cannot be read.
        trials: of the search, by status; `interrupted` where they were running when their driver went.
        trials_planned: None: the clock alone decides.
        confirming: trainings of promotion, begun or queued.
        best_val_mre_mm: of the completed search trials, or of all while none is.
        ensemble_test_mre_mm: on the locked test.
        device: gpu or cpu.
        began: seconds since 1970, of the first driver; else of the folder.
        age_s: since then.
        ran_s: with a living driver, added up over resumes.
        time_left_s: of a running run, at most; None: not known.
        boundary: knobs whose best trials lie at an end of the searched range.
    """

    run: str
    path: str
    state: str
    began: float
    age_s: float
    trials: dict[str, int] = field(default_factory=dict)
    trials_planned: int | None = None
    confirming: int = 0
    best_val_mre_mm: float | None = None
    best_trial: str | None = None
    tier: str | None = None
    ensemble_test_mre_mm: float | None = None
    device: str | None = None
    ran_s: float | None = None
    time_left_s: float | None = None
    boundary: tuple[BoundaryOptimum, ...] = ()
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def overview(folder: RunFolder, now: float | None = None) -> Overview:
    """How a run stands; one that cannot be read is "damaged" and says why.

    Args:
        now: seconds since 1970; None: the clock's.
    """
    now = time.time() if now is None else now
    path = folder.path.resolve()
    try:
        return _of(records.load(folder.path), path, now)
    except InputError as error:
        problems = tuple(error.problems)
    except Exception as error:  # whatever is wrong with one folder must not hide the others
        problems = (f"{path}: cannot be read ({type(error).__name__}: {error}); restore its files",)
    began = path.stat().st_mtime
    return Overview(path.name, str(path), "damaged", began, now - began, problems=problems)


def _of(run: Run, path: Path, now: float) -> Overview:
    searched = run.trials[run.trials["role"] == "search"]
    counts = {str(status): int(count) for status, count in searched["status"].value_counts().items()}
    if run.status != "running" and "running" in counts:
        counts["interrupted"] = counts.pop("running")
    space = run.plan.get("space") or {}
    budget, resources = space.get("budget") or {}, space.get("resources") or {}
    planned = budget.get("trials")
    best = best_trial(run)
    starts = run.trials["start_time"].dropna()
    began = float(starts.min()) if len(starts) else path.stat().st_mtime
    scored = ((run.manifest or {}).get("figures") or {}).get("test", {}).get(ENSEMBLE) or {}
    return Overview(
        run=path.name,
        path=str(path),
        state=run.status,
        began=began,
        age_s=now - began,
        trials=counts,
        trials_planned=None if planned is None or planned >= _NO_LIMIT else int(planned),
        confirming=len(run.trials) - len(searched),
        best_val_mre_mm=_finite(best["best_mre_mm"]) if best else None,
        best_trial=str(best["trial"]) if best else None,
        tier=tier_of_trial(best) if best else None,
        ensemble_test_mre_mm=_finite(scored.get("mre_mm")),
        device=None if not resources else "gpu" if resources.get("gpus_per_trial") not in (0, 0.0, None) else "cpu",
        ran_s=run.seconds,
        time_left_s=_left_s(run, now),
        boundary=boundary_optima_of(run),
    )


def _left_s(run: Run, now: float) -> float | None:
    """By the clock of --hours; the driver alone knows better, and says so."""
    hours = run.plan.get("hours")
    if run.status != "running" or hours is None:
        return None
    heard = [float(times.max()) for times in (run.curves["time"], run.trials["start_time"]) if times.notna().any()]
    since = now - max(heard) if heard else 0.0  # `seconds` ends with the last event
    return max(0.0, float(hours) * 3600 - run.seconds - since)


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
