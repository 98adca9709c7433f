"""The ledger: one JSON event a line, appended and synced while a run lives; everything else is derived from it."""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from filelock import FileLock, Timeout

from ceph_core.errors import InputError

Event = dict[str, Any]

LEDGER_NAME = "ledger.jsonl"
LOCK_NAME = "driver.lock"

# A reader that asks whether a driver lives holds the lock for an instant; a starting driver outwaits it.
_LOCK_PATIENCE_S = 2.0


@dataclass(frozen=True)
class LedgerEnd:
    """How far a ledger was read: so many bytes, in so many lines."""

    bytes: int = 0
    lines: int = 0


class Journal(Protocol):
    """What a policy needs of a ledger."""

    def append(self, event: Mapping[str, Any]) -> bool:
        """Keep an event; False, and nothing kept, if its key is there already."""

    def append_searched(self, reason: str) -> bool:
        """No trial will be proposed any more."""

    def events(self) -> Iterator[Event]:
        """All events in order."""


class Ledger:
    """Append-only record of one run, open in one driver at a time (used from one thread).

    The first entry of a key stays: a trial is announced once, ends once (once more if it was reopened) and reports each epoch
    once, however often a crash makes it run an epoch again.  `time` (seconds since 1970) is added to each event that carries none.

    Raises:
        InputError: another driver has the folder open, or a line before the last is damaged.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = Path(run_dir) / LEDGER_NAME
        self._lock = FileLock(Path(run_dir) / LOCK_NAME)
        try:
            self._lock.acquire(timeout=_LOCK_PATIENCE_S)
        except Timeout:
            raise InputError(f"{run_dir}: another driver is running in this folder; stop it first, or choose another --out") from None
        try:
            events, size = _parse(self.path)
            self._seen: set[tuple[str, str, int]] = set()
            for event in events:
                self._see(event)
            self._file = self.path.open("ab")
            self._file.truncate(size)
            self._sync()
            _sync_folder(self.path.parent)
        except BaseException:
            self._lock.release()
            raise

    def append(self, event: Mapping[str, Any]) -> bool:
        """Write an event (`{"event": kind, ...}`) durably; False, and nothing written, if its key is there already."""
        entry = {**event, "time": event.get("time", time.time())}
        key = _key(entry)
        if key is not None and key in self._seen:
            return False
        assert key is None or entry["event"] == "trial" or ("trial", entry["trial"], -1) in self._seen, (
            f"{entry['trial']} was not announced"
        )
        self._file.write(json.dumps(_plain(entry), allow_nan=False).encode() + b"\n")
        self._sync()
        self._see(entry)
        return True

    def append_run(self, **fields: Any) -> bool:
        """The driver starts or resumes."""
        return self.append({"event": "run", **fields})

    def append_trial(self, trial: str, **fields: Any) -> bool:
        """A trial is announced: number, role, candidate, is_baseline, values, config, seed, fold."""
        return self.append({"event": "trial", "trial": trial, **fields})

    def append_report(self, trial: str, epoch: int, **fields: Any) -> bool:
        """An epoch's figures and what was decided on them; False if (trial, epoch) was reported before."""
        return self.append({"event": "report", "trial": trial, "epoch": epoch, **fields})

    def append_end(self, trial: str, status: str, reason: str | None = None, error: str | None = None, infeasible: bool = False) -> bool:
        """A trial is over: "completed", "stopped" or "failed" (with the error's text, and whether its configuration is to blame)."""
        assert status in {"completed", "stopped", "failed"}, status
        return self.append({"event": "end", "trial": trial, "status": status, "reason": reason, "error": error, "infeasible": infeasible})

    def append_searched(self, reason: str) -> bool:
        """No trial will be proposed any more; those that run go on."""
        return self.append({"event": "searched", "reason": reason})

    def append_extended(self, trials: int, hours: float | None) -> bool:
        """The run may go on with so many trials and hours in all, whatever was decided before."""
        return self.append({"event": "extended", "trials": trials, "hours": hours})

    def append_promotion(self, **fields: Any) -> bool:
        """How candidates were confirmed and members chosen."""
        return self.append({"event": "promotion", **fields})

    def append_finished(self, status: str = "finished", reason: str | None = None, **fields: Any) -> bool:
        """The run is over: "finished" or "failed"."""
        assert status in {"finished", "failed"}, status
        return self.append({"event": "finished", "status": status, "reason": reason, **fields})

    def events(self) -> Iterator[Event]:
        """All events in the order they were written."""
        yield from _parse(self.path)[0]

    def close(self) -> None:
        """Close the file and let another driver in."""
        self._file.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _see(self, event: Mapping[str, Any]) -> None:
        key = _key(event)
        if key is not None:
            self._seen.add(key)
        elif event["event"] == "reopened":
            self._seen.discard(("end", event["trial"], -1))

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def read_events(run_dir: Path) -> list[Event]:
    """All whole events of a run, also while a driver writes; none if there is no ledger."""
    return _parse(Path(run_dir) / LEDGER_NAME)[0]


def read_on(run_dir: Path, start: LedgerEnd) -> tuple[list[Event], LedgerEnd]:
    """The whole events since `start`, and where they end."""
    events, size = _parse(Path(run_dir) / LEDGER_NAME, start)
    return events, LedgerEnd(start.bytes + size, start.lines + len(events))


def ledger_bytes(run_dir: Path) -> int | None:
    """Length of the ledger; None if there is none (a run passed on as tables only)."""
    path = Path(run_dir) / LEDGER_NAME
    return path.stat().st_size if path.exists() else None


def is_driven(run_dir: Path) -> bool:
    """Whether a living driver holds the folder."""
    lock = Path(run_dir) / LOCK_NAME
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder we may not write to: no driver of ours can hold it
        return False


def _parse(path: Path, start: LedgerEnd = LedgerEnd()) -> tuple[list[Event], int]:
    """Events since `start` and the length of their whole lines; what a crash left of the last line is not counted."""
    if not path.exists():
        return [], 0
    events: list[Event] = []
    size = 0
    with path.open("rb") as file:
        file.seek(start.bytes)
        lines = file.read().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
            whole = line.endswith(b"\n") and isinstance(event, dict) and "event" in event
        except ValueError:
            whole = False
        if not whole:
            if number == len(lines):
                break
            raise InputError(
                f"{path}: line {start.lines + number}: not a ledger event; the file was edited or the disk is damaged, restore a copy"
            )
        events.append(event)
        size += len(line)
    return events, size


def _key(event: Mapping[str, Any]) -> tuple[str, str, int] | None:
    """What an event may be written only once for; None: any number of times."""
    if event["event"] not in {"trial", "report", "end"}:
        return None
    return event["event"], event["trial"], int(event.get("epoch", -1))


def _plain(value: Any) -> Any:
    """JSON has no NaN, infinity, path or NumPy scalar: null, null, text and the Python number."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sync_folder(folder: Path) -> None:
    """A new file survives a power cut only when its folder is synced too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
