"""From what a format says of its films to a data set: every film is looked for, measured and checked against its points, in one place.

A reader parses its files into `Entry`s; what is wrong with any of them is collected beside, so that a user hears of all at once.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ceph_core.config.data import SourceConfig
from ceph_core.data import dicom
from ceph_core.data.dicom import MAX_SPACING_MM
from ceph_core.data.imagefile import SUFFIXES, is_turned, read_size
from ceph_core.data.parallel import in_order
from ceph_core.data.records import CephDataset, CephRecord, Points
from ceph_core.errors import InputError
from ceph_core.landmarks import Protocol

SPLITS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test", "test1": "test1", "test2": "test2",
}  # fmt: skip
"""What data sets call their splits, and what they are called here."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A film as its format tells of it; nobody has looked at the film yet.

    Attributes:
        film_id: unique within the data set.
        image: absolute path.
        points: (K, 2) original pixels, NaN where missing: the reference.
        where: file and row that say so, for messages.
        spacing_mm: (x, y) mm a pixel; None: the format does not say.
        size: (height, width) that the points assume; None: the format does not say.
        readers: each human reader's own points and where they stand, by reader's name.
        split, group, device, difficulty: as of `CephRecord`.
    """

    film_id: str
    image: Path
    points: Points
    where: str
    spacing_mm: tuple[float, float] | None = None
    size: tuple[int, int] | None = None
    readers: Mapping[str, tuple[str, Points]] = field(default_factory=dict)
    split: str | None = None
    group: str | None = None
    device: str | None = None
    difficulty: float | None = None


def assemble(
    name: str,
    root: Path,
    protocol: Protocol,
    entries: Sequence[Entry],
    source: SourceConfig,
    problems: Iterable[str] = (),
    notes: Sequence[str] = (),
    same_radiograph: tuple[tuple[str, str], ...] | None = None,
) -> CephDataset:
    """The data set of these films.

    Args:
        problems: found while the format was read.
        notes: what a user should know of how it was read.

    Raises:
        InputError: films that are missing, listed twice, not readable, of another size than their points assume, without any point or
            with points outside, without mm a pixel; and `problems`: all of them.
    """
    wrong = list(problems)
    if not entries and not wrong:
        wrong.append(f"{root}: no film is listed; name the folder or file that holds annotated films")
    wrong += _twice(entries)
    sizes = _sizes(entries, wrong)
    spacings, said = _spacings(entries, sizes, source.spacing_mm, wrong)
    for entry in entries:
        if entry.film_id in sizes:
            wrong += _misplaced(entry, sizes[entry.film_id], protocol)
    if wrong:
        raise InputError(wrong)
    records = [
        CephRecord(
            entry.film_id, entry.image, sizes[entry.film_id], entry.points, spacings[entry.film_id], entry.split, entry.group, entry.device,
            entry.difficulty, {reader: points for reader, (_, points) in entry.readers.items()},
        )
        for entry in entries
    ]  # fmt: skip
    turned = sum(is_turned(record.image) for record in records)
    if turned:
        said.append(f"{turned} films carry an EXIF rotation, which is ignored: points are taken on the stored pixels")
    ordered = tuple(sorted(records, key=lambda record: record.film_id))
    return CephDataset(name, root, protocol, ordered, same_radiograph, (*notes, *(f"{root}: {line}" for line in said)))


def number(value: Any) -> float | None:
    """A finite number, also where it is written as text; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def spacing_problem(where: str, key: str, given: Any) -> str | None:
    """What is wrong with a spacing; None if it is one."""
    found = number(given)
    if found is None or not 0 < found <= MAX_SPACING_MM:
        return f"{where}: {key}: {given!r} must be a number of mm a pixel above 0 and up to {MAX_SPACING_MM:g}; correct it"
    return None


def split_named(given: str | None, where: str, problems: list[str]) -> str | None:
    """A split under its name here; None where nothing is said."""
    if given is None or not given.strip():
        return None
    found = SPLITS.get(given.strip().lower())
    if found is None:
        problems.append(f"{where}: split: {given!r} is not one of {', '.join(dict.fromkeys(SPLITS.values()))}")
    return found


class ImageFiles:
    """The films below a folder, found by what a table calls them: a path from there, or a name anywhere below, with its suffix or not."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, name: str) -> Path:
        """The film's path.

        Raises:
            InputError: no such film, or several.
        """
        direct = self.root / name
        if name and direct.is_file():
            return direct
        plain = Path(name.replace("\\", "/"))
        found = self._by_name.get(plain.name) or self._by_stem.get(plain.name) or []
        if len(found) > 1:  # the same name in several folders: the folder must be said
            ends = [file for file in found if file.relative_to(self.root).as_posix().endswith(plain.as_posix())]
            found = ends or found
        if not found:
            raise InputError(f"film {name!r} is not below {self.root}; add it, or correct the name")
        if len(found) > 1:
            shown = ", ".join(str(file.relative_to(self.root)) for file in found[:3])
            raise InputError(f"film {name!r} is there {len(found)} times ({shown}); write the folder before the name")
        return found[0]

    @cached_property
    def all(self) -> tuple[Path, ...]:
        """Every film below the folder, hidden ones apart."""
        files = (file for file in self.root.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        return tuple(sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(self.root).parts)))

    def film_id(self, file: Path) -> str:
        """The film's name without its suffix; with its folder, where another film has that name too."""
        if len(self._by_stem.get(file.stem, ())) < 2 or not file.is_relative_to(self.root):
            return file.stem
        return file.relative_to(self.root).with_suffix("").as_posix()

    def unused(self, used: Iterable[Path]) -> list[str]:
        """A note on films that nothing names; none if there are none."""
        taken = set(used)
        left = [str(file.relative_to(self.root)) for file in self.all if file not in taken]
        shown = ", ".join(left[:3]) + (", …" if len(left) > 3 else "")
        return [f"{len(left)} films below {self.root} have no annotation and are not used: {shown}"] if left else []

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found = defaultdict(list)
        for file in self.all:
            found[file.name].append(file)
        return found

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        found = defaultdict(list)
        for file in self.all:
            found[file.stem].append(file)
        return found


def _twice(entries: Sequence[Entry]) -> list[str]:
    counts = Counter(entry.film_id for entry in entries)
    places = defaultdict(list)
    for entry in entries:
        if counts[entry.film_id] > 1:
            places[entry.film_id].append(entry.where)
    return [f"{where[-1]}: film {film_id} is there {len(where)} times, also at {where[0]}; keep one" for film_id, where in places.items()]


def _sizes(entries: Sequence[Entry], problems: list[str]) -> dict[str, tuple[int, int]]:
    """(height, width) by film id, of the films that can be read and have the size that their points assume."""

    def measured(entry: Entry) -> tuple[int, int] | InputError:
        try:
            return read_size(entry.image)
        except InputError as error:
            return error

    sizes = {}
    for entry, found in zip(entries, in_order(measured, entries, lambda done, total: None), strict=True):
        if isinstance(found, InputError):
            problems += [f"{problem} (film {entry.film_id} of {entry.where})" for problem in found.problems]
        elif entry.size not in (None, found):
            height, width = entry.size or (0, 0)
            why = "they were made on the film turned by its EXIF tag" if found == (width, height) else "the film was resized alone"
            problems.append(
                f"{entry.where}: its points are for {width} x {height} px, but {entry.image} has {found[1]} x {found[0]} ({why}?); "
                "give the film that the points were made on"
            )
        else:
            sizes[entry.film_id] = found
    return sizes


def _spacings(
    entries: Sequence[Entry], sizes: Mapping[str, tuple[int, int]], given_mm: float | None, problems: list[str]
) -> tuple[dict[str, tuple[float, float]], list[str]]:
    """(x, y) mm a pixel by film id, and notes: the format's, else the DICOM header's, else the one given."""
    found: dict[str, tuple[float, float]] = {}
    by_header: Counter[str] = Counter()
    unknown = []
    for entry in entries:
        if entry.spacing_mm is not None:
            found[entry.film_id] = entry.spacing_mm
            continue
        try:
            header = dicom.spacing(entry.image) if entry.film_id in sizes else None
        except InputError as error:
            problems += error.problems
            continue
        if header is not None:
            found[entry.film_id] = header.mm
            by_header[f"{header.tag}{': ' + header.note if header.note else ''}"] += 1
        elif given_mm is not None:
            found[entry.film_id] = (given_mm, given_mm)
        elif entry.film_id in sizes:  # what cannot be read has been told
            unknown.append(entry)
    if unknown:
        shown = ", ".join(entry.film_id for entry in unknown[:3]) + (", …" if len(unknown) > 3 else "")
        problems.append(
            f"{unknown[0].where}: mm a pixel are unknown for {len(unknown)} films ({shown}); add them to the data, or give one value "
            "for all with --spacing-mm"
        )
    own = sum(entry.spacing_mm is not None for entry in entries) + by_header.total()
    notes = [f"mm a pixel of {count} films come from the DICOM header, {why}" for why, count in by_header.items()]
    if given_mm is not None and own == len(entries) and entries:
        problems.append(f"--spacing-mm: {given_mm:g}: all {own} films carry their own mm a pixel; leave it out")
    elif given_mm is not None and own:
        notes.append(f"--spacing-mm {given_mm:g} is for {len(entries) - own} films; the other {own} carry their own mm a pixel")
    return found, notes


def _misplaced(entry: Entry, size: tuple[int, int], protocol: Protocol) -> list[str]:
    """Points outside the film, whose pixels span -0.5 to size - 0.5, and films without any point."""
    height, width = size
    wrong = []
    if np.isnan(entry.points).all():
        wrong.append(f"{entry.where}: film {entry.film_id} has no landmark at all; mark it or take it out")
    for where, points in [(entry.where, entry.points)] if not entry.readers else entry.readers.values():
        outside = ((points < -0.5) | (points > (width - 0.5, height - 0.5))).any(axis=1)
        for row in np.nonzero(outside)[0]:
            x, y = points[row]
            wrong.append(
                f"{where}: {protocol.symbols[row]} at {x:g},{y:g} is outside the film of {width} x {height} px; correct it "
                "(was the film or the annotation resized alone?)"
            )
    return wrong
