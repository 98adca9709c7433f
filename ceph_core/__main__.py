"""`python -m ceph_core COMMAND`: exit code 0 done, 1 failed, 2 the user's input, 130 interrupted."""

import argparse
import sys
from collections.abc import Sequence

from ceph_core.commands import discover
from ceph_core.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m ceph_core", description="Cephalometric landmarks: train, use and check networks.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in discover().items():
        own = subparsers.add_parser(
            name, help=command.HELP, description=command.HELP, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        command.add_arguments(own)
        own.set_defaults(run=command.run)
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except InputError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
