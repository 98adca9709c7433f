"""TensorBoard of every trial, written from the ledger's events as they come: scalars, knobs and a few films with their points.

One writer a trial, here: TensorBoard reads one event file of a folder at a time, so that a second one, of the trial's own process, would
hide the first.
"""

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.proto.summary_pb2 import Summary

from ceph_core.training.result import scalars
from search import hparams, overlays
from search.records import Event, RunFolder
from search.space.knobs import Knob

BEST_TAG = "val/best_MRE_mm"
_METRICS = {BEST_TAG: "best val MRE, mm", "val/MRE_mm": "last val MRE, mm", "val/SDR_2mm": "last SDR 2 mm, %"}
_FLUSH_S = 10


class TensorBoard:
    """An observer of the ledger; one writer a live trial.

    Args:
        knobs: the columns of its HParams page.
        past: the ledger of earlier drivers.
    """

    def __init__(self, run: RunFolder, knobs: Sequence[Knob], past: Iterable[Event] = ()) -> None:
        self._run = run
        self._writers: dict[str, SummaryWriter] = {}
        self._best_mm: dict[str, float] = {}
        for event in past:
            if event["event"] == "report":
                self._best(event)
        top = run.tensorboard_dir("")
        if not any(top.glob("events.*")):
            writer = SummaryWriter(str(top))
            writer.file_writer.add_summary(hparams.experiment(knobs, _METRICS, time.time()))
            writer.close()

    def on_event(self, event: Event) -> None:
        """Write a trial's knobs when it is announced, a report's figures by epoch; close its file at its end."""
        kind, trial = event["event"], event.get("trial")
        if kind == "trial":
            self._add(event, hparams.session_start(event["trial"], event["values"], event["time"]), None)
        elif kind == "report":
            best_mm = self._best(event)
            found = scalars(event) | ({BEST_TAG: best_mm} if math.isfinite(best_mm) else {})
            for tag, value in found.items():
                self._writer(event).add_scalar(tag, value, event["epoch"])
            for film, picture in overlays.take(self._run.trial_dir(event["trial"]), event["epoch"]):
                height, width = overlays.size_of(picture)
                image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=picture)
                self._add(event, Summary(value=[Summary.Value(tag=f"validation film {film}", image=image)]), event["epoch"])
        elif kind == "end":
            self._add(event, hparams.session_end(event["status"], event["time"]), None)
            self._writers.pop(str(trial)).close()

    def close(self) -> None:
        """Close every file."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _writer(self, event: Event) -> Any:
        trial = event["trial"]
        if trial not in self._writers:
            folder = self._run.tensorboard_dir(trial)
            number = len(list(folder.glob("events.*")))  # a driver each; the second of a second would take the first one's name
            self._writers[trial] = SummaryWriter(str(folder), flush_secs=_FLUSH_S, filename_suffix=f".{number}")
        return self._writers[trial]

    def _add(self, event: Event, summary: Summary, epoch: int | None) -> None:
        self._writer(event).file_writer.add_summary(summary, epoch)

    def _best(self, event: Event) -> float:
        """The trial's lowest validation MRE up to this report, mm; infinite before any."""
        value = event.get("val_mre_mm")
        best = self._best_mm.get(event["trial"], math.inf)
        if value is not None and math.isfinite(value):
            best = self._best_mm[event["trial"]] = min(best, value)
        return best
