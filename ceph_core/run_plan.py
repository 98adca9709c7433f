"""What a training without a search writes down before it begins, and what another may go on from."""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ceph_core import __version__
from ceph_core.config import Config, SourceConfig, problems_of
from ceph_core.errors import InputError
from ceph_core.training import checkpoint

PLAN_FILE = "plan.yaml"


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


@dataclass(frozen=True)
class Stage1:
    """A checkpoint whose weights another plan goes on from.

    Attributes:
        state: of the checkpoint, a file or the run folder it lies in.
        config: it was trained by.
        source: of its films, where its run's plan lies beside it.
    """

    state: Path
    config: Config
    source: SourceConfig | None

    @classmethod
    def of(cls, path: Path) -> "Stage1":
        """What lies there.

        Raises:
            InputError: no checkpoint, or one of another version.
        """
        saved = checkpoint.load(path)
        try:
            config = Config.model_validate(saved["config"])
        except ValidationError as error:
            raise InputError(problems_of(error, f"{path}: was written by another version")) from error
        folder = path if path.is_dir() else path.parent
        return cls(path, config, Plan.read(folder).source if (folder / PLAN_FILE).is_file() else None)
