"""`python -m search promote RUN`: search no more, make the ensemble of what was found."""

import argparse
from pathlib import Path

HELP = "end the search of an interrupted run: train its best trials on, choose and export the ensemble"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder; interrupt its driver first (Ctrl-C), if it has one")
    parser.add_argument("--address", metavar="auto|HOST:PORT", help="join a Ray cluster (none: as the run did)")


def run(args: argparse.Namespace) -> int:
    """Promote; prints the report's path.  Trials that had not ended count as they stand."""
    from search import driver
    from search.ending import finish
    from search.live import LiveView

    run_dir: Path = args.run.absolute()
    return finish(lambda: driver.resume(run_dir, args.address, LiveView(), searching=False), run_dir)
