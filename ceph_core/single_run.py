"""One training without a search: its folder, its clock and what it says of itself."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout
from tensorboardX import SummaryWriter

from ceph_core import data as datasets
from ceph_core.config import Config, SourceConfig
from ceph_core.data.films import TrainingData
from ceph_core.data.fingerprint import dataset_fingerprint
from ceph_core.duration import duration
from ceph_core.errors import InputError
from ceph_core.inference.averaging import Finalist, best, finalists, write_finalist
from ceph_core.inference.held_out import validation_answers, write_doubts
from ceph_core.run_plan import Plan, Stage1
from ceph_core.training.checkpoint import STATE_FILE, Saver
from ceph_core.training.health import Health, changes, findings, stops_for
from ceph_core.training.out_of_memory import OutOfMemory
from ceph_core.training.plan import relative_cost
from ceph_core.training.result import EpochResult, scalars
from ceph_core.training.snapshots import SNAPSHOT_FOLDER, Snapshots
from ceph_core.training.timing import ending_seconds, fitting_epochs, full_epochs, measure, with_epochs
from ceph_core.training.trainer import Training, difference

TENSORBOARD_FOLDER, LOCK_FILE = "tensorboard", "run.lock"

_MARGIN = 0.95
"""Share of the time left that the epochs may take by the measured price: machines have slow minutes."""
_END_S = 3.0
"""Kept for writing what was trained and for its shape file."""


__all__ = ["Diverged", "Hopeless", "Interrupted", "OutOfMemory", "can_resume", "resume", "start"]


class Interrupted(Exception):
    """Ctrl-C at the end of an epoch; the message says what was saved."""


class Diverged(Exception):
    """The loss is no number any more."""


class Hopeless(Exception):
    """The run will come to nothing, and `train.stop_hopeless` says to stop then."""


def start(out: Path, source: SourceConfig, config: Config, minutes: float | None = None, goes_on_from: Stage1 | None = None) -> Path:
    """Train a new run; the folder appears once everything that may be wrong has been looked at.

    Args:
        out: empty or not there.
        source: the films.
        config: the training.
        minutes: wall time of the whole run; replaces `train.epochs` by what fits.
        goes_on_from: weights, optimizer and epoch to begin with; the change of plan is said.

    Returns:
        The folder of the member, or of the ensemble where averaged answers are best.

    Raises:
        InputError: the input is wrong, the folder in use, or the time too short for an epoch.
        Interrupted: Ctrl-C; the state is saved.
        Diverged: the loss is no number.
        Hopeless: with `train.stop_hopeless`; the state is saved.
    """
    began = time.monotonic()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: already in use; go on with it by --resume, or give another --out")
    if minutes is not None and goes_on_from is not None:
        raise InputError("--minutes: cannot choose the epochs of a run that goes on from a checkpoint; give --epochs")
    if minutes is not None and minutes <= 0:
        raise InputError(f"--minutes: must be above 0, got {minutes:g}")
    data = _open(source)
    for note in data.splits.notes:
        _say(note)
    if minutes is not None:
        config = _fitted(config, data, began + minutes * 60)
    if goes_on_from is not None:
        changes = difference(goes_on_from.config, config)
        _say(f"goes on from {goes_on_from.state}; {'changed: ' + changes if changes else 'the plan is unchanged'}")
    training = Training(config, data, goes_on_from.state if goes_on_from else None, changed=goes_on_from is not None)
    plan = Plan(config, source, dataset_fingerprint(data.dataset, data.cache_dir))
    plan.write(out)
    with _locked(out):
        if goes_on_from is not None:
            training.save(out)  # or an early interruption would begin anew, without the weights
        return _train(out, training)


def resume(out: Path) -> Path:
    """Go on with a run; the same return value and errors as `start`'s."""
    plan = Plan.read(out)
    with _locked(out):
        data = _open(plan.source)
        if (found := dataset_fingerprint(data.dataset, data.cache_dir)) != plan.fingerprint:
            raise InputError(
                f"--resume: {out}: the films in {data.dataset.root} are not those it began with (fingerprint {found[:12]}, was "
                f"{plan.fingerprint[:12]}); restore them, or start a new run"
            )
        return _train(out, Training(plan.config, data, out if can_resume(out) else None))


def can_resume(out: Path) -> bool:
    """Whether a state was saved there."""
    return (out / STATE_FILE).is_file()


def _open(source: SourceConfig) -> TrainingData:
    cache_dir = datasets.default_cache_dir()
    dataset = datasets.read(source, cache_dir)
    return TrainingData.of(dataset, source, cache_dir)


def _fitted(config: Config, data: TrainingData, end: float) -> Config:
    """As many epochs as fit until `end` (of the monotonic clock)."""
    began = time.monotonic()
    cost = measure(config, data)
    left = (end - time.monotonic()) * _MARGIN - _END_S - ending_seconds(config, cost, data)
    epochs = fitting_epochs(config, cost, data, left)
    prices = ", ".join(f"{each.epoch(data):.1f} s" for each in cost.values())
    if epochs < 1:
        raise InputError(f"--minutes: an epoch takes {prices} here and {max(left, 0):.0f} s are left; give more time or a smaller setting")
    _say(f"--minutes: an epoch takes {prices} (tried for {time.monotonic() - began:.0f} s), so train.epochs is {epochs}")
    return with_epochs(config, epochs)


def _train(out: Path, training: Training) -> Path:
    config, data = training.config, training.data
    _say(
        f"{config.model.name} on {training.device}, {training.precision}: {len(data.train_ids)} training and "
        f"{len(data.validation_ids)} validation films of {data.dataset.name}, epochs {training.epoch + 1} to {config.train.epochs}"
    )
    saver, snapshots = Saver(out), Snapshots(out / SNAPSHOT_FOLDER, config)
    names = training.health.names
    with (
        closing(saver),
        SummaryWriter(str(out / TENSORBOARD_FOLDER), purge_step=training.epoch + 1, flush_secs=10) as writer,
        _StopSignal() as stop,
    ):
        for result in training:
            training.offer(snapshots, result)
            for tag, value in scalars(result.figures()).items():
                writer.add_scalar(tag, value, result.epoch)
            _say(_line(config, result))
            if result.diverged:
                raise Diverged(f"epoch {result.epoch}: the loss is no number; lower train.lr ({config.train.lr:g})")
            for change in changes(config, names, result.health):
                _say(change)
            names = result.health
            is_last = result.epoch == config.train.epochs
            is_interrupted = stop.asked and not is_last
            lost = stops_for(config, names, result.epoch)
            if saver.is_due or is_interrupted or lost or is_last:
                saver.save(training.state())
            if lost or is_interrupted:
                saver.wait()
            if lost:
                (finding,) = findings(config, [lost])
                raise Hopeless(f"epoch {result.epoch}: hopeless: {finding}; the state is kept, no member is written")
            if is_interrupted:
                raise Interrupted(f"epoch {result.epoch} is saved")
    found = finalists(config, data, training.learner.ema.net.state_dict(), snapshots.kept(), training.device, _say)
    training.close()
    chosen = best(found)
    folder = write_finalist(out, config, data, chosen)
    for missing in write_doubts(folder, data, validation_answers(folder, data)):
        _say(missing)
    _say(_verdict(chosen, training.health))
    return folder


def _line(config: Config, result: EpochResult) -> str:
    validation = "not validated"
    if result.validated:
        validation = f"validation MRE {result.val.mre_mm:.2f} mm, SDR@2 {result.val.sdr_2mm:.0f} %"
    left = result.seconds / relative_cost(config, result.epoch) * full_epochs(config, result.epoch)
    return (
        f"epoch {result.epoch}/{config.train.epochs}: loss {result.train_loss:.4f}, {validation} "
        f"({result.image_size} px, batch {result.batch_size}{_cut(result)}, {result.seconds:.1f} s, "
        f"{result.films_per_s:.1f} films/s); about {duration(left)} left"
    )


def _cut(result: EpochResult) -> str:
    return f" in {result.micro_batch}s" if result.micro_batch < result.batch_size else ""


def _verdict(chosen: Finalist, health: Health) -> str:
    """What the run leaves behind, in a line."""
    if health.last is None:
        return f"trained: {chosen.name}; no validation films, so no tier"
    return (
        f"trained: {chosen.name}, validation MRE {chosen.mre_mm:.2f} mm; tier: {chosen.tier}; "
        f"against the guide's trajectory: {health.trajectory}"
    )


class _StopSignal:
    """The first Ctrl-C asks for a stop at the end of the epoch, where a state is exact; the second one stops at once."""

    asked = False

    def __enter__(self) -> "_StopSignal":
        self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _say("stopping at the end of this epoch; Ctrl-C again stops at once and loses what was not saved")


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    try:
        with FileLock(out / LOCK_FILE, timeout=0):
            yield
    except Timeout:
        raise InputError(f"--out {out}: another process trains in it; wait for it, or give another --out") from None


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
