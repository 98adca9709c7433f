"""One page of a search that runs: what is running, what is best, what was stopped, what rungs ask for, how long it will be."""

import math
from itertools import chain, islice
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ceph_core.duration import duration
from ceph_core.training.health import findings
from search.policy import Policy
from search.standings import TrialState

_FEWEST_ROWS, _MOST_ROWS = 3, 12
_OTHER_LINES = 8
"""Lines of the page that are no trial's: title, heading, summary, rungs and margins; hints come on top."""
_FIXED, _HEALTH, _NARROWEST = 44, 14, 7
"""Columns that trial, status, epoch and errors take; those kept for health, and the fewest a knob is given, its gap included."""
_STYLES = {"running": "cyan", "completed": "green", "stopped": "dim", "failed": "red"}


def page(policy: Policy, elapsed_s: float, width: int, height: int, hints: tuple[str, ...] = ()) -> RenderableType:
    """The page for a terminal of so many columns and lines; colours only repeat what words say."""
    trials = _interesting(policy, max(_FEWEST_ROWS, min(_MOST_ROWS, height - _OTHER_LINES - len(hints))))
    keys = [knob.key for knob in policy.space.knobs]
    room = (width - _FIXED - _HEALTH) // _NARROWEST
    knobs = dict(zip(keys[:room], _heads(keys), strict=False))
    most = max(_NARROWEST, (width - _FIXED - _HEALTH) // max(1, len(knobs))) - 1
    leader = next(iter(policy.ranking()), None)
    hidden_knobs = len(keys) - len(knobs)
    left_out = f"; {hidden_knobs} knob{'s' if hidden_knobs > 1 else ''} not shown" if hidden_knobs else ""
    title = f"validation MRE in mm; * baseline, < best now{left_out}"
    table = Table(title=title, title_justify="left", expand=False, pad_edge=False, box=None, padding=(0, 1, 0, 0))
    for name in ("trial", "status", "epoch", "MRE", "lowest", "SDR@2"):
        table.add_column(name, justify="left" if name in ("trial", "status") else "right", no_wrap=True)
    for head in knobs.values():
        table.add_column(head, no_wrap=True, overflow="ellipsis", max_width=most)
    table.add_column("health", no_wrap=True, overflow="ellipsis")
    for state in trials:
        table.add_row(
            state.trial + ("*" if state.is_baseline else "") + (" <" if state is leader else ""),
            state.status,
            f"{state.epoch}/{state.config.train.epochs}",
            "–" if state.value_mm is None else f"{state.value_mm:.2f}",
            "–" if math.isinf(state.best_mm) else f"{state.best_mm:.2f}",
            "–" if state.sdr_2mm is None else f"{state.sdr_2mm:.0f} %",
            *(short(state.values.get(key, "–")) for key in knobs),
            _mark(state),
            style="bold" if state is leader else _STYLES[state.status],
        )
    hidden = len(policy.trials) - len(trials)
    more = [f"and {hidden} more, behind these"] if hidden else []
    lines = [*more, "", summary(policy, elapsed_s), *_rungs(policy), *hints]
    return Group(table, Text("\n".join(lines)))


def summary(policy: Policy, elapsed_s: float) -> str:
    """The state of the search in one line."""
    counts = {"running": len(policy.running), **policy.num_ended}
    said = ", ".join(f"{counts[status]} {status}" for status in ("running", "completed", "stopped", "failed") if counts.get(status))
    left = policy.remaining_s()
    ranked = policy.ranking()
    best = f"{ranked[0].value_mm:.2f} mm ({ranked[0].trial})" if ranked else "–"
    remaining = "measuring" if left is None else "about " + duration(left)
    return f"{duration(elapsed_s)} | trials: {said or 'none yet'} | best {best} | search time left: {remaining}"


def short(value: Any) -> str:
    """A knob's value in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _heads(knobs: list[str]) -> list[str]:
    """Knobs by their last name, or by the whole where two share one."""
    lasts = [key.rpartition(".")[2] for key in knobs]
    return [last if lasts.count(last) == 1 else key for last, key in zip(lasts, knobs, strict=True)]


def _rungs(policy: Policy) -> list[str]:
    """What each rung has seen and asks for."""
    return [
        f"rung {row.rung} ({row.fraction:.0%} of the epochs): {row.recorded} trials"
        + (f", best {row.best_mm:.2f} mm" if row.best_mm is not None else "")
        + (f", next needs < {row.cutoff_mm:.2f} mm" if row.cutoff_mm is not None else "")
        for row in policy.rungs.rung_table()
        if row.recorded
    ]


def _interesting(policy: Policy, most: int) -> list[TrialState]:
    """Those that run, then the best of the others, the baseline before all, then the latest that failed; as many as are shown."""
    running = list(policy.running.values())
    first = policy.baseline if policy.baseline is not None and policy.baseline.status != "running" else None
    best = (state for state in policy.ranking() if state.status != "running" and state is not first)
    failed = (state for state in reversed(policy.trials.values()) if state.status == "failed" and state is not first)
    ended = chain([first] if first is not None else [], best, failed)
    return [*running, *islice(ended, max(0, most - len(running)))][:most]


def _mark(state: TrialState) -> str:
    """The worst finding of a trial: ! a warning, !! serious; and how many there are besides."""
    problems = sorted((found for found in findings(state.config, state.health) if found.level != "good"), key=lambda found: found.level)
    if not problems:
        return ""
    more = f" +{len(problems) - 1}" if len(problems) > 1 else ""
    return f"{'!!' if problems[0].level == 'serious' else '!'} {problems[0].name}{more}"
