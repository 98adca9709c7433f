"""Reader of drawn films: drawn into the cache where no folder is named, else read from a folder that `write` made."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ceph_core.config.data import SourceConfig
from ceph_core.data.phantom.drawing import DRAWING_VERSION
from ceph_core.data.phantom.folder import MARK, png_size, write
from ceph_core.data.records import CephDataset, CephRecord, Points
from ceph_core.errors import InputError
from ceph_core.landmarks import ISBI19

KEYS = ("split", "spacing_mm", "landmarks_px")
LOOKED_FOR = f"{MARK} beside drawn films"
SPLITS = ("train", "validation", "test")


def read(source: SourceConfig, cache_dir: Path) -> CephDataset:
    """The drawn films of `source`: those of `source.root`, or `phantom_train` and `phantom_test` films of `phantom_seed`.

    Films without a folder are drawn once, into `cache_dir/phantom-<version>-<seed>`, about 0.15 s each.

    Raises:
        InputError: every film without its image or points, every value that is no number, a spacing given from outside.
    """
    if source.spacing_mm is not None:
        raise InputError(
            f"--spacing-mm: drawn films carry their own spacing, got {source.spacing_mm:g}; leave it out, or name your films with --data"
        )
    if source.root is None:
        root = cache_dir.resolve() / f"phantom-{DRAWING_VERSION}-{source.phantom_seed}"
        files = write(root, source.phantom_seed, source.phantom_train, source.phantom_test)
        return _dataset(root, files, ())
    root = source.root.resolve()
    if not root.is_dir():
        raise InputError(f"{source.root}: no such folder; give the folder of drawn films, or none to have them drawn")
    files = tuple(sorted(file for file in root.glob("*.json") if file.name != MARK))
    if not files:
        raise InputError(
            f"{source.root}: holds no drawn film (train-0001.png beside train-0001.json); draw some, or give the folder that holds them"
        )
    return _dataset(root, files, (image for image in sorted(root.glob("*.png")) if not image.with_suffix(".json").exists()))


def known_by(root: Path) -> str | None:
    """The mark that `write` leaves."""
    return MARK if (root / MARK).is_file() else None


def _dataset(root: Path, files: Iterable[Path], without_points: Iterable[Path]) -> CephDataset:
    problems = [f"{image}: has no points; add {image.stem}.json or remove the image" for image in without_points]
    records = []
    for file in files:
        record, found = _record(file)
        problems += found
        if record is not None:
            records.append(record)
    if problems:
        raise InputError(problems)
    return CephDataset(name="phantom", root=root, protocol=ISBI19, records=tuple(records), same_radiograph=())


def _record(file: Path) -> tuple[CephRecord | None, list[str]]:
    """The film of a points file, or every problem with it."""
    image = file.with_suffix(".png")
    size = png_size(image)
    problems = []
    if size is None:
        state = "is cut short or no PNG" if image.exists() else "is missing"
        problems.append(f"{image}: the film of {file.name} {state}; restore it, or remove {file.name}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        return None, [*problems, f"{file}: cannot be read as JSON ({error}); restore or remove it"]
    if not isinstance(content, dict) or set(content) != set(KEYS):
        given = sorted(content) if isinstance(content, dict) else type(content).__name__
        return None, [*problems, f"{file}: must hold exactly the keys {', '.join(KEYS)}, got {given}"]
    if content["split"] not in SPLITS:
        problems.append(f"{file}: split: must be one of {', '.join(SPLITS)}, got {content['split']!r}")
    spacing = content["spacing_mm"]
    if not _is_number(spacing) or not 0 < spacing <= 5:
        problems.append(f"{file}: spacing_mm: must be a number of mm per pixel in (0, 5], got {spacing!r}")
    points, found = _points(file, content["landmarks_px"])
    problems += found
    if points is None or size is None or problems:
        return None, problems
    outside = [ISBI19.symbols[row] for row in np.flatnonzero(((points < -0.5) | (points > np.array(size[::-1]) - 0.5)).any(axis=1))]
    if outside:
        return None, [
            f"{file}: landmarks_px: {', '.join(outside)} outside the film of {size[1]} x {size[0]} px; correct or remove the film"
        ]
    return CephRecord(file.stem, image, size, points, (float(spacing), float(spacing)), split=content["split"]), []


def _points(file: Path, given: Any) -> tuple[Points | None, list[str]]:
    """(19, 2) points in the protocol's order; `null` marks a missing one."""
    where = f"{file}: landmarks_px"
    if not isinstance(given, dict) or set(given) != set(ISBI19.symbols):
        names = set(given) if isinstance(given, dict) else set()
        missing = [symbol for symbol in ISBI19.symbols if symbol not in names]
        unknown = sorted(names - set(ISBI19.symbols))
        what = "; ".join(f"{word} {', '.join(symbols)}" for word, symbols in (("missing", missing), ("unknown", unknown)) if symbols)
        return None, [f"{where}: must name the {len(ISBI19)} landmarks, got {len(names)}: {what}; a landmark not marked is null"]
    problems = [
        f"{where}: {symbol}: must be [x, y] in pixels or null, got {given[symbol]!r}"
        for symbol in ISBI19.symbols
        if not (
            given[symbol] is None or (isinstance(given[symbol], list) and len(given[symbol]) == 2 and all(map(_is_number, given[symbol])))
        )
    ]
    if problems:
        return None, problems
    return np.array([given[symbol] or (np.nan, np.nan) for symbol in ISBI19.symbols], dtype=np.float64), []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
