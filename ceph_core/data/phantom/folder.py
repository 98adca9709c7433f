"""A folder of drawn films: `train-0001.png` beside `train-0001.json`, one pair a film, and `phantom.json`: whose films they are.

Each file appears whole or not at all, and the points only after their film.  So a folder may be written by two
processes at once, left half-way by a killed one, and grown later: films that stand are kept.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ceph_core.data.phantom.drawing import DRAWING_VERSION, draw
from ceph_core.errors import InputError
from ceph_core.landmarks import ISBI19

FIRST_INDEX = {"train": 0, "test": 1_000_000}
"""Each split draws from its own stretch of a seed's films, so that growing one never changes the other."""
MARK = "phantom.json"
"""Names the drawing's version and seed; a folder is known as drawn films by it."""
PROGRESS_S = 2.0


def write(folder: Path, seed: int, num_train: int, num_test: int) -> tuple[Path, ...]:
    """Draw the films of a seed that the folder does not hold yet.

    Returns:
        The points files (`train-0001.json`, ..., `test-0001.json`, ...) of all films asked for, by name.

    Raises:
        InputError: the folder holds films of another seed or drawing, or something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, {"drawing_version": DRAWING_VERSION, "seed": seed})
    wanted = [(split, number) for split, num in (("train", num_train), ("test", num_test)) for number in range(1, num + 1)]
    files = [folder / f"{split}-{number:04d}.json" for split, number in wanted]
    missing = [
        (file, *film) for file, film in zip(files, wanted, strict=True) if not (file.exists() and png_size(file.with_suffix(".png")))
    ]
    said = time.monotonic()
    for done, (file, split, number) in enumerate(missing):
        _write_film(file, split, *draw(seed, FIRST_INDEX[split] + number - 1))
        if time.monotonic() - said > PROGRESS_S:
            said = time.monotonic()
            print(f"drawing cephalograms into {folder}: {done + 1} of {len(missing)}", file=sys.stderr, flush=True)
    return tuple(sorted(files))


def png_size(image: Path) -> tuple[int, int] | None:
    """(height, width) of a PNG from its first bytes; None if it is missing, cut short or no PNG."""
    try:
        with image.open("rb") as stream:
            head = stream.read(24)
            stream.seek(-8, os.SEEK_END)
            tail = stream.read(4)
    except OSError:
        return None
    if head[:8] != b"\x89PNG\r\n\x1a\n" or tail != b"IEND":
        return None
    return int.from_bytes(head[20:24]), int.from_bytes(head[16:20])


def _claim(folder: Path, drawing: dict[str, int]) -> None:
    """Mark the folder as this drawing's, or refuse to mix films into what it holds."""
    mark = folder / MARK
    if not mark.exists():
        if any(not entry.name.startswith(".") for entry in folder.iterdir()) and not mark.exists():
            raise InputError(f"{folder}: holds files but no {MARK}, so it is no folder of drawn films; give an empty or new folder")
        _put(mark, json.dumps(drawing).encode())
    elif mark.read_text(encoding="utf-8") != json.dumps(drawing):
        raise InputError(
            f"{mark}: these films are of {mark.read_text(encoding='utf-8')}, asked for {json.dumps(drawing)}; give another folder"
        )


def _write_film(file: Path, split: str, film: NDArray[np.uint8], points_px: NDArray[np.float64], spacing_mm: float) -> None:
    points = {symbol: [round(float(x), 3), round(float(y), 3)] for symbol, (x, y) in zip(ISBI19.symbols, points_px, strict=True)}
    _put(file.with_suffix(".png"), cv2.imencode(".png", film)[1].tobytes())
    _put(file, json.dumps({"split": split, "spacing_mm": spacing_mm, "landmarks_px": points}, indent=1).encode())


def _put(file: Path, content: bytes) -> None:
    """Write a file whole or not at all, whoever else writes it."""
    handle, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
