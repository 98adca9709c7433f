"""`python -m ceph_core COMMAND`: exit code 0 done, 1 failed, 2 the user's input, 130 interrupted."""

import sys
from collections.abc import Sequence

from ceph_core.commands import Program, dispatch

PROGRAM = Program("ceph_core.commands", "python -m ceph_core", "Cephalometric landmarks: train, use and check networks.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    return dispatch(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
