"""A training inside a Ray actor.  Actors are reused: a second trial on a node starts in a fraction of a second."""

import importlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from ray import tune

from ceph_core.config import Config
from ceph_core.data.films import OWN_SPLIT, TrainingData
from ceph_core.training.checkpoint import STATE_FILE, Saver
from ceph_core.training.examples import Example
from ceph_core.training.progressive import epoch_of_share
from ceph_core.training.snapshots import SNAPSHOT_FOLDER, Snapshots
from ceph_core.training.trainer import EpochResult, Training
from search import overlays
from search.records import atomic

REPORTS_FILE = "reports.jsonl"
OWNER_FILE = "owner"
"""Names the actor that may write to a trial's folder, the last that began: one that was given up for lost may live on for a while, on a
node that cannot be reached, or until it notices that its driver is gone."""


class TrainingLike(Protocol):
    """What a trial consumes: `ceph_core.training.Training`, or a made-up curve in tests."""

    epoch: int
    examples: tuple[Example, ...]

    def __iter__(self) -> Iterator[EpochResult]: ...

    def __next__(self) -> EpochResult: ...

    def offer(self, snapshots: Snapshots, result: EpochResult) -> None:
        """Let the epoch's averaged weights be kept, if they are among the best."""

    def state(self) -> dict[str, Any]:
        """What an exact resume needs."""

    def close(self) -> None:
        """Free the device."""


BuildTraining = Callable[[Config, TrainingData | None, Path | None], TrainingLike]


@dataclass(frozen=True)
class Shared:
    """What every trial of a run has in common; sent to a node once.

    Attributes:
        data: films and their split.
        rungs: shares of a trial's epochs after which it is validated and its state is saved.
        threads: CPU threads of a trial.
        on_gpu: whether a trial has a GPU, or a share of one; without, it keeps off those it might see.
        build: `module:function` in the place of `Training`, for tests of the search.
    """

    data: TrainingData | None
    rungs: tuple[float, ...]
    threads: int
    on_gpu: bool
    build: str | None = None


@dataclass(frozen=True)
class Order:
    """One trial's own part; plain values, for Ray's sake.

    Attributes:
        trial: id in the run folder.
        config: dump of the whole `Config`.
        folder: where state and reports go.
        reported: last epoch that the ledger holds.
        start_from: folder of another trial whose state is taken if this one has none yet.
        fold: of films that validate, or OWN_SPLIT or EVERY_FILM.
        places: how many of the places at which trials run it takes: more than one, and it has several shares of a GPU.
    """

    trial: str
    config: dict[str, Any]
    folder: str
    reported: int = 0
    start_from: str | None = None
    fold: int = OWN_SPLIT
    places: int = 1


class LandmarkTrial(tune.Trainable):
    """One epoch a step.  A failure raises: Ray then retires the actor, and with it a poisoned CUDA context."""

    _training: TrainingLike | None
    _unheard: list[dict[str, Any]]
    _saver: Saver
    _snapshots: Snapshots
    _dirty: bool
    _token: str

    def setup(self, config: dict[str, Any], shared: Shared) -> None:  # type: ignore[override]  # with_parameters adds one
        """A new actor."""
        self._shared = shared
        torch.set_num_threads(shared.threads)
        self._begin(config)

    def __repr__(self) -> str:
        """What Ray's dashboard shows; it asks once, so that it cannot say which trial an actor that is used again has come to."""
        return f"trials of {self._folder.parents[1].name}, {self._folder.name} first"

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The actor is reused for another trial.  Never False: that would mark the new trial failed."""
        self._leave()
        self._begin(new_config)
        return True

    def cleanup(self) -> None:
        """The actor ends: its trial was stopped, or the run interrupted."""
        self._leave()

    def step(self) -> dict[str, Any]:
        """Train an epoch, or hand out one that an earlier driver did not live to hear of."""
        if self._training is None:
            self._training = self._open()
        if self._unheard:
            return self._unheard.pop(0)
        self._dirty = False  # an epoch that fails half-way must not be saved as if it were whole
        result = next(iter(self._training))
        figures = result.figures()
        if not self._is_owner():
            raise RuntimeError(f"{self._folder}: another worker has gone on with this trial")
        # First the report, then the state: a state must never be ahead of its reports, not even after a power cut.  The line
        # break comes first, so that a line cut short by a kill spoils no other.
        with (self._folder / REPORTS_FILE).open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(figures))
            file.flush()
            os.fsync(file.fileno())
        self._dirty = True
        if self._config.train.snapshots:
            self._training.offer(self._snapshots, result)
        total = self._config.train.epochs
        rungs = {epoch_of_share(share, total) for share in self._shared.rungs}
        is_mark = result.epoch in rungs or result.epoch == total
        if is_mark:
            overlays.put(self._folder, result.epoch, self._training.examples)
        if is_mark or self._saver.is_due:
            self._save()
        if result.epoch == total:
            self._saver.wait()  # whoever hears of the end may read the state at once
        return figures

    def _begin(self, config: dict[str, Any]) -> None:
        """Take an order; building waits for the first step, so that its errors are the trial's."""
        self._order = Order(**config["order"])
        self._config = Config.model_validate(self._order.config)
        self._folder = Path(self._order.folder)
        self._training = None
        self._unheard = []
        self._dirty = False

    def _open(self) -> TrainingLike:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._claim()
        told = read_reports(self._folder)
        resume: Path | None = self._folder
        if not (self._folder / STATE_FILE).exists():
            other = self._order.start_from
            resume = Path(other) if other is not None and (Path(other) / STATE_FILE).exists() else None
            if resume is not None:
                told = {**read_reports(resume), **told}
                if (resume / SNAPSHOT_FOLDER).exists():
                    shutil.copytree(resume / SNAPSHOT_FOLDER, self._folder / SNAPSHOT_FOLDER, dirs_exist_ok=True)
        training = self._begun(resume)
        unheard = range(self._order.reported + 1, training.epoch + 1)
        if any(epoch not in told for epoch in unheard):  # reports were lost: training from the first epoch on makes them again
            training.close()
            training = self._begun(None)
            unheard = range(0)
        self._saver = Saver(self._folder)
        self._snapshots = Snapshots(self._folder / SNAPSHOT_FOLDER, self._config)
        self._unheard = [told[epoch] for epoch in unheard]
        return training

    def _begun(self, resume: Path | None) -> TrainingLike:
        """The training as the folder's state left it; None: at its beginning."""
        data = self._shared.data
        data = data.for_fold(self._order.fold) if data is not None else None
        if self._shared.build:
            return _named(self._shared.build)(self._config, data, resume)
        assert data is not None
        return Training(self._config, data, resume, self._device(), self._shared.rungs)

    def _claim(self) -> None:
        self._token = uuid.uuid4().hex
        with atomic(self._folder / OWNER_FILE) as temporary:
            temporary.write_text(self._token, encoding="utf-8")

    def _is_owner(self) -> bool:
        """Whether no other actor has begun to train this trial since."""
        return (self._folder / OWNER_FILE).read_text(encoding="utf-8") == self._token

    def _device(self) -> torch.device:
        """The GPU that Ray gave this actor, or the CPU; never one in the place of the other."""
        if self._shared.on_gpu and not torch.cuda.is_available():
            raise RuntimeError(
                "the trial was given a GPU, but torch sees none on this node: check its driver and that torch is a CUDA build"
            )
        return torch.device("cuda" if self._shared.on_gpu else "cpu")

    def _save(self) -> None:
        assert self._training is not None
        self._saver.save(self._training.state())
        self._dirty = False

    def _leave(self) -> None:
        if self._training is None:
            return
        training, self._training = self._training, None
        try:
            if self._dirty and self._is_owner():
                self._saver.save(training.state())
            self._saver.close()
        finally:
            training.close()


def read_reports(folder: Path) -> dict[int, dict[str, Any]]:
    """The epochs a trial has ended, by number; the first entry of an epoch stays, a torn line is left out."""
    path = folder / REPORTS_FILE
    reports: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            figures = json.loads(line)
        except ValueError:
            continue
        reports.setdefault(int(figures["epoch"]), figures)
    return reports


def _named(name: str) -> BuildTraining:
    module, _, function = name.partition(":")
    build: BuildTraining = getattr(importlib.import_module(module), function)
    return build
