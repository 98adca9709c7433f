"""The Aariz set (CEPHA29; Khalid et al., Scientific Data 2025): 29 landmarks by junior and senior orthodontists, seven machines.

{train,valid,test}/Cephalograms/<id>.{png,jpg,bmp}
{train,valid,test}/Annotations/Cephalometric Landmarks/{Junior,Senior} Orthodontists/<id>.json
cephalogram_machine_mappings.csv                  cephalogram_id, machine, pixel_size (mm), ...

Folder names may be in either case.  Points are matched by symbol, never by order.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ceph_core.config.data import SourceConfig
from ceph_core.data.assemble import Entry, assemble, number, spacing_problem
from ceph_core.data.imagefile import SUFFIXES
from ceph_core.data.records import CephDataset, Points
from ceph_core.data.sheet import read_sheet
from ceph_core.errors import InputError
from ceph_core.landmarks import AARIZ29, canonical

SPLIT_OF_FOLDER = {"train": "train", "valid": "validation", "test": "test"}
READERS = ("junior", "senior")
MAPPINGS = "cephalogram_machine_mappings.csv"
LOOKED_FOR = f"train/Cephalograms or {MAPPINGS}"
_COLUMNS = ("cephalogram_id", "machine", "pixel_size")
Machines = dict[str, tuple[str | None, float | None]]
"""Machine and mm a pixel by film id."""
_PLACES = {canonical(symbol): place for place, symbol in enumerate(AARIZ29.symbols)}


def read(source: SourceConfig, cache_dir: Path) -> CephDataset:
    """The films of `source.root`; nothing is decoded and nothing goes into the cache.

    The reference is the mean of both readers, its ceiling as the set's own loader takes it ("mean_ceil"), or one of them, by
    `source.annotator`.

    Raises:
        InputError: everything that is wrong, one line each.
    """
    assert source.root is not None
    root = source.root.absolute()
    problems: list[str] = []
    machines = _machines(root, source.spacing_mm, problems)
    needed = READERS if source.annotator.startswith("mean") else (source.annotator,)
    entries = []
    for name, split in SPLIT_OF_FOLDER.items():
        folder = _child(root, name)
        if folder is None:
            if name == "train":
                problems.append(f"{root / name}: no such folder; the films to learn from belong there")
            continue
        entries += _of_split(folder, split, needed, source, machines, problems)
    return assemble("aariz", root, AARIZ29, entries, source, problems)


def known_by(root: Path) -> str | None:
    """Its film folder, or its list of machines."""
    if (train := _child(root, "train")) is not None and _child(train, "Cephalograms") is not None:
        return f"a folder {train.name}/Cephalograms"
    return MAPPINGS if (root / MAPPINGS).is_file() else None


def _of_split(
    folder: Path, split: str, needed: Sequence[str], source: SourceConfig, machines: Machines | None, problems: list[str]
) -> list[Entry]:
    pictures = _child(folder, "Cephalograms")
    if pictures is None:
        problems.append(f"{folder / 'Cephalograms'}: no such folder; the films belong there")
        return []
    films: dict[str, Path] = {}
    for file in sorted(pictures.iterdir()):
        if file.suffix.lower() not in SUFFIXES:
            if not file.name.startswith(".") and file.name not in ("Thumbs.db", "desktop.ini"):
                problems.append(f"{file}: is no film; allowed are {' '.join(sorted(SUFFIXES))}; move it elsewhere")
        elif file.stem in films:
            problems.append(f"{file}: film {file.stem} is there twice, also as {films[file.stem].name}; keep one")
        else:
            films[file.stem] = file
    if not films:
        problems.append(f"{pictures}: no films; put them there or remove the folder")
    marked = {reader: _marked(folder, reader, films, reader in needed, problems) for reader in READERS}
    entries = []
    for film_id, image in films.items():
        by_reader = {reader: found[film_id] for reader, found in marked.items() if film_id in found}
        if not set(needed) <= by_reader.keys():
            continue  # told by _marked
        points = np.mean([by_reader[reader][1] for reader in needed], axis=0)  # a point that one of them missed is missing
        machine, spacing = _machine_of(film_id, image, machines, source.spacing_mm is not None, problems)
        entries.append(
            Entry(
                film_id=film_id,
                image=image,
                points=np.ceil(points) if source.annotator == "mean_ceil" else points,
                where=by_reader[needed[0]][0],
                spacing_mm=None if spacing is None else (spacing, spacing),
                readers=by_reader,
                split=split,
                device=machine,
            )
        )
    return entries


def _marked(folder: Path, reader: str, films: Mapping[str, Path], needed: bool, problems: list[str]) -> dict[str, tuple[str, Points]]:
    """File and points by film id of one reader."""
    annotations = _child(folder, "Annotations") or folder / "Annotations"
    landmarks = _child(annotations, "Cephalometric Landmarks") or annotations / "Cephalometric Landmarks"
    place = _child(landmarks, f"{reader.capitalize()} Orthodontists")
    if place is None:
        if needed:
            problems.append(
                f"{landmarks / f'{reader.capitalize()} Orthodontists'}: no such folder; add it, or take the other reader with "
                f"--annotator {next(each for each in READERS if each != reader)}"
            )
        return {}
    found = {}
    for file in sorted(place.glob("[!.]*.json")):
        if file.stem not in films:
            problems.append(f"{file}: annotation without film; add film {file.stem} or remove the file")
        else:
            found[file.stem] = (str(file), _points(file, problems))
    if needed:
        lacking = [film_id for film_id in films if film_id not in found]
        problems += [f"{films[film_id]}: film without annotation; {place / f'{film_id}.json'} is needed" for film_id in lacking]
    return found


def _points(file: Path, problems: list[str]) -> Points:
    """(29, 2) original px of one annotation file, in the protocol's order; a point without coordinates is missing."""
    points = np.full((len(AARIZ29), 2), np.nan)
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        told = content["landmarks"]
        named = [(canonical(str(each["symbol"])), each.get("value")) for each in told]
    except (OSError, ValueError) as error:
        problems.append(f"{file}: cannot be read as JSON ({error}); restore it")
        return points
    except (KeyError, TypeError, AttributeError):
        problems.append(f"{file}: must hold landmarks: a list of symbol and value {{x, y}}; restore it")
        return points
    symbols = [symbol for symbol, _ in named]
    strangers = [symbol for symbol in symbols if symbol not in _PLACES]
    missing = [symbol for symbol in AARIZ29.symbols if canonical(symbol) not in symbols]
    twice = sorted({symbol for symbol in symbols if symbols.count(symbol) > 1})
    for what, which in (("unknown", strangers), ("missing", missing), ("twice", twice)):
        if which:
            problems.append(f"{file}: landmarks {what}: {', '.join(which)}; the {len(AARIZ29)} of the set are needed, each once")
    for symbol, value in named:
        if symbol not in _PLACES or value is None:
            continue
        point = _point(value)
        if point is None:
            problems.append(f"{file}: {symbol}: value {value!r} must be {{x, y}} in pixels")
        else:
            points[_PLACES[symbol]] = point
    return points


def _point(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, dict):
        return None
    x, y = number(value.get("x")), number(value.get("y"))
    return None if x is None or y is None else (x, y)


def _machines(root: Path, given_mm: float | None, problems: list[str]) -> Machines | None:
    """Machine and mm a pixel by film id; None without the file, which a spacing given for all makes up for."""
    file = root / MAPPINGS
    if not file.is_file():
        if given_mm is None:
            problems.append(f"{file}: no such file; it holds mm a pixel of every film; add it, or give one value for all with --spacing-mm")
        return None
    try:
        sheet = read_sheet(file)
    except InputError as error:
        problems += error.problems
        return None
    if lacking := [column for column in _COLUMNS if column not in sheet.columns]:
        problems.append(f"{file}: has no column {', '.join(lacking)}; needed are {', '.join(_COLUMNS)}")
        return None
    found: Machines = {}
    for row, cells in enumerate(sheet.rows):
        film_id, machine, size = (cells[column] for column in _COLUMNS)
        if film_id is None:
            problems.append(f"{sheet.where(row)}: cephalogram_id is empty; fill it in or remove the row")
            continue
        wrong = spacing_problem(sheet.where(row), "pixel_size", size)
        if wrong:
            problems.append(wrong)
        found[film_id] = machine, 1.0 if wrong else number(size)  # what is wrong has been told
    return found


def _machine_of(
    film_id: str, image: Path, machines: Machines | None, is_given: bool, problems: list[str]
) -> tuple[str | None, float | None]:
    """Machine and mm a pixel of a film; `is_given`: the user has said what a pixel is where the set does not."""
    if machines is None:
        return None, None if is_given else 1.0  # what is missing has been told
    if film_id not in machines:
        problems.append(f"{image}: film {film_id} has no row in {MAPPINGS}, which holds its mm a pixel; add one")
    return machines.get(film_id, (None, 1.0))


def _child(folder: Path, name: str) -> Path | None:
    """The folder of that name in either case."""
    if not folder.is_dir():
        return None
    return next((entry for entry in sorted(folder.iterdir()) if entry.name.lower() == name.lower() and entry.is_dir()), None)
