"""What stays with the driver though Ray pickles it."""

from typing import Any


class DriverSide:
    """Ray snapshots searcher, scheduler and callbacks with the Tuner, for a `Tuner.restore` that we never use; the snapshot is empty.

    They hold the ledger and the terminal, which cannot be pickled, and whose state the ledger is.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {}
