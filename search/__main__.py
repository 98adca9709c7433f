"""`python -m search COMMAND`: exit code 0 done, 1 failed, 2 the user's input, 130 interrupted."""

import sys
from collections.abc import Sequence

from ceph_core.commands import Program, dispatch

PROGRAM = Program("search.commands", "python -m search", "Runs of the search: look at them, end them, take their ensemble.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    return dispatch(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
