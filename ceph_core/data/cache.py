"""Films decoded and resized once per data set and size, as one uint8 file that every process of a node maps into memory.

A file is named by what is in it: the films' contents in order, the canvas and the code that resamples.  A changed film
is therefore another file, never a stale one.  One process builds at a time; a builder that is killed leaves only a
`.partial` file, which the next one removes.  The files used longest ago go when the limit is reached.
"""

import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ceph_core.data.fingerprint import INDEX_FOLDER, digest_of, digests
from ceph_core.data.imagefile import decode_grey, read_bytes
from ceph_core.data.parallel import Progress, in_order, stderr_progress
from ceph_core.data.records import CephRecord
from ceph_core.errors import InputError
from ceph_core.geometry import Affine, Canvas, fit_affine, resample

FORMAT_VERSION = 1
DEFAULT_GB = 20.0
FILM_FOLDER = "films"
LOCK_FILE = "films.lock"
OWN_FILES = (f"{FILM_FOLDER}/*.npy", f"{FILM_FOLDER}/*.partial", f"{INDEX_FOLDER}/*.json", f"{INDEX_FOLDER}/*.partial", "phantom-*-*/*")
"""What `purge` removes: cached films, digests and the drawn films that the phantom reader keeps here."""
WAIT_S = 5.0


@dataclass(frozen=True, eq=False)
class CachedFilms:
    """Films at one canvas size: images (N, H, W) uint8, a read-only memory map; affines (N, 2, 3), original -> input pixels."""

    images: NDArray[np.uint8]
    affines: Affine


def open_cache(
    records: Sequence[CephRecord], canvas: Canvas, cache_dir: Path, *, max_bytes: int | None = None, progress: Progress | None = None
) -> CachedFilms:
    """The films on `canvas`, in the order of `records`, built if no process has built them yet.

    Images equal `resample(read_grey(image))` bit for bit.  Files mapped by a process stay usable to it when they are evicted.

    Args:
        records: the films.
        canvas: the network's input.
        cache_dir: created if missing.
        max_bytes: limit on all cached films (default: 20 GB or the environment's CEPH_CACHE_GB).
        progress: told (done, all) after every film (default: a line to stderr every few seconds).

    Raises:
        InputError: films that cannot be read or decoded, or that changed since their header was read; a limit too small for these films.
    """
    contents = digests([record.image for record in records], cache_dir, progress)
    path = cache_dir / FILM_FOLDER / f"{_key(contents, canvas)}.npy"
    affine_by_size = {size: fit_affine(size, canvas) for size in {record.size for record in records}}
    affines = np.stack([affine_by_size[record.size] for record in records])
    images = _map(path)
    if images is None:
        with _locked(cache_dir):
            images = _map(path)
            if images is None:
                limit = limit_from_environment() if max_bytes is None else max_bytes
                _make_room(path, len(records) * canvas.height * canvas.width, limit)
                report = progress or stderr_progress(f"caching films at {canvas.height} x {canvas.width}")
                _build(path, records, contents, canvas, report)
                images = _map(path)
    assert images is not None
    return CachedFilms(images, affines)


def usage(cache_dir: Path) -> dict[str, int]:
    """Bytes by cached file, the one used longest ago first."""
    stats = {}
    for file in (cache_dir / FILM_FOLDER).glob("*.npy"):
        with suppress(FileNotFoundError):  # Another process may be making room.
            stats[file.name] = file.stat()
    return {name: stat.st_size for name, stat in sorted(stats.items(), key=lambda entry: entry[1].st_mtime_ns)}


def purge(cache_dir: Path) -> int:
    """Remove every cached or drawn film and every digest, once no builder is at work; returns the bytes freed."""
    freed = 0
    with _locked(cache_dir):
        for file in [file for pattern in OWN_FILES for file in cache_dir.glob(pattern)]:
            freed += file.stat().st_size
            file.unlink()
    return freed


def limit_from_environment() -> int:
    """Bytes that cached films may take: CEPH_CACHE_GB, or 20 GB; InputError if it is no positive number."""
    given = os.environ.get("CEPH_CACHE_GB", str(DEFAULT_GB))
    with suppress(ValueError):
        if (gigabytes := float(given)) > 0:
            return int(gigabytes * 1e9)
    raise InputError(f"environment: CEPH_CACHE_GB: {given!r} must be a number of GB above 0, for example {DEFAULT_GB:g}")


def _key(contents: Sequence[str], canvas: Canvas) -> str:
    # Another decoder or resampler may round another way, so its version is part of the name.
    made_by = f"{FORMAT_VERSION} {cv2.__version__} {torch.__version__} {canvas.height} {canvas.width}"
    return hashlib.sha256("\n".join([made_by, *contents]).encode()).hexdigest()[:32]


def _map(path: Path) -> NDArray[np.uint8] | None:
    """The file mapped read-only and marked as used, None if there is none."""
    try:
        images: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        return None
    with suppress(OSError):  # A read-only cache serves as well; it only cannot note who used it.
        os.utime(path, ns=(time.time_ns(),) * 2)  # finer than the kernel's own clock ticks
    return images


def _build(path: Path, records: Sequence[CephRecord], contents: Sequence[str], canvas: Canvas, progress: Progress) -> None:
    """Write the file under another name and rename it when it is whole and on the disk."""

    def resized(row: int) -> bytes:
        record = records[row]
        data = read_bytes(record.image)
        film = decode_grey(data, record.image)
        if digest_of(data) != contents[row] or film.shape != record.size:
            raise InputError(f"{record.image}: changed while it was read; start again when nothing writes to the films")
        return resample(torch.from_numpy(film)[None, None], canvas).to(torch.uint8).numpy().tobytes()

    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file, _one_torch_thread():
            shape = (len(records), canvas.height, canvas.width)
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for film in in_order(resized, range(len(records)), progress):
                file.write(film)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Films go to threads here; a team of torch's own below each of them would only fight over the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _make_room(path: Path, needed: int, limit: int) -> None:
    """Remove what killed builders left and, longest unused first, what does not fit beside `needed` bytes.  Runs under the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if needed > limit:
        raise InputError(
            f"{path.parent}: these films need {needed / 1e9:.3g} GB and the cache may take {limit / 1e9:.3g} GB; raise CEPH_CACHE_GB"
        )
    for left in path.parent.glob("*.partial"):
        left.unlink()
    cached = usage(path.parent.parent)
    for name, size in cached.items():
        if sum(cached.values()) + needed <= limit:
            break
        (path.parent / name).unlink()
        cached = {**cached, name: 0}
        print(f"cache: removed {name} ({size / 1e9:.2g} GB, used longest ago) to stay below {limit / 1e9:.3g} GB", file=sys.stderr)


@contextmanager
def _locked(cache_dir: Path) -> Iterator[None]:
    """Hold the cache's one lock; says every few seconds that it waits.  The system frees the lock of a process that dies."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache_dir / LOCK_FILE)
    while True:
        try:
            lock.acquire(timeout=WAIT_S)
            break
        except Timeout:
            print(f"cache: waiting for the process that builds in {cache_dir}", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        lock.release()
