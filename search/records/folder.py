"""Where each thing of a run lies, and how a run folder is begun and reopened.  `results/README.md` explains it to users."""

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ceph_core.errors import InputError
from search.records.ledger import LEDGER_NAME


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run; nothing is touched by asking."""

    path: Path

    @property
    def plan_path(self) -> Path:
        """The resolved plan."""
        return self.path / "plan.yaml"

    @property
    def ledger_path(self) -> Path:
        """The record everything else is derived from."""
        return self.path / LEDGER_NAME

    @property
    def splits_path(self) -> Path:
        """Which film stands where."""
        return self.path / "splits.csv"

    @property
    def trials_path(self) -> Path:
        """One row a trial."""
        return self.path / "trials.parquet"

    @property
    def curves_path(self) -> Path:
        """One row a report."""
        return self.path / "curves.parquet"

    @property
    def predictions_path(self) -> Path:
        """One row a model, film and landmark."""
        return self.path / "predictions.parquet"

    @property
    def study_path(self) -> Path:
        """Optuna's storage."""
        return self.path / "study.journal"

    @property
    def earlier_path(self) -> Path:
        """Trials of earlier runs that the sampler began with."""
        return self.path / "warm_start.json"

    @property
    def ensemble_dir(self) -> Path:
        """The export."""
        return self.path / "ensemble"

    @property
    def manifest_path(self) -> Path:
        """What the export says of itself."""
        return self.ensemble_dir / "manifest.json"

    @property
    def report_path(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    @property
    def viewer_path(self) -> Path:
        """The films for people."""
        return self.path / "viewer.html"

    @property
    def pictures_dir(self) -> Path:
        """What the viewer shows of films."""
        return self.path / "viewer"

    def trial_dir(self, trial: str) -> Path:
        """Checkpoints of a trial."""
        return self.path / "trials" / trial

    def error_path(self, trial: str) -> Path:
        """Traceback of a failed trial."""
        return self.trial_dir(trial) / "error.txt"

    def tensorboard_dir(self, trial: str) -> Path:
        """Scalars of a trial."""
        return self.path / "tensorboard" / trial

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Replace plan.yaml (plain values: text, numbers, lists, mappings)."""
        with atomic(self.plan_path) as temporary:
            temporary.write_text(yaml.safe_dump(dict(plan), sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")

    def read_plan(self) -> dict[str, Any]:
        """The plan.

        Raises:
            InputError: plan.yaml is missing or holds no mapping.
        """
        try:
            plan = yaml.safe_load(self.plan_path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise InputError(f"{self.plan_path}: cannot be read as a plan: {error}") from None
        if not isinstance(plan, dict):
            raise InputError(f"{self.plan_path}: holds no plan; restore it, or start a new run")
        return plan


def create(run_dir: Path, plan: Mapping[str, Any]) -> RunFolder:
    """Begin a run: the folder appears whole, with its plan, or not at all.

    Raises:
        InputError: the folder is in use.
    """
    run_dir = Path(run_dir)
    refuse_if_in_use(run_dir)
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    begun = run_dir.with_name(f".{run_dir.name}.{uuid.uuid4().hex[:8]}")
    begun.mkdir()
    try:
        RunFolder(begun).write_plan(plan)
        try:
            begun.rename(run_dir)  # onto nothing or an empty folder; fails if another driver was faster
        except OSError:
            raise _in_use(run_dir) from None
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    return RunFolder(run_dir)


def refuse_if_in_use(run_dir: Path) -> None:
    """Refuse a folder that holds anything, or that cannot be made.

    Raises:
        InputError: which of them.
    """
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise _in_use(run_dir)
    above = next(parent for parent in run_dir.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        what = "may not be written to" if above.is_dir() else "is no folder"
        raise InputError(f"--out {run_dir}: {above} {what}; give another --out")


def _in_use(run_dir: Path) -> InputError:
    return InputError(f"--out {run_dir}: already in use; go on with it by --resume {run_dir}, or give another --out")


def open_for_resume(run_dir: Path) -> RunFolder:
    """The folder of a run that is to go on.

    Raises:
        InputError: it is no run; the message names what is missing.
    """
    folder = RunFolder(Path(run_dir))
    if not folder.path.is_dir():
        raise InputError(f"--resume {run_dir}: no such folder; `python -m search list` shows the runs there are")
    if not folder.plan_path.exists():
        raise InputError(f"--resume {run_dir}: not a run, plan.yaml is missing; `python -m search list` shows the runs there are")
    folder.read_plan()
    return folder


def find_runs(root: Path) -> list[RunFolder]:
    """Runs in a folder (or the folder itself, if it is a run), by name; also what is left of one that has lost its plan."""
    if _is_run(RunFolder(root)):
        return [RunFolder(root)]
    found = [RunFolder(path) for path in sorted(root.iterdir()) if not path.name.startswith(".")] if root.is_dir() else []
    return [run for run in found if _is_run(run)]


def _is_run(folder: RunFolder) -> bool:
    return folder.plan_path.exists() or folder.ledger_path.exists()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and is gone otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
