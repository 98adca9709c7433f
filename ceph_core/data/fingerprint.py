"""What a data set holds, in one digest, and film digests that are computed once per state of a file."""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ceph_core.data.imagefile import read_bytes
from ceph_core.data.parallel import Progress, in_order, stderr_progress
from ceph_core.data.records import CephDataset
from ceph_core.errors import InputError

INDEX_FOLDER = "digests"


def digest_of(data: bytes) -> str:
    """The content digest of one file."""
    return hashlib.sha256(data).hexdigest()


def digests(paths: Sequence[Path], cache_dir: Path | None = None, progress: Progress | None = None) -> tuple[str, ...]:
    """Content digests of files, in order.

    With a `cache_dir` they are remembered under each file's path, size, modification and change time, so that only files that
    were touched are read again.

    Raises:
        InputError: files that cannot be read.
    """
    stamps = _stamps(paths)
    index = None if cache_dir is None else _index_file(paths, cache_dir)
    known = _load(index) if index else {}
    stale = tuple(str(path) for path in paths if known.get(str(path), [None])[:-1] != stamps[str(path)])
    if stale:
        report = progress or stderr_progress("reading films")
        # The stamps were taken before the content: a file written meanwhile has a newer stamp and is read again next time.
        fresh = in_order(lambda path: digest_of(read_bytes(Path(path))), stale, report)
        known |= {path: [*stamps[path], digest] for path, digest in zip(stale, fresh, strict=True)}
        if index:
            _save(index, known)
    return tuple(str(known[str(path)][-1]) for path in paths)


def dataset_fingerprint(dataset: CephDataset, cache_dir: Path | None = None) -> str:
    """Hex digest over protocol, film ids, contents, points and spacing; the folder and file names do not count."""
    records = dataset.records
    total = hashlib.sha256(dataset.protocol.name.encode())
    for record, digest in zip(records, digests([record.image for record in records], cache_dir), strict=True):
        total.update(f"\n{record.film_id}\n{digest}\n{record.spacing_mm[0]!r} {record.spacing_mm[1]!r}\n".encode())
        total.update(np.ascontiguousarray(record.landmarks_px, dtype="<f8").tobytes())
    return total.hexdigest()


def _stamps(paths: Sequence[Path]) -> dict[str, list[int]]:
    """Size, modification and change time by path; the latter also moves when a file is swapped for one of equal age."""
    stamps, problems = {}, []
    for path in map(str, paths):
        try:
            stat = os.stat(path)  # noqa: PTH116 - half the time of Path.stat, and this runs once a film at every opening
        except OSError as error:
            problems.append(f"{path}: cannot be read ({error.strerror}); restore the film")
        else:
            stamps[path] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    if problems:
        raise InputError(problems)
    return stamps


def _index_file(paths: Sequence[Path], cache_dir: Path) -> Path:
    """One small index a set of paths, so that indices neither grow for ever nor need a lock."""
    name = hashlib.sha256("\n".join(sorted(map(str, paths))).encode()).hexdigest()[:16]
    return cache_dir / INDEX_FOLDER / f"{name}.json"


def _load(index: Path) -> dict[str, list[int | str]]:
    try:
        loaded = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # Absent, or torn by a crash: everything is read again.
    return loaded if isinstance(loaded, dict) else {}


def _save(index: Path, known: dict[str, list[int | str]]) -> None:
    index.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=index.parent, suffix=".partial")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(known, file)
    Path(partial).replace(index)
