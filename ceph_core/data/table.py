"""Films in a table of one's own: CSV, TSV or Parquet, a row a film or a row a point.

A row a film:   image, S_x, S_y, N_x, N_y, ...   (what the film viewer writes; or p1x, p1y, ...: points that only have numbers)
A row a point:  image, landmark, x, y            (what `predict` writes)
Besides:        spacing (or spacing_x and spacing_y), mm a pixel; split, group, device, id, difficulty (higher is harder)

Empty cells are missing points.

Coordinates are original pixels, x then y, pixel centres on whole numbers.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ceph_core.config.data import SourceConfig
from ceph_core.data.assemble import Entry, ImageFiles, assemble, number, spacing_problem, split_named
from ceph_core.data.records import CephDataset, Points
from ceph_core.data.sheet import SUFFIXES, Sheet, header_of, read_sheet
from ceph_core.errors import InputError
from ceph_core.landmarks import Protocol, canonical, numbered, protocol_of

MEANINGS = {
    "image": ("image", "image_file", "image file", "file", "filename", "file_name", "path"),
    "spacing": ("spacing", "spacing_mm", "spacing(mm)", "scale", "pixel_size"),
    "spacing_x": ("spacing_x", "spacing_x_mm"),
    "spacing_y": ("spacing_y", "spacing_y_mm"),
    "id": ("id", "film", "film_id"),
    "split": ("split",),
    "group": ("group", "patient", "patient_id"),
    "device": ("device", "machine"),
    "difficulty": ("difficulty",),
    "landmark": ("landmark", "symbol"),
    "x": ("x", "x_px"),
    "y": ("y", "y_px"),
}
"""Columns by what they hold, lower case; the first is the one the documentation names."""
_SILENT = ("name", "confidence", "review", "x_mm", "y_mm", "radius_px", "radius_mm")
"""Columns that `predict` writes beside the points."""
LOOKED_FOR = "a .csv, .tsv or .parquet with image, spacing, S_x, S_y, ... or with image, landmark, x, y"
_WIDE = re.compile(r"^(?P<symbol>.+)_(?P<axis>[xy])(?:_px)?$|^p(?P<number>\d+)_?(?P<numbered>[xy])$", re.IGNORECASE)


def read(source: SourceConfig, cache_dir: Path) -> CephDataset:
    """The films of the table `source.root`, or of the only one in that folder; nothing is decoded and nothing goes into the cache.

    Raises:
        InputError: everything that is wrong, one line each.
    """
    assert source.root is not None
    return read_table(source.root.absolute(), source, "table")


def known_by(root: Path) -> str | None:
    """A table whose header names films and points."""
    found = _candidates(root)
    return f"a table of films, {', '.join(file.name for file in found)}" if found else None


def known_by_count(root: Path, count: int) -> str | None:
    """A table of exactly so many points that only have numbers."""
    for file in _candidates(root):
        columns = header_of(file)
        if sorted(_wide(columns, _meanings(columns)), key=lambda symbol: symbol.zfill(4)) == list(numbered(count).symbols):
            return f"{file.name} with {count} numbered points"
    return None


def _candidates(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() in SUFFIXES and names_points(header_of(root)) else []
    return tables_in(root)


def read_table(root: Path, source: SourceConfig, name: str, num_points: int | None = None) -> CephDataset:
    """The same for a data set of that name.

    Args:
        num_points: that its films must have, by numbers; None: whatever the table has.
    """
    file = root if root.is_file() else the_table(root)
    sheet = read_sheet(file)
    layout = Layout.of(sheet, num_points)
    images = ImageFiles(file.parent)
    problems: list[str] = []
    read_film = _films_of_points if layout.is_long else _films_of_rows
    films = read_film(sheet, layout, problems)
    entries = [entry for film in films if (entry := _entry(film, sheet, layout, images, problems)) is not None]
    notes = [f"{file}: columns not used: {', '.join(layout.unused)}"] if layout.unused else []
    if not problems:
        notes += images.unused(entry.image for entry in entries)
    return assemble(name, root, layout.protocol, entries, source, problems, notes)


def the_table(folder: Path) -> Path:
    """The one table of films in a folder.

    Raises:
        InputError: none, or several.
    """
    found = tables_in(folder)
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(file.name for file in found)
        raise InputError(f"--data {folder}: holds {len(found)} tables of films ({shown}); name the file itself with --data")
    raise InputError(
        f"--data {folder}: holds no table of films; a .csv, .tsv or .parquet file is needed with a column image and S_x, S_y, N_x, ... "
        "or image, landmark, x, y"
    )


def tables_in(folder: Path) -> list[Path]:
    """Tables whose header names films and points."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    return [file for file in files if names_points(header_of(file))]


def names_points(columns: Sequence[str]) -> bool:
    """Whether a table of these columns is one of films and points."""
    meanings = _meanings(columns)
    has_points = {"landmark", "x", "y"} <= meanings.keys() or len(_wide(columns, meanings)) > 0
    return "image" in meanings and has_points


@dataclass(frozen=True)
class Layout:
    """What the columns of a table mean.

    Attributes:
        columns: by meaning.
        points: columns of x and y by symbol; empty in a table with a row a point.
        protocol: the landmarks.
        unused: columns that mean nothing here.
    """

    columns: Mapping[str, str]
    points: Mapping[str, tuple[str, str]]
    protocol: Protocol
    unused: tuple[str, ...]

    @property
    def is_long(self) -> bool:
        """Whether a row is a point."""
        return not self.points

    @classmethod
    def of(cls, sheet: Sheet, num_points: int | None) -> "Layout":
        """Raises InputError: no column for the films or for the points, an axis without the other, another number of points."""
        columns = _meanings(sheet.columns)
        axes = _wide(sheet.columns, columns)
        problems = []
        if "image" not in columns:
            problems.append(f"{sheet.path}: no column names the films; one of {', '.join(MEANINGS['image'])} is needed")
        halves = sorted(symbol for symbol, found in axes.items() if len(found) < 2)
        problems += [f"{sheet.path}: landmark {symbol}: has a column for {next(iter(axes[symbol]))} alone" for symbol in halves]
        is_long = {"landmark", "x", "y"} <= columns.keys()
        if is_long and axes:
            shown = ", ".join(axes)
            problems.append(f"{sheet.path}: has columns landmark, x, y and those of {shown} too; a row is a film or a point, not both")
        elif is_long:
            named = (row[columns["landmark"]] for row in sheet.rows)
            axes = {symbol: {} for symbol in dict.fromkeys(canonical(symbol) for symbol in named if symbol)}
        if not axes and not problems:
            problems.append(f"{sheet.path}: no column holds points; S_x, S_y, N_x, ... (or p1x, p1y, ...) are needed, or landmark, x, y")
        if num_points is not None and axes and len(axes) != num_points:
            problems.append(f"{sheet.path}: {len(axes)} landmarks; this format has {num_points}, p1x and p1y to p{num_points}y")
        if ("spacing_x" in columns) != ("spacing_y" in columns):
            problems.append(f"{sheet.path}: spacing_x and spacing_y go together; one of them is missing")
        if problems:
            raise InputError(problems)
        try:
            protocol = protocol_of(list(axes))
        except ValueError as error:
            raise InputError(f"{sheet.path}: {error}") from error
        points = {} if is_long else {symbol: (found["x"], found["y"]) for symbol, found in axes.items()}
        used = {*columns.values(), *(column for pair in points.values() for column in pair)}
        unused = tuple(column for column in sheet.columns if column not in used and column.lower() not in _SILENT)
        return cls(columns, points, protocol, unused)

    def places(self) -> dict[str, int]:
        """Place of each point in the protocol, by the canonical symbol."""
        return {canonical(symbol): place for place, symbol in enumerate(self.protocol.symbols)}


@dataclass(frozen=True)
class _Film:
    """Row that speaks for a film, its name there, its points."""

    row: int
    name: str
    points: Points


def _films_of_rows(sheet: Sheet, layout: Layout, problems: list[str]) -> list[_Film]:
    films = []
    places = layout.places()
    for row, cells in enumerate(sheet.rows):
        if (name := cells[layout.columns["image"]]) is None:
            problems.append(f"{sheet.where(row)}: {layout.columns['image']}: names no film; fill it in or remove the row")
            continue
        points = np.full((len(places), 2), np.nan)
        for symbol, (x, y) in layout.points.items():
            point = _point(cells[x], cells[y], f"{sheet.where(row)}: {symbol}", problems)
            points[places[canonical(symbol)]] = point
        films.append(_Film(row, name, points))
    return films


def _films_of_points(sheet: Sheet, layout: Layout, problems: list[str]) -> list[_Film]:
    columns, places = layout.columns, layout.places()
    films: dict[str, _Film] = {}
    seen: dict[tuple[str, str], int] = {}
    for row, cells in enumerate(sheet.rows):
        name, symbol = cells[columns["image"]], cells[columns["landmark"]]
        if name is None or symbol is None:
            empty = columns["image"] if name is None else columns["landmark"]
            problems.append(f"{sheet.where(row)}: {empty}: is empty; fill it in or remove the row")
            continue
        film = films.setdefault(name, _Film(row, name, np.full((len(places), 2), np.nan)))
        if (first := seen.setdefault((name, canonical(symbol)), row)) != row:
            problems.append(f"{sheet.where(row)}: {symbol} of film {name} is there twice, also in {sheet.where(first)}; keep one")
            continue
        film.points[places[canonical(symbol)]] = _point(cells[columns["x"]], cells[columns["y"]], f"{sheet.where(row)}: {symbol}", problems)
    _check_constant(sheet, layout, problems)
    return list(films.values())


def _check_constant(sheet: Sheet, layout: Layout, problems: list[str]) -> None:
    """What belongs to a film is the same in all its rows."""
    of_films = [meaning for meaning in layout.columns if meaning not in ("image", "landmark", "x", "y")]
    said: dict[tuple[str, str], dict[str | None, int]] = defaultdict(dict)
    for row, cells in enumerate(sheet.rows):
        for meaning in of_films:
            said[cells[layout.columns["image"]] or "", meaning].setdefault(cells[layout.columns[meaning]], row)
    for (name, meaning), values in said.items():
        if len(values) > 1:
            (one, _), (other, row), *_ = values.items()
            problems.append(f"{sheet.where(row)}: {layout.columns[meaning]} of film {name} is {other} here and {one} before; write one")


def _point(x: str | None, y: str | None, where: str, problems: list[str]) -> tuple[float, float]:
    """The point of two cells; NaN where both are empty."""
    if x is None and y is None:
        return np.nan, np.nan
    found = number(x), number(y)
    if found[0] is None or found[1] is None:
        problems.append(f"{where}: {x!r}, {y!r} must be two numbers in pixels, or both empty where the point is missing")
        return np.nan, np.nan
    return found[0], found[1]


def _entry(film: _Film, sheet: Sheet, layout: Layout, images: ImageFiles, problems: list[str]) -> Entry | None:
    where, cells = sheet.where(film.row), sheet.rows[film.row]
    said = {meaning: cells[column] for meaning, column in layout.columns.items()}
    try:
        image = images.find(film.name)
    except InputError as error:
        problems += [f"{where}: {problem}" for problem in error.problems]
        return None
    keys = ("spacing_x", "spacing_y") if "spacing_x" in said else ("spacing", "spacing")
    given = [said.get(key) for key in keys]
    wrong = [
        problem
        for key, value in dict(zip(keys, given, strict=True)).items()
        if value is not None and (problem := spacing_problem(where, layout.columns[key], value))
    ]
    problems += wrong
    x, y = map(number, given)
    difficulty = number(said.get("difficulty"))
    if said.get("difficulty") is not None and difficulty is None:
        problems.append(f"{where}: {layout.columns['difficulty']}: {said['difficulty']!r} must be a number, higher is harder; or empty")
    return Entry(
        film_id=said.get("id") or images.film_id(image),
        image=image,
        points=film.points,
        where=where,
        spacing_mm=(x, y) if x is not None and y is not None else (1.0, 1.0) if wrong else None,  # what is wrong has been told
        split=split_named(said.get("split"), where, problems),
        group=said.get("group"),
        device=said.get("device"),
        difficulty=difficulty,
    )


def _meanings(columns: Sequence[str]) -> dict[str, str]:
    """Column by meaning; of several that mean the same, the one named first in `MEANINGS`."""
    plain = {column.lower(): column for column in reversed(columns)}
    return {
        meaning: plain[found] for meaning, names in MEANINGS.items() if (found := next((name for name in names if name in plain), None))
    }


def _wide(columns: Sequence[str], meanings: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Columns of x and y by symbol, in the order of the table."""
    taken = set(meanings.values())
    found: dict[str, dict[str, str]] = {}
    for column in columns:
        match = None if column in taken or column.lower() in _SILENT else _WIDE.match(column)
        if match:
            symbol, axis = (match["symbol"], match["axis"]) if match["symbol"] else (str(int(match["number"])), match["numbered"])
            found.setdefault(symbol, {})[axis.lower()] = column
    return found
