"""The IEEE ISBI 2015 challenge's folders (Wang et al., Medical Image Analysis 2016).

RawImage/{TrainingData,Test1Data,Test2Data}/NNN.<suffix>              film NNN; the test folders may be absent
[AnnotationsByMD/]{400_senior,400_junior}/NNN.txt                     19 lines `x,y`, then class lines, which are not read
same_radiograph.csv                                                   optional: id,same_as
"""

import contextlib
import csv
import logging
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from ceph_core.config.data import SourceConfig
from ceph_core.data.assemble import Entry, assemble
from ceph_core.data.imagefile import SUFFIXES, read_size
from ceph_core.data.records import CephDataset, Points
from ceph_core.errors import InputError
from ceph_core.landmarks import ISBI19

SPLIT_OF_FOLDER = {"TrainingData": "train", "Test1Data": "test1", "Test2Data": "test2"}
NUMBERS_OF_FOLDER = {"TrainingData": range(1, 151), "Test1Data": range(151, 301), "Test2Data": range(301, 401)}
"""The challenge's numbering: says whether an annotation belongs to a folder that was not downloaded."""

READERS = ("senior", "junior")
KNOWN_SIZE, KNOWN_SPACING_MM = (2400, 1935), 0.1
PAIRS_FILE = "same_radiograph.csv"

LOOKED_FOR = "the challenge's folder RawImage"

log = logging.getLogger(__name__)


def read(source: SourceConfig, cache_dir: Path) -> CephDataset:
    """Read the films of `source.root`; nothing is decoded and nothing goes into the cache.

    The reference is the mean of both readers or one of them, by `source.annotator`; records carry each reader's own points
    where present.  A film of 1935 x 2400 has 0.1 mm a pixel unless `source.spacing_mm` says otherwise; any other needs it.

    Raises:
        InputError: everything that is wrong, one line each.
    """
    assert source.root is not None
    root = source.root.absolute()
    problems: list[str] = []
    films = _films(root, problems)
    points = _annotations(root, problems)
    needed = READERS if source.annotator.startswith("mean") else (source.annotator,)
    _match(films, points, needed, root, problems)

    spacing = _spacing(films, source.spacing_mm, root, problems)
    pairs = _same_radiograph(root / PAIRS_FILE, films, problems)
    base = _annotation_base(root)
    entries = []
    for film_id, image in films.items():
        by_reader = {reader: points[reader][film_id] for reader in READERS if film_id in points.get(reader, {})}
        if not set(needed) <= by_reader.keys():
            continue  # told by _match
        points_px = np.mean([by_reader[reader] for reader in needed], axis=0)
        entries.append(
            Entry(
                film_id=film_id,
                image=image,
                points=np.nan_to_num(points_px),  # a point that could not be read has been told: the set is refused
                where=str(base / f"400_{needed[0]}" / f"{film_id}.txt"),
                spacing_mm=(spacing[film_id],) * 2 if film_id in spacing else None,
                readers={reader: (str(base / f"400_{reader}" / f"{film_id}.txt"), found) for reader, found in by_reader.items()},
                split=SPLIT_OF_FOLDER[image.parent.name],
            )
        )
    return assemble("isbi2015", root, ISBI19, entries, source.model_copy(update={"spacing_mm": None}), problems, same_radiograph=pairs)


def known_by(root: Path) -> str | None:
    """The challenge's folder of films."""
    return "a folder RawImage" if (root / "RawImage").is_dir() else None


def _films(root: Path, problems: list[str]) -> dict[str, Path]:
    """Image by film id, over all folders present."""
    films: dict[str, Path] = {}
    for name in SPLIT_OF_FOLDER:
        folder = root / "RawImage" / name
        if not folder.is_dir():
            if name == "TrainingData":
                problems.append(f"{folder}: no such folder; the films to learn from belong there")
            continue
        found = [
            file for file in sorted(folder.iterdir()) if not file.name.startswith(".") and file.name not in ("Thumbs.db", "desktop.ini")
        ]
        if not found:
            problems.append(f"{folder}: no films; put them there or remove the folder")
        for file in found:
            if file.suffix.lower() not in SUFFIXES or not file.stem.isdecimal():
                problems.append(f"{file}: is no film; names are a number and one of {' '.join(sorted(SUFFIXES))}; move it elsewhere")
            elif file.stem in films:
                problems.append(f"{file}: film {file.stem} is there twice, also as {films[file.stem]}; keep one")
            else:
                films[file.stem] = file
    return films


def _annotations(root: Path, problems: list[str]) -> dict[str, dict[str, Points]]:
    """Points by film id by reader, for the readers whose folder is there; files with problems count as present, with NaN."""
    base = _annotation_base(root)
    points: dict[str, dict[str, Points]] = {}
    for reader in READERS:
        folder = base / f"400_{reader}"
        if folder.is_dir():
            points[reader] = {file.stem: _points(file, problems) for file in sorted(folder.glob("[!.]*.txt"))}
    return points


def _annotation_base(root: Path) -> Path:
    nested = root / "AnnotationsByMD"
    return nested if nested.is_dir() else root


def _points(file: Path, problems: list[str]) -> Points:
    """(19, 2) original px of one annotation file."""
    num = len(ISBI19)
    points = np.full((num, 2), np.nan)
    lines = [line.strip() for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines() if line.strip()]
    if len(lines) < num:
        problems.append(f"{file}: {len(lines)} lines; {num} are needed, one `x,y` a landmark from S to Ar; complete the file")
        return points
    for row, line in enumerate(lines[:num]):
        if (point := _point(line)) is None:
            problems.append(
                f"{file}: line {row + 1}: {line[:40]!r} must be two numbers `x,y` ({ISBI19.symbols[row]}); {num} such lines are needed"
            )
        else:
            points[row] = point
    return points


def _point(line: str) -> tuple[float, float] | None:
    """The two finite numbers of `x,y`, None for anything else."""
    try:
        x, y = map(float, line.split(","))
    except ValueError:
        return None
    return (x, y) if np.isfinite([x, y]).all() else None


def _match(films: dict[str, Path], points: dict[str, dict[str, Points]], needed: tuple[str, ...], root: Path, problems: list[str]) -> None:
    """Every film has the annotations it needs, and every annotation its film."""
    base = _annotation_base(root)
    for reader in needed:
        folder = base / f"400_{reader}"
        if reader not in points:
            others = " or ".join(points) or "none is there"
            problems.append(f"{folder}: no such folder; annotator needs {' and '.join(needed)}; add it or choose annotator {others}")
            continue
        missing = [film_id for film_id in films if film_id not in points[reader]]
        problems += [f"{films[film_id]}: film without annotation; {folder / f'{film_id}.txt'} is needed" for film_id in missing]
    absent = {name: numbers for name, numbers in NUMBERS_OF_FOLDER.items() if not (root / "RawImage" / name).is_dir()}
    unused: Counter[str] = Counter()
    for reader, by_film in points.items():
        for film_id in by_film.keys() - films.keys():
            home = next((name for name, numbers in absent.items() if film_id.isdecimal() and int(film_id) in numbers), None)
            if home:
                unused[home] += 1
            else:
                problems.append(
                    f"{base / f'400_{reader}' / f'{film_id}.txt'}: annotation without film; add film {film_id} or remove the file"
                )
    for name, count in unused.items():
        log.warning("%s: %d annotations of %s are not used: that folder is not there", base, count, name)


def _spacing(films: dict[str, Path], given_mm: float | None, root: Path, problems: list[str]) -> dict[str, float]:
    """mm a pixel by film id; films that cannot be read have none, and are told later."""
    by_size = defaultdict(list)
    for film_id, image in films.items():
        with contextlib.suppress(InputError):
            by_size[read_size(image)].append(film_id)
    spacing: dict[str, float] = {}
    for size, film_ids in by_size.items():
        if size != KNOWN_SIZE and given_mm is None:
            problems.append(
                f"{root}: mm a pixel are unknown for {len(film_ids)} films of {size[1]} x {size[0]} px (only 1935 x 2400 is known: 0.1 "
                "mm); give it with --spacing-mm"
            )
        if size == KNOWN_SIZE and given_mm and given_mm != KNOWN_SPACING_MM:
            log.warning(
                "%s: %d films of 1935 x 2400 px are taken at the given %g mm a pixel, not the challenge's 0.1",
                root,
                len(film_ids),
                given_mm,
            )
        spacing |= dict.fromkeys(film_ids, given_mm or KNOWN_SPACING_MM)
    return spacing


def _same_radiograph(file: Path, films: dict[str, Path], problems: list[str]) -> tuple[tuple[str, str], ...] | None:
    """Listed pairs of films that are both there; None without a list."""
    if not file.is_file():
        return None
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        if not {"id", "same_as"} <= set(reader.fieldnames or ()):
            problems.append(f"{file}: columns are {', '.join(reader.fieldnames or ())}; id and same_as are needed")
            return None
        pairs = [((line["id"] or "").strip(), (line["same_as"] or "").strip()) for line in reader]
    problems += [
        f"{file}: pair {one!r}, {other!r}: two different film numbers are needed"
        for one, other in pairs
        if not one or not other or one == other
    ]
    present = tuple(pair for pair in pairs if pair[0] in films and pair[1] in films)
    if len(present) < len(pairs):
        log.warning("%s: %d of %d pairs name a film that is not there and are not used", file, len(pairs) - len(present), len(pairs))
    return present
