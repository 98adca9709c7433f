"""`python -m search report RUN`: write the run's pages again, whatever state the run is in."""

import argparse
from pathlib import Path

from search import pages

HELP = "write report.html and viewer.html of a run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder, e.g. results/my-run; it may still be running")


def run(args: argparse.Namespace) -> int:
    """Write the pages and print the report's path."""
    print(pages.write(args.run))
    return 0
