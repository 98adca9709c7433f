"""Films decoded and resized once per data set and size, as one uint8 file that every process of a node maps into memory.

A file is named by what is in it: the films' contents in order, the view (canvas) and the code that makes it.  A changed film
is therefore another file, never a stale one.  A film that is new is read once: the same bytes are hashed, decoded and shown
in every view asked for.  One process builds at a time; a builder that is killed leaves only `.partial` files, which the
next one removes.  The files used longest ago go when the limit is reached.
"""

import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ceph_core.data.fingerprint import INDEX_FOLDER, DigestIndex, digest_of
from ceph_core.data.imagefile import decode_grey, read_bytes
from ceph_core.data.parallel import Progress, in_order, stderr_progress
from ceph_core.data.records import CephRecord
from ceph_core.data.views import View, canvas_view
from ceph_core.errors import InputError
from ceph_core.geometry import Affine, Canvas, fit_affine

FORMAT_VERSION = 1
DEFAULT_GB = 20.0
FILM_FOLDER = "films"
LOCK_FILE = "films.lock"
OWN_FILES = (
    f"{FILM_FOLDER}/*.npy", f"{FILM_FOLDER}/*.partial", f"{INDEX_FOLDER}/*.json", f"{INDEX_FOLDER}/*.partial", "phantom-*-*/*",
    "cldetection2023-*/*",
)  # fmt: skip
"""What `purge` removes: cached films, digests, and the films that readers draw or unpack here."""
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

    Images equal `resample(read_grey(image))` bit for bit.  Arguments and errors as of `open_views`.
    """
    (images,) = open_canvases(records, [canvas], cache_dir, max_bytes=max_bytes, progress=progress)
    affine_by_size = {size: fit_affine(size, canvas) for size in {record.size for record in records}}
    return CachedFilms(images, np.stack([affine_by_size[record.size] for record in records]))


def open_canvases(
    records: Sequence[CephRecord],
    canvases: Sequence[Canvas],
    cache_dir: Path,
    *,
    max_bytes: int | None = None,
    progress: Progress | None = None,
    beside: Sequence[View] = (),
) -> list[NDArray[np.uint8]]:
    """The films on several canvases, and in other views `beside`; what is missing is built in one pass over the films.

    Arguments and errors as of `open_views`; a film of another size than its record says is an error too.
    """
    views = [*map(canvas_view, canvases), *beside]
    sizes = [record.size for record in records]
    return open_views([record.image for record in records], views, cache_dir, sizes=sizes, max_bytes=max_bytes, progress=progress)


def open_views(
    images: Sequence[Path],
    views: Sequence[View],
    cache_dir: Path,
    *,
    sizes: Sequence[tuple[int, int]] | None = None,
    max_bytes: int | None = None,
    progress: Progress | None = None,
) -> list[NDArray[np.uint8]]:
    """Films in each of the views, (N, height, width) read-only memory maps; missing ones are built from one decoding.

    Files mapped by a process stay usable to it when they are evicted.

    Args:
        images: the films' files.
        views: what is wanted of each.
        cache_dir: created if missing.
        sizes: (height, width) that each film is known to have.
        max_bytes: limit on all cached films (default: 20 GB or the environment's CEPH_CACHE_GB).
        progress: told (done, all) after every film (default: a line to stderr every few seconds).

    Raises:
        InputError: films that cannot be read or decoded, or that changed since their header was read; a limit too small for these films.
    """
    report = progress or stderr_progress(f"caching films at {', '.join(f'{view.height} x {view.width}' for view in views)}")
    _, found = _find(images, views, cache_dir, report)
    if any(view is None for view in found):
        with _locked(cache_dir):
            index, found = _find(images, views, cache_dir, report)  # whoever held the lock may have built them
            missing = [view for view, images_of in zip(views, found, strict=True) if images_of is None]
            if missing:
                limit = limit_from_environment() if max_bytes is None else max_bytes
                _make_room(cache_dir / FILM_FOLDER, sum(_bytes(len(images), view) for view in missing), limit)
                _build(cache_dir / FILM_FOLDER, images, index, missing, sizes, report)
                _, found = _find(images, views, cache_dir, report)
    opened = [view for view in found if view is not None]
    assert len(opened) == len(views)
    return opened


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


def _find(
    images: Sequence[Path], views: Sequence[View], cache_dir: Path, progress: Progress
) -> tuple[DigestIndex, list[NDArray[np.uint8] | None]]:
    """The films' digests as far as known, and each view if it is there.

    Films seen for the first time are not read here but when they are built, once for digest and pixels.  They are if a file of
    their size is there: films that were moved or touched need no building.
    """
    index = DigestIndex(images, cache_dir)
    if not index.is_complete and {_bytes(len(images), view) for view in views} & set(usage(cache_dir).values()):
        index.read(progress)
    if not index.is_complete:
        return index, [None] * len(views)
    folder = cache_dir / FILM_FOLDER
    return index, [_map(folder / _name(images, index, view)) for view in views]


def _name(images: Sequence[Path], index: DigestIndex, view: View) -> str:
    # Another decoder or resampler may round another way, so its version is part of the name.
    made_by = f"{FORMAT_VERSION} {cv2.__version__} {torch.__version__} {view.name}"
    return hashlib.sha256("\n".join([made_by, *(index.known[str(image)] for image in images)]).encode()).hexdigest()[:32] + ".npy"


def _bytes(num_films: int, view: View) -> int:
    """Size of a view's file: a header of 128 bytes, then the pixels."""
    return 128 + num_films * view.height * view.width


def _map(path: Path) -> NDArray[np.uint8] | None:
    """The file mapped read-only and marked as used, None if there is none."""
    try:
        images: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        return None
    with suppress(OSError):  # A read-only cache serves as well; it only cannot note who used it.
        os.utime(path, ns=(time.time_ns(),) * 2)  # finer than the kernel's own clock ticks
    return images


def _build(
    folder: Path,
    images: Sequence[Path],
    index: DigestIndex,
    views: Sequence[View],
    sizes: Sequence[tuple[int, int]] | None,
    progress: Progress,
) -> None:
    """Write each view under another name and rename it when it is whole and on the disk."""

    def shown(row: int) -> tuple[str, list[bytes]]:
        data = read_bytes(images[row])
        digest, film = digest_of(data), decode_grey(data, images[row])
        del data  # a large film's bytes would lie beside its pixels
        if sizes and film.shape != sizes[row]:
            raise InputError(f"{images[row]}: changed while it was read; start again when nothing writes to the films")
        return digest, [view.show(film).tobytes() for view in views]

    partials = [folder / f"{number}.partial" for number in range(len(views))]
    digest_by_path = {}
    try:
        with ExitStack() as opened:
            files = [opened.enter_context(partial.open("wb")) for partial in partials]
            for file, view in zip(files, views, strict=True):
                shape = (len(images), view.height, view.width)
                np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for image, (digest, pictures) in zip(images, in_order(shown, range(len(images)), progress), strict=True):
                digest_by_path[str(image)] = digest
                for file, picture in zip(files, pictures, strict=True):
                    file.write(picture)
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        index.update(digest_by_path)
        for partial, view in zip(partials, views, strict=True):
            partial.replace(folder / _name(images, index, view))
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)


def _make_room(folder: Path, needed: int, limit: int) -> None:
    """Remove what killed builders left and, longest unused first, what does not fit beside `needed` bytes.  Runs under the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    if needed > limit:
        raise InputError(
            f"{folder}: these films need {needed / 1e9:.3g} GB and the cache may take {limit / 1e9:.3g} GB; raise CEPH_CACHE_GB"
        )
    for left in folder.glob("*.partial"):
        left.unlink()
    cached = usage(folder.parent)
    for name, size in cached.items():
        if sum(cached.values()) + needed <= limit:
            break
        (folder / name).unlink()
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
