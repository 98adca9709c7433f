"""What a data set holds, in one digest, and film digests that are computed once per state of a file."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ceph_core.data.imagefile import read_bytes
from ceph_core.data.parallel import Progress, in_order, stderr_progress
from ceph_core.data.records import CephDataset
from ceph_core.errors import InputError
from ceph_core.landmarks import PROTOCOLS

INDEX_FOLDER = "digests"


def digest_of(data: bytes) -> str:
    """The content digest of one file."""
    return hashlib.sha256(data).hexdigest()


def digests(paths: Sequence[Path], cache_dir: Path | None = None, progress: Progress | None = None) -> tuple[str, ...]:
    """Content digests of files, in order; with a `cache_dir` only files that were touched are read again.

    Raises:
        InputError: files that cannot be read.
    """
    index = DigestIndex(paths, cache_dir)
    index.read(progress)
    return tuple(index.known[str(path)] for path in paths)


class DigestIndex:
    """Content digests of a set of files, remembered in a cache folder under path, size, modification and change time.

    Attributes:
        known: digest by path, of the files not touched since it was taken.

    Raises:
        InputError: files that are not there.
    """

    def __init__(self, paths: Sequence[Path], cache_dir: Path | None) -> None:
        # The stamps are taken before any content: a file written meanwhile has a newer one and is read again next time.
        self._stamps = _stamps(paths)
        self._file = None if cache_dir is None else _index_file(paths, cache_dir)
        self._entries = _load(self._file) if self._file else {}
        self.known = {
            path: str(entry[-1]) for path, stamp in self._stamps.items() if (entry := self._entries.get(path)) and entry[:-1] == stamp
        }

    @property
    def is_complete(self) -> bool:
        """Whether no file has to be read."""
        return len(self.known) == len(self._stamps)

    def read(self, progress: Progress | None = None) -> None:
        """Read the files whose digest is not known."""
        stale = tuple(path for path in self._stamps if path not in self.known)
        if stale:
            report = progress or stderr_progress("reading films")
            fresh = in_order(lambda path: digest_of(read_bytes(Path(path))), stale, report)
            self.update(dict(zip(stale, fresh, strict=True)))

    def update(self, digest_by_path: Mapping[str, str]) -> None:
        """Remember digests taken by someone who read the files after this index was opened."""
        self.known |= digest_by_path
        if self._file:
            self._entries |= {path: [*self._stamps[path], digest] for path, digest in digest_by_path.items()}
            _save(self._file, self._entries)


def dataset_fingerprint(dataset: CephDataset, cache_dir: Path | None = None) -> str:
    """Hex digest over protocol, film ids, contents, points and spacing; the folder and file names do not count."""
    records = dataset.records
    total = hashlib.sha256(dataset.protocol.name.encode())
    if dataset.protocol.name not in PROTOCOLS:  # a name of ours says which points those are, "own-7" does not
        total.update(repr(dataset.protocol.symbols).encode())
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
