"""What a run can be watched with, as commands to copy.  Pure; docs/watching.md says more."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from search.records import RunFolder

TOKEN_HINT = "asks for the token that `ray get-auth-token` prints"


def ways(run: RunFolder, dashboard: str, prometheus_config: str = "") -> list[tuple[str, str]]:
    """(what one sees, how) of a run.

    Args:
        dashboard: HOST:PORT of Ray's; empty: none.
        prometheus_config: of Ray's session; empty: none.
    """
    found = [("machines, actors", f"http://{dashboard}  ({TOKEN_HINT})")] if dashboard else []
    found += [
        ("trials, knobs", f"optuna-dashboard {_short(run.study_path)}"),
        ("curves, films", f"tensorboard --logdir {_short(run.tensorboard_dir(''))}"),
    ]
    if prometheus_config:
        found.append(("metrics", f"prometheus --config.file={shlex.quote(prometheus_config)}"))
    return [*found, ("all runs", f"python -m search list {_short(run.path.parent)}")]


def lines(found: Sequence[tuple[str, str]]) -> list[str]:
    """One line a way, the commands below one another."""
    width = max(len(what) for what, _ in found)
    return [f"  {what:<{width}}  {how}" for what, how in found]


def _short(path: Path) -> str:
    """The path as one would type it here."""
    from_here = os.path.relpath(path)
    return shlex.quote(str(path) if from_here.startswith("..") else from_here)
