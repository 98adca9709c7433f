"""Training state on disk: written whole or not at all, read without running code."""

import os
from pathlib import Path
from typing import Any

import torch

from ceph_core.errors import InputError

STATE_FILE = "state.pt"
FORMAT = 2


def save(folder: Path, state: dict[str, Any]) -> Path:
    """Write `state` (tensors and plain values) to `folder`/state.pt atomically; a crash leaves the old one.

    One process writes a folder at a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f".{STATE_FILE}.*"):  # of a process that was killed half-way
        left.unlink()
    path = folder / STATE_FILE
    temporary = folder / f".{STATE_FILE}.{os.getpid()}"
    try:
        with temporary.open("wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load(path: Path) -> dict[str, Any]:
    """Read a state on the CPU with `weights_only=True`; `path` is the file or its folder.

    Raises:
        InputError: missing, unreadable, or of another format.
    """
    path = path / STATE_FILE if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; give a folder with {STATE_FILE} or the file itself")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).splitlines() or ["no message"])[0]
        raise InputError(f"{path}: cannot be read as a checkpoint ({type(error).__name__}: {reason}); restore it or start anew") from error
    found = state.get("format") if isinstance(state, dict) else None
    if found != FORMAT:
        raise InputError(f"{path}: checkpoint format {found!r}; this version reads {FORMAT}")
    return dict(state)
