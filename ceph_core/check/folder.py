"""The folder a run would write to."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from ceph_core.check.finding import Finding
from ceph_core.duration import duration
from ceph_core.run_plan import PLAN_FILE
from ceph_core.training.checkpoint import STATE_FILE


def folder(out: Path) -> Iterator[Finding]:
    """Whether a new run can begin there, and what of an older one lies there."""
    if out.exists() and not out.is_dir():
        yield Finding("error", "output", f"{out}: is a file", "give a folder that is empty or not there")
        return
    nearest = next(each for each in (out, *out.absolute().parents) if each.exists())
    if not os.access(nearest, os.W_OK):
        yield Finding("error", "output", f"{nearest}: cannot be written to", "change its permissions, or give another folder")
        return
    entries = sorted(entry.name for entry in out.iterdir()) if out.is_dir() else []
    stale = sorted(file for file in out.rglob(STATE_FILE)) if entries else []
    if stale:
        age = duration(max(0.0, time.time() - max(file.stat().st_mtime for file in stale)))
        which = STATE_FILE if stale == [out / STATE_FILE] else f"{len(stale)} checkpoints"
        goes_on = "go on with that run (train --resume), or " if (out / PLAN_FILE).is_file() else ""
        yield Finding("error", "output", f"{out}: holds {which} of an earlier run, {age} old", f"{goes_on}give another folder")
    elif entries:
        yield Finding("error", "output", f"{out}: is not empty ({len(entries)} entries, {entries[0]} first)", "give an empty or new folder")
    else:
        yield Finding("ok", "output", f"{out}: {'is empty' if out.is_dir() else 'will be made'}")
