"""Training state on disk: written whole or not at all, while training goes on; read without running code."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ceph_core.errors import InputError

STATE_FILE = "state.pt"
FORMAT = 3

SAVE_INTERVAL_S, SAVE_SHARE = 30.0, 20
"""A training saves when this long, and this many times as long as its last save took, has gone by: at most 5 % of the time."""


def save(folder: Path, state: dict[str, Any]) -> Path:
    """Write `state` (tensors and plain values) to `folder`/state.pt atomically; a crash leaves the old one.

    One process writes a folder at a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f".{STATE_FILE}.*"):  # of a process that was killed half-way
        left.unlink(missing_ok=True)  # one that was given up for lost may still have been at it
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
        raise InputError(f"{path}: {_unreadable(error)}; restore it or start anew") from error
    found = state.get("format") if isinstance(state, dict) else None
    if found != FORMAT:
        raise InputError(f"{path}: checkpoint format {found!r}; this version reads {FORMAT}")
    return dict(state)


def damage(path: Path) -> str | None:
    """What makes a state file unreadable, without reading its tensors; None: nothing was found."""
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        return _unreadable(error)
    return None


def _unreadable(error: Exception) -> str:
    return f"cannot be read as a checkpoint ({type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]})"


class Saver:
    """Saves one training's states to one folder in the background, one at a time.

    `save` holds training up for one copy of the tensors, on the device they lie on and into memory that is kept for the next;
    a thread of its own moves and writes the copy.  What went wrong there is raised by the next `save`, `wait` or `close`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[float] | None = None
        self._copies: list[Tensor] = []
        self._saved_at, self._took_s = time.monotonic(), 0.0

    @property
    def is_due(self) -> bool:
        """Whether the last state is old enough for another."""
        return time.monotonic() - self._saved_at > max(SAVE_INTERVAL_S, SAVE_SHARE * self._took_s)

    def save(self, state: Mapping[str, Any]) -> None:
        """Begin to write this state as it is now, after the one before is on the disk.

        Args:
            state: mappings, lists, tensors and plain values; tensors may change afterwards, whatever holds them may not.
        """
        self.wait()
        tensors = list(_tensors_in(state))
        if len(self._copies) != len(tensors):  # the first save, or AdamW's moments have come to be
            self._copies = _room_for(tensors)
        _copy(self._copies, tensors)
        ready = torch.cuda.Event() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
        if ready is not None:
            ready.record()
        self._saved_at = time.monotonic()
        self._pending = self._pool.submit(self._write, state, ready)

    def wait(self) -> None:
        """Return once everything that was saved is on the disk."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self._took_s = pending.result()

    def close(self) -> None:
        """Wait, and save no more."""
        try:
            self.wait()
        finally:
            self._pool.shutdown()
            self._copies.clear()

    def _write(self, state: Mapping[str, Any], ready: "torch.cuda.Event | None") -> float:
        started = time.monotonic()
        on_host = self._copies
        if ready is not None:
            # A stream of its own: on the training's, the copy to the host would hold up every step behind it.
            with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
                ready.wait()
                on_host = [tensor.cpu() for tensor in self._copies]
        save(self.folder, _with_tensors(state, iter(on_host)))
        return time.monotonic() - started


def _room_for(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors alike where they lie; on the host if a GPU has no room for them."""
    try:
        return [torch.empty_like(tensor) for tensor in tensors]
    except torch.OutOfMemoryError:
        return [torch.empty_like(tensor, device="cpu") for tensor in tensors]


@torch.no_grad()
def _copy(copies: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
    """All at once by kind: a GPU then starts a few kernels in the place of thousands."""
    for is_float in (True, False):
        pairs = [(own, tensor) for own, tensor in zip(copies, tensors, strict=True) if tensor.is_floating_point() == is_float]
        if pairs:
            torch._foreach_copy_([own for own, _ in pairs], [tensor for _, tensor in pairs])


def _tensors_in(part: Any) -> Iterator[Tensor]:
    """Every tensor of a state, in the order that `_with_tensors` puts them back."""
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, Mapping | list):
        for each in part.values() if isinstance(part, Mapping) else part:
            yield from _tensors_in(each)


def _with_tensors(part: Any, others: Iterator[Tensor]) -> Any:
    """The same tree with its tensors exchanged, one after the other."""
    if isinstance(part, Tensor):
        return next(others)
    if isinstance(part, Mapping):
        return {key: _with_tensors(value, others) for key, value in part.items()}
    return [_with_tensors(value, others) for value in part] if isinstance(part, list) else part
