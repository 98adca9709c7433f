"""`python -m search list [DIR]`: the runs of a folder and how they stand."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ceph_core.duration import duration
from ceph_core.errors import InputError
from search import records
from search.report.tables import best_trial, number, tier_of_trial

HELP = "show runs and how they stand"

_COLOURS = {"running": "blue", "interrupted": "yellow", "finished": "green", "failed": "red", "damaged": "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "dir", type=Path, nargs="?", default=Path("results"), metavar="DIR", help="folder of runs, or one run (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Print one row a run; a damaged run is a row, too."""
    if not args.dir.is_dir():
        raise InputError(f"list {args.dir}: no such folder; give the folder that holds the runs, as given to --out")
    found = records.find_runs(args.dir)
    if not found:
        print(f"no runs in {args.dir}")
        return 0
    table = Table(box=None, pad_edge=False)
    table.add_column("run")
    table.add_column("status")
    for heading in ("trials", "stopped", "failed", "best trial", "val MRE, mm", "tier", "wall time"):
        table.add_column(heading, justify="right")
    problems: list[str] = []
    for folder in found:
        try:
            table.add_row(*_row(folder))
        except InputError as error:
            table.add_row(folder.path.name, _coloured("damaged"))
            problems.extend(error.problems)
    console = Console()
    console.print(table)
    for problem in problems:
        console.print(problem, style="red", markup=False, highlight=False)
    return 0


def _row(folder: records.RunFolder) -> tuple[str, ...]:
    loaded = records.load(folder.path)
    counts = loaded.trials["status"].value_counts()
    best = best_trial(loaded)
    return (
        folder.path.resolve().name,
        _coloured(loaded.status),
        str(len(loaded.trials)),
        str(counts.get("stopped", 0)),
        str(counts.get("failed", 0)),
        str(best["trial"]) if best else "–",
        number(best["best_mre_mm"]) if best else "–",
        tier_of_trial(best) if best else "–",
        duration(loaded.seconds),
    )


def _coloured(status: str) -> str:
    return f"[{_COLOURS[status]}]{status}[/]"
