"""What the report's tables show: leaderboard, landmarks, tiers, facts of the run."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ceph_core import metrics
from ceph_core.duration import duration
from ceph_core.landmarks import PROTOCOLS
from ceph_core.metrics import Summary
from search.records import ENSEMBLE, MEAN_SHAPE, PARAM_PREFIX, READER_PREFIX, Run
from search.report.comparison import Comparison, points_of
from search.report.figures import sdr_interval
from search.spending import spending

STATUS_WORDS = {"completed": "completed", "stopped": "stopped early", "failed": "failed", "running": "running"}


@dataclass(frozen=True)
class LandmarkRow:
    """The ensemble on one landmark over the test films; errors mm, SDR percent."""

    symbol: str
    name: str
    summary: Summary
    worst_mm: float
    worst_film: str
    num_films: int


@dataclass(frozen=True)
class Tier:
    """One line of the guide's ladder and whether the ensemble stands on it (None: no ensemble yet)."""

    name: str
    mre_mm: float
    sdr_2mm: float
    sdr_4mm: float
    reached: bool | None


def leaderboard(run: Run) -> list[dict[str, Any]]:
    """Trials by best validation MRE (those without one last), knobs as text, with the tier of the last validation."""
    table = run.trials.sort_values(["best_mre_mm", "number"], na_position="last")
    knobs = knob_names(run)
    rows: list[dict[str, Any]] = []
    for record in table.to_dict("records"):
        row = {str(key): value for key, value in record.items()}
        row["rank"] = len(rows) + 1
        row["tier"] = tier_of_trial(row)
        row["knobs"] = [knob_text(row[PARAM_PREFIX + knob]) for knob in knobs]
        row["status_words"] = "unfinished" if row["status"] == "running" and run.status != "running" else STATUS_WORDS[row["status"]]
        rows.append(row)
    return rows


def knob_names(run: Run) -> list[str]:
    """Dotted keys of the searched knobs."""
    return [column.removeprefix(PARAM_PREFIX) for column in run.trials.columns if column.startswith(PARAM_PREFIX)]


def knob_text(value: Any) -> str:
    """A knob's value in few characters; a dash where it did not exist."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def landmark_rows(comparison: Comparison) -> list[LandmarkRow]:
    """One row a landmark, in the protocol's order."""
    names = {symbol: name for protocol in PROTOCOLS.values() for symbol, name in zip(protocol.symbols, protocol.names, strict=True)}
    rows = []
    for column, symbol in enumerate(comparison.landmarks):
        errors = comparison.rows[ENSEMBLE].errors_mm[:, column]
        marked = ~np.isnan(errors)
        worst = int(np.nanargmax(errors)) if marked.any() else 0
        film = comparison.films[worst] if marked.any() else "–"
        rows.append(
            LandmarkRow(symbol, names.get(symbol, ""), metrics.summarize(errors[:, None]), float(errors[worst]), film, int(marked.sum()))
        )
    return rows


def tiers(comparison: Comparison | None) -> list[Tier]:
    """The guide's ladder from below, each step with whether the ensemble reached all three of its marks on test."""
    names = [name for name, *_ in metrics.TIERS]
    reached: list[str] = []
    if comparison is not None:
        got = metrics.tier(comparison.rows[ENSEMBLE].summary)
        reached = names[names.index(got) :] if got in names else []  # a step holds those below it
    return [Tier(*row, None if comparison is None else row[0] in reached) for row in reversed(metrics.TIERS)]


SDR_RADII_MM = (2.0, 2.5, 3.0, 4.0)


def success_rates(comparison: Comparison) -> dict[str, list[tuple[float, float, float]]]:
    """By row of the comparison: at each radius the share of landmarks within it and its 95 % interval, percent."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for name, row in comparison.rows.items():
        summary = row.summary
        shares = (summary.sdr_2mm, summary.sdr_2_5mm, summary.sdr_3mm, summary.sdr_4mm)
        found[name] = [(share, *sdr_interval(row.errors_mm, at)) for share, at in zip(shares, SDR_RADII_MM, strict=True)]
    return found


@dataclass(frozen=True)
class Yardstick:
    """What somebody who is no trial scores on the validation films."""

    films: int
    figures: Summary


def yardsticks(run: Run) -> dict[str, Yardstick]:
    """The training films' mean shape and human readers on the validation films, by name; none before promotion."""
    placed = points_of(run, "validation")
    if isinstance(placed, str):
        return {}
    found = {}
    for name in placed.points:
        if name == MEAN_SHAPE or name.startswith(READER_PREFIX):
            try:
                errors = placed.errors_mm(name)
            except ValueError:  # no training film marks one of their landmarks, so that the mean shape has no answer there
                continue
            if not np.isnan(errors).all():
                found[name] = Yardstick(int((~np.isnan(errors)).any(axis=1).sum()), metrics.summarize(errors))
    return found


def number(value: float | None, digits: int = 2) -> str:
    """A number with so many digits; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def best_trial(run: Run) -> dict[str, Any] | None:
    """The trial with the lowest validation MRE among the completed, or among all while none is."""
    completed = run.trials[run.trials["status"] == "completed"]
    ranked = (completed if len(completed) else run.trials).dropna(subset=["best_mre_mm"]).sort_values("best_mre_mm")
    return {str(key): value for key, value in ranked.iloc[0].items()} if len(ranked) else None


def tier_of_trial(row: Mapping[str, Any]) -> str:
    """The tier of a trial's last validation; a dash where it has none."""
    return metrics.tier_of(*(row[key] for key in ("last_mre_mm", "val_sdr_2mm", "val_sdr_4mm"))) or "–"


def facts(run: Run) -> dict[str, str]:
    """What a reader asks first, in words, by name."""
    counts = run.trials["status"].value_counts()
    ended = ", ".join(f"{counts[status]} {words}" for status, words in STATUS_WORDS.items() if status in counts)
    splits = run.splits["split"].value_counts(sort=False)
    data = run.plan.get("data") or {}
    found = {
        "trials": f"{len(run.trials)}" + (f" ({ended})" if ended else ""),
        "epochs trained": f"{len(run.curves)}",
        "wall time": duration(run.seconds),
        **_device_hours(run),
        "data": str(data.get("name") or data.get("root") or "not recorded"),
        "films": ", ".join(f"{count} {split}" for split, count in splits.items()) or "not split yet",
    }
    profile = (run.plan.get("space") or {}).get("profile")
    return {**found, "profile": str(profile)} if profile else found


def _device_hours(run: Run) -> dict[str, str]:
    if run.trials.empty:
        return {}
    found = spending(run.trials, (run.plan.get("space") or {}).get("resources") or {}, run.gpus_per_trial)
    return {f"{found.device} hours": f"{found.spent_h:.2f}, stopping early saved {found.saved_h:.2f} ({found.saved_share:.0%})"}


def command(run: Run) -> str:
    """The command that repeats the run, as plan.yaml has it."""
    given = run.plan.get("command")
    return shlex.join(given) if isinstance(given, list) else str(given or "plan.yaml records no command")


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign, so many digits, a true minus; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")
