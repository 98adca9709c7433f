"""`python -m search report RUN`: write the run's page again, whatever state the run is in."""

import argparse
from pathlib import Path

from search.report import build

HELP = "write report.html of a run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder, e.g. results/my-run; it may still be running")


def run(args: argparse.Namespace) -> int:
    """Write the page and print its path."""
    print(build(args.run))
    return 0
