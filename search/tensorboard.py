"""TensorBoard scalars of every trial, written from the ledger's events as they come."""

from tensorboardX import SummaryWriter

from ceph_core.training.result import scalars
from search.records import Event, RunFolder


class Scalars:
    """An observer of the ledger; one writer a live trial."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._writers: dict[str, SummaryWriter] = {}

    def on_event(self, event: Event) -> None:
        """Write a report's scalars by epoch; close a trial's file at its end."""
        if event["event"] == "report":
            writer = self._writers.get(event["trial"])
            if writer is None:
                writer = self._writers[event["trial"]] = SummaryWriter(str(self._run.tensorboard_dir(event["trial"])), flush_secs=10)
            for tag, value in scalars(event).items():
                writer.add_scalar(tag, value, event["epoch"])
        elif event["event"] == "end":
            writer = self._writers.pop(event["trial"], None)
            if writer is not None:
                writer.close()

    def close(self) -> None:
        """Close every file."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
