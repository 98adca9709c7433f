"""One training without a search: its folder, its clock and what it says of itself."""

import platform
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from filelock import FileLock, Timeout
from pydantic import ValidationError
from tensorboardX import SummaryWriter

from ceph_core import __version__
from ceph_core import data as datasets
from ceph_core.config import Config, SourceConfig, apply, problems_of
from ceph_core.data.films import TrainingData
from ceph_core.data.fingerprint import dataset_fingerprint
from ceph_core.duration import duration
from ceph_core.errors import InputError
from ceph_core.inference.member import save_member
from ceph_core.training.checkpoint import STATE_FILE, Saver
from ceph_core.training.health import Health, changes, findings, hopeless
from ceph_core.training.result import EpochResult, scalars
from ceph_core.training.timing import area_epochs, fitting_epochs, measure, with_epochs
from ceph_core.training.trainer import Training

PLAN_FILE, MEMBER_FOLDER, TENSORBOARD_FOLDER, LOCK_FILE = "plan.yaml", "member", "tensorboard", "run.lock"

_MARGIN = 0.95
"""Share of the time left that the epochs may take by the measured price: machines have slow minutes."""


class Interrupted(Exception):
    """Ctrl-C at the end of an epoch; the message says what was saved."""


class Diverged(Exception):
    """The loss is no number any more."""


class Hopeless(Exception):
    """The run will come to nothing, and `train.stop_hopeless` says to stop then."""


@dataclass(frozen=True)
class Plan:
    """What plan.yaml holds: a run can be repeated and resumed from it."""

    config: Config
    source: SourceConfig
    fingerprint: str

    def write(self, out: Path) -> None:
        """Make the folder of a new run."""
        out.mkdir(parents=True, exist_ok=True)
        tree: dict[str, Any] = {
            "config": self.config.model_dump(mode="json"),
            "source": self.source.model_dump(mode="json"),
            "fingerprint": self.fingerprint,
            "versions": {
                "python": platform.python_version(),
                "ceph-search": __version__,
                "torch": version("torch"),
                "timm": version("timm"),
            },
        }
        (out / PLAN_FILE).write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")

    @classmethod
    def read(cls, out: Path) -> "Plan":
        """The plan of a run.

        Raises:
            InputError: no run lies there, or its plan was edited into something else.
        """
        path = out / PLAN_FILE
        if not path.is_file():
            raise InputError(f"--resume: {out}: no run of `train` ({PLAN_FILE} is missing); give the --out of one")
        try:
            tree = yaml.safe_load(path.read_text(encoding="utf-8"))
            return cls(Config.model_validate(tree["config"]), SourceConfig.model_validate(tree["source"]), str(tree["fingerprint"]))
        except ValidationError as error:
            raise InputError(problems_of(error, str(path))) from error
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise InputError(f"{path}: no plan of `train` ({type(error).__name__}: {error}); restore it, or start a new run") from error


def configure(overrides: Sequence[str]) -> Config:
    """The default configuration with `KEY=VALUE`s, whose values are YAML.

    Raises:
        InputError: not of this form, unknown keys, values out of range: all of them at once.
    """
    values, problems = {}, []
    for text in overrides:
        key, equals, raw = text.partition("=")
        if not equals or not key:
            problems.append(f"--set {text}: must be KEY=VALUE, such as train.lr=1e-3")
            continue
        try:
            values[key] = yaml.safe_load(raw)
        except yaml.YAMLError as error:
            problems.append(f"--set {text}: {raw!r} is not valid YAML ({str(error).splitlines()[0]})")
    try:
        config = apply(Config(), values, "--set")
    except InputError as error:
        raise InputError([*problems, *error.problems]) from None
    if problems:
        raise InputError(problems)
    return config


def start(out: Path, source: SourceConfig, config: Config, minutes: float | None = None) -> Path:
    """Train a new run; the folder appears once everything that may be wrong has been looked at.

    Args:
        out: empty or not there.
        source: the films.
        config: the training.
        minutes: wall time of the whole run; replaces `train.epochs` by what fits.

    Returns:
        The member's folder.

    Raises:
        InputError: the input is wrong, the folder in use, or the time too short for an epoch.
        Interrupted: Ctrl-C; the state is saved.
        Diverged: the loss is no number.
        Hopeless: with `train.stop_hopeless`; the state is saved.
    """
    began = time.monotonic()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: already in use; go on with it by --resume, or give another --out")
    if minutes is not None and minutes <= 0:
        raise InputError(f"--minutes: must be above 0, got {minutes:g}")
    data = _open(source)
    for note in data.splits.notes:
        _say(note)
    if minutes is not None:
        config = _fitted(config, data, began + minutes * 60)
    training = Training(config, data)
    plan = Plan(config, source, dataset_fingerprint(data.dataset, data.cache_dir))
    plan.write(out)
    with _locked(out):
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
    left = (end - time.monotonic()) * _MARGIN
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
    saver = Saver(out)
    names = training.health.names
    with (
        closing(saver),
        SummaryWriter(str(out / TENSORBOARD_FOLDER), purge_step=training.epoch + 1, flush_secs=10) as writer,
        _StopSignal() as stop,
    ):
        for result in training:
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
            lost = hopeless(names, result.epoch, config.train.epochs) if config.train.stop_hopeless and not is_last else None
            if saver.is_due or is_interrupted or lost or is_last:
                saver.save(training.state())
            if lost or is_interrupted:
                saver.wait()
            if lost:
                (finding,) = findings(config, [lost])
                raise Hopeless(f"epoch {result.epoch}: hopeless: {finding}; the state is kept, no member is written")
            if is_interrupted:
                raise Interrupted(f"epoch {result.epoch} is saved")
    _say(_verdict(training.health))
    member = out / MEMBER_FOLDER
    canvas = data.canvas(config.data.image_size)
    weights = training.learner.ema.net.state_dict()
    save_member(member, config, canvas, weights, len(data.dataset.protocol), trial=out.name, epoch=training.epoch)
    training.close()
    return member


def _line(config: Config, result: EpochResult) -> str:
    area = (result.image_size / config.data.image_size) ** 2
    validation = "not validated"
    if result.validated:
        validation = f"validation MRE {result.val.mre_mm:.2f} mm, SDR@2 {result.val.sdr_2mm:.0f} %"
    left = result.seconds / area * area_epochs(config, result.epoch)
    return (
        f"epoch {result.epoch}/{config.train.epochs}: loss {result.train_loss:.4f}, {validation} "
        f"({result.image_size} px, batch {result.batch_size}, {result.seconds:.1f} s, "
        f"{result.films_per_s:.1f} films/s); about {duration(left)} left"
    )


def _verdict(health: Health) -> str:
    """How the run has ended, in a line."""
    last = health.last
    assert last is not None  # the last epoch is validated
    figures = f"validation MRE {last.mre_mm:.2f} mm, SDR@2 {last.sdr_2mm:.0f} %, SDR@4 {last.sdr_4mm:.0f} %"
    return f"trained: {figures}; tier: {health.tier}; against the guide's trajectory: {health.trajectory}"


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
