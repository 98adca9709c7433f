"""`python -m search list [DIR]`: the runs of a folder and how they stand."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ceph_core.duration import duration
from ceph_core.errors import InputError
from search import records
from search.overview import Overview, overview
from search.report.tables import number

HELP = "show runs and how they stand"

_COLOURS = {"running": "blue", "interrupted": "yellow", "finished": "green", "failed": "red", "damaged": "red"}
_ORDER = ("running", "interrupted", "completed", "stopped", "failed")
_PIPE_WIDTH = 200
"""Columns where the output is no terminal, so that a row stays a line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "dir", type=Path, nargs="?", default=Path("results"), metavar="DIR", help="folder of runs, or one run (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="a JSON list instead, one object a run: times in seconds, errors in mm")


def run(args: argparse.Namespace) -> int:
    """Print one row a run, the newest first; a damaged run is a row, too."""
    if not args.dir.is_dir():
        raise InputError(f"list {args.dir}: no such folder; give the folder that holds the runs, as given to --out")
    found = sorted((overview(folder) for folder in records.find_runs(args.dir)), key=lambda each: -each.began)
    if args.json:
        print(json.dumps([each.to_dict() for each in found], indent=1))
    elif not found:
        print(f"no runs in {args.dir}")
    else:
        _print(found)
    return 0


def _print(found: list[Overview]) -> None:
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "state", "trials"):
        table.add_column(heading, overflow="fold")
    for heading in ("best val\nMRE, mm", "ensemble test\nMRE, mm"):
        table.add_column(heading, justify="right")
    table.add_column("device")
    for heading in ("began", "ran", "left"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in found:
        table.add_row(
            each.run,
            f"[{_COLOURS[each.state]}]{each.state}[/]",
            _trials(each),
            number(each.best_val_mre_mm),
            number(each.ensemble_test_mre_mm),
            each.device or "–",
            f"{duration(each.age_s)} ago",
            "–" if each.ran_s is None else duration(each.ran_s),
            "–" if each.time_left_s is None else f"≤ {duration(each.time_left_s)}",
        )
    console.print(table)
    roots = {str(Path(each.path).parent) for each in found}
    console.print(f"in {', '.join(sorted(roots))}", markup=False, soft_wrap=True)
    for each in found:
        for optimum in each.boundary:
            console.print(f"{each.run}: {optimum}", style="yellow", markup=False, soft_wrap=True)
    for problem in (problem for each in found for problem in each.problems):
        console.print(problem, style="red", markup=False, soft_wrap=True)


def _trials(each: Overview) -> str:
    """Done of planned, and what became of them."""
    if each.state == "damaged":
        return "–"
    done = sum(count for status, count in each.trials.items() if status not in ("running", "interrupted"))
    of = f" of {each.trials_planned}" if each.trials_planned is not None else ""
    parts = [f"{each.trials[status]} {status}" for status in _ORDER if each.trials.get(status)]
    if each.confirming:
        parts.append(f"{each.confirming} confirming")
    return f"{done}{of} done" + (f" ({', '.join(parts)})" if parts else "")
