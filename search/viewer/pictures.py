"""Pictures of films for the viewer: smaller grey JPEGs, written once.

1600 px at quality 85 take 0.2 MB a film of 1935 x 2400 px and 0.1 s to make; WebP would be half as large and takes 2 s.  They are
encoded from pixels alone, so that no header of a film (EXIF, DICOM) goes along.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ceph_core.data.imagefile import read_size
from ceph_core.data.parallel import Progress, in_order
from ceph_core.errors import InputError
from search.records import atomic

ReadFilm = Callable[[Path], NDArray[np.uint8]]

SIDE_PX = 1600
QUALITY = 85
INDEX = "pictures.json"


@dataclass(frozen=True)
class Picture:
    """What there is to see of a film.

    Attributes:
        file: in the folder of pictures; None: there is none.
        size: (height, width) of the film in original pixels; None: not known.
        problem: what is to be said of it, empty for nothing.
    """

    file: str | None
    size: tuple[int, int] | None
    problem: str = ""


def write_pictures(folder: Path, films: Mapping[str, Path], read_film: ReadFilm, progress: Progress) -> dict[str, Picture]:
    """A picture a film; one that is there and of the same file is kept, also where the film itself is no longer to be had.

    Args:
        folder: theirs alone: pictures of other films are removed.
        films: their files, by film id.
        read_film: path -> (h, w) grey values.
        progress: told (done, all) after every film.

    Returns:
        By film id; a film that cannot be read has a problem and perhaps no picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = _read_index(folder)

    def entry_of(film: str) -> dict[str, Any]:
        return _entry(folder, films[film], known.get(str(films[film])), read_film)

    entries = dict(zip(films, in_order(entry_of, list(films), progress), strict=True))
    kept = {str(films[film]): {**entry, "problem": ""} for film, entry in entries.items() if entry.get("file")}
    with atomic(folder / INDEX) as temporary:
        temporary.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    named = {entry["file"] for entry in kept.values()}
    for old in folder.glob("*.jpg"):
        if old.name not in named:
            old.unlink(missing_ok=True)
    return {film: _picture(entry) for film, entry in entries.items()}


def _entry(folder: Path, path: Path, known: Mapping[str, Any] | None, read_film: ReadFilm) -> dict[str, Any]:
    """What the index says of a film, its picture written if need be."""
    before = dict(known) if known is not None and (folder / str(known["file"])).is_file() else None
    try:
        stat = path.stat()
        state = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "side_px": SIDE_PX, "quality": QUALITY}
        if before is not None and all(before.get(key) == value for key, value in state.items()):
            return before
        film = read_film(path)
    except (InputError, OSError) as error:
        reason = f"{path}: not found" if isinstance(error, FileNotFoundError) else str(error)
        if before is not None:
            return {**before, "problem": f"the picture was made earlier; now {reason}"}
        return {"problem": f"no picture: {reason}", "size": _size(path)}
    jpeg = encode(film)
    # A picture never changes under its name: an open page goes on showing what it showed.
    name = hashlib.blake2b(repr((str(path), sorted(state.items()))).encode(), digest_size=10).hexdigest() + ".jpg"
    with atomic(folder / name) as temporary:
        temporary.write_bytes(jpeg)
    return {"file": name, "size": list(film.shape), "problem": "", **state}


def encode(film: NDArray[np.uint8]) -> bytes:
    """A film of (h, w) grey values as JPEG; its corners stay corners, as `ceph_core.geometry` has it, so that half pixels agree."""
    height, width = film.shape
    scale = min(1.0, SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = film if scale == 1 else cv2.resize(film, size, interpolation=cv2.INTER_AREA)
    done, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return jpeg.tobytes()


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return read_size(path)
    except InputError:
        return None


def _picture(entry: Mapping[str, Any]) -> Picture:
    size = entry["size"]
    return Picture(entry.get("file"), None if size is None else (int(size[0]), int(size[1])), entry["problem"])


def _read_index(folder: Path) -> dict[str, Any]:
    """By the film's path; nothing of a damaged one: all pictures are made again."""
    try:
        known = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        assert all({"file", "size", "problem"} <= entry.keys() for entry in known.values())
    except (OSError, ValueError, AttributeError, AssertionError):
        return {}
    return dict(known)
