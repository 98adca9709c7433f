"""How the candidates fared when they were trained anew, and what could be expected of what was chosen."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.records import BEST_SINGLE, ENSEMBLE, Run
from search.report.tables import number


@dataclass(frozen=True)
class CandidateRow:
    """A candidate's figures as text, mm."""

    trial: str
    is_baseline: bool
    searched: str
    expected: str
    confirmed: str


@dataclass(frozen=True)
class Confirmed:
    """What promotion wrote of its choice.

    Attributes:
        rows: the candidates.
        said: sentences on the ensemble and the best single network: chosen by, expected, found; and on what that leaves out.
        final: what was trained for good, in a sentence; empty: the ensemble is made of the confirmed networks.
    """

    rows: tuple[CandidateRow, ...]
    said: tuple[str, ...]
    final: str = ""


def confirmation(run: Run, found_mm: Mapping[str, float]) -> Confirmed | None:
    """Of a run that was promoted; None before, and for runs that recorded none.

    Args:
        found_mm: MRE on the locked test by model.
    """
    told = run.promotion
    if told is None or "confirmed" not in told:
        return None
    rows = tuple(
        CandidateRow(
            each["candidate"], each["is_baseline"], number(_of(each["searched_mm"]), 3),
            _with(each["expected_mm"], each["expected_deviation_mm"]),
            f"{_with(each['confirmed_mm'], each['deviation_mm'])} ({each['fresh']})" if each["fresh"] else "–",
        )
        for each in told["confirmed"]
    )  # fmt: skip
    final = told.get("final")
    lines = [told["held_out_by"]] if told.get("held_out_by") else []
    # Runs that do not say which the best single network is expected it by another rule than the tested one was chosen by.
    for name in (ENSEMBLE, BEST_SINGLE) if "best_single" in told else (ENSEMBLE,):
        expected = told["expected_mm"][name]
        chosen = f"chosen with {told['validation_mre_mm']:.3f} mm on {told['validation_films']} films; " if name == ENSEMBLE else ""
        said = f"{number(_of(expected['mre_mm']), 3)} mm [{number(_of(expected['low_mm']), 3)}–{number(_of(expected['high_mm']), 3)}]"
        by = "" if final is None else " by final networks"
        test = f", {found_mm[name]:.3f} mm found on the locked test{by}" if name in found_mm else ""
        lines.append(f"{name.capitalize()}: {chosen}{said} expected without the luck of this choice{test}.")
    by = "the same films" if run.plan["space"].get("promotion", {}).get("folds", 1) == 1 else "its validation films, which are among these"
    lines.append(f"Only the luck of choosing among the trained networks is taken out, not the search's: it chose the settings by {by}.")
    return Confirmed(rows, tuple(lines), "" if final is None else _final(final))


def _final(final: Mapping[str, Any]) -> str:
    """What was trained for good, in a sentence."""
    films = f"{final['num_films']} films" + (", validation films included" if final["films"] == "all" else "")
    counts = Counter(final["candidates"])
    settings = ", ".join(f"{candidate} ({count})" if count > 1 else candidate for candidate, count in counts.items())
    whole = "" if len(final["networks"]) == len(final["candidates"]) else f"; {len(final['networks'])} of them reached the end"
    return f"{len(final['candidates'])} networks were trained for good, {final['epochs']} epochs on {films}: settings {settings}{whole}."


def _with(value: Any, deviation: Any) -> str:
    """A figure and its standard deviation, where it has one."""
    spread = _of(deviation)
    return number(_of(value), 3) + ("" if math.isnan(spread) or spread == 0 else f" ± {spread:.3f}")


def _of(value: Any) -> float:
    """JSON has no NaN."""
    return math.nan if value is None else float(value)
