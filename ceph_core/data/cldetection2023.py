"""The CL-Detection 2023 challenge: one stack of films and a file of 38 numbered points a film, or its CSV twin.

train_stack.mha (or train-stack.mha)   all films in one array, padded with black at the right and below
train-gt.json                          points: [{name: 1-38, point: [x, y, film], scale: "0.1"}, ...], films from 1
*.csv                                  instead of both, beside the films: file, scale, p1x, p1y, ...

The stack is unpacked film by film, once, into the cache: grey, without the padding, which moves no point.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ceph_core.config.data import SourceConfig
from ceph_core.data.assemble import Entry, assemble, number, spacing_problem
from ceph_core.data.metaimage import Stack, open_stack
from ceph_core.data.parallel import stderr_progress
from ceph_core.data.records import CephDataset, Points
from ceph_core.data.table import known_by_count, read_table
from ceph_core.errors import InputError
from ceph_core.landmarks import numbered

NUM_LANDMARKS = 38
STACKS = ("train_stack.mha", "train-stack.mha")
TRUTH = "train-gt.json"
LOOKED_FOR = f"{STACKS[0]} and {TRUTH}, or a table of {NUM_LANDMARKS} numbered points"
_UNPACKING = 1
"""Version of what becomes of a stack."""


def read(source: SourceConfig, cache_dir: Path) -> CephDataset:
    """The challenge's films; those of a stack are unpacked into `cache_dir` the first time.

    Raises:
        InputError: everything that is wrong, one line each.
    """
    assert source.root is not None
    root = source.root.absolute()
    stack_file = next((root / name for name in STACKS if (root / name).is_file()), None)
    if root.is_file() or stack_file is None:
        if root.is_dir() and (root / TRUTH).is_file():
            raise InputError(f"{root / STACKS[0]}: no such file; it holds the films of {TRUTH}, add it")
        return read_table(root, source, "cldetection2023", NUM_LANDMARKS)
    problems: list[str] = []
    truth = root / TRUTH
    stack = open_stack(stack_file)
    marked = _points(truth, stack.count, problems)
    if problems:
        raise InputError(problems)
    folder = cache_dir / f"cldetection2023-{_key(stack_file, truth)}"
    _unpack(stack, {film: points for film, (points, _) in marked.items()}, folder)
    entries = [
        Entry(
            film_id=f"{film:03d}",
            image=_file(folder, film),
            points=points,
            where=f"{truth}: film {film}",
            spacing_mm=None if spacing is None else (spacing, spacing),
        )
        for film, (points, spacing) in marked.items()
    ]
    unmarked = stack.count - len(marked)
    notes = [f"{stack_file}: {unmarked} films have no points in {TRUTH} and are not used"] if unmarked else []
    return assemble("cldetection2023", root, numbered(NUM_LANDMARKS), entries, source, notes=notes)


def known_by(root: Path) -> str | None:
    """The stack or its points, or a table of so many numbered points."""
    found = next((name for name in (*STACKS, TRUTH) if (root / name).is_file()), None)
    return found or known_by_count(root, NUM_LANDMARKS)


def _points(file: Path, count: int, problems: list[str]) -> dict[int, tuple[Points, float | None]]:
    """(38, 2) original px, and mm a pixel, by film."""
    found: dict[int, tuple[Points, float | None]] = {}
    if not file.is_file():
        problems.append(f"{file}: no such file; it holds the points of the stack, add it")
        return found
    try:
        listed = json.loads(file.read_text(encoding="utf-8-sig"))["points"]
        told = [(each["name"], each["point"], each.get("scale")) for each in listed]
    except (OSError, ValueError) as error:
        problems.append(f"{file}: cannot be read as JSON ({error}); restore it")
        return found
    except (KeyError, TypeError, AttributeError):
        problems.append(f"{file}: must hold points: a list of name, point [x, y, film] and scale; restore it")
        return found
    seen: set[tuple[int, int]] = set()
    for place, (name, point, scale) in enumerate(told):
        where = f"{file}: point {place}"
        landmark = number(name)
        at = [number(each) for each in point] if isinstance(point, list) and len(point) == 3 else [None]
        if landmark is None or landmark not in range(1, NUM_LANDMARKS + 1):
            problems.append(f"{where}: name {name!r} must be a landmark's number, 1 to {NUM_LANDMARKS}")
            continue
        if None in at or at[2] not in range(1, count + 1):
            problems.append(f"{where}: point {point!r} must be [x, y, film] in pixels, film 1 to {count}")
            continue
        x, y, film = (float(each or 0.0) for each in at)
        if (int(film), int(landmark)) in seen:
            problems.append(f"{where}: landmark {int(landmark)} of film {int(film)} is there twice; keep one")
        seen.add((int(film), int(landmark)))
        wrong = None if scale is None else spacing_problem(where, "scale", scale)
        if wrong:
            problems.append(wrong)
        points, known = found.get(int(film), (np.full((NUM_LANDMARKS, 2), np.nan), None))
        points[int(landmark) - 1] = x, y
        spacing = None if wrong else number(scale)  # what is wrong has been told
        if known is not None and spacing is not None and known != spacing:
            problems.append(f"{where}: scale of film {int(film)} is {spacing:g} here and {known:g} before; write one")
        found[int(film)] = points, spacing if known is None else known
    return dict(sorted(found.items()))


def _unpack(stack: Stack, points: dict[int, Points], folder: Path) -> None:
    """Write each film that is not there yet; one at a time is in memory."""
    if all(_file(folder, film).is_file() for film in points):
        return
    folder.mkdir(parents=True, exist_ok=True)
    report = stderr_progress(f"unpacking {stack.path.name}")
    for film, pixels in enumerate(stack.films(), start=1):
        file = _file(folder, film)
        if film in points and not file.is_file():
            _write(file, _trimmed(_grey(pixels), points[film]))
        report(film, stack.count)


def _grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """(h, w) of 8 or 16 bits."""
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    return grey.astype(np.uint8 if grey.dtype.itemsize == 1 else np.uint16, copy=False)


def _trimmed(film: NDArray[Any], points: Points) -> NDArray[Any]:
    """Without black rows below and columns at the right that hold no point."""
    height = _end(np.any(film, axis=1), points[:, 1])
    width = _end(np.any(film, axis=0), points[:, 0])
    return film[:height, :width]


def _end(lit: Any, at: NDArray[np.float64]) -> int:
    last_lit = int(np.flatnonzero(lit)[-1]) + 1 if lit.any() else 1
    last_point = int(np.ceil(np.nanmax(at))) + 1 if not np.isnan(at).all() else 1
    return min(len(lit), max(last_lit, last_point))


def _write(file: Path, film: NDArray[Any]) -> None:
    """Whole or not at all."""
    done, data = cv2.imencode(".png", film, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    handle, partial = tempfile.mkstemp(dir=file.parent, suffix=".partial")
    with os.fdopen(handle, "wb") as stream:
        stream.write(data.tobytes())
    Path(partial).replace(file)


def _key(stack: Path, truth: Path) -> str:
    """Another stack, other points or another unpacking have another folder."""
    stat = stack.stat()
    said = f"{_UNPACKING} {stack} {stat.st_size} {stat.st_mtime_ns} {hashlib.sha256(truth.read_bytes()).hexdigest()}"
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _file(folder: Path, film: int) -> Path:
    return folder / f"{film:03d}.png"
