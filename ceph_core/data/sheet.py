"""Rows of a CSV, TSV or Parquet file as text by column, whoever wrote it: Excel's separators and byte-order marks included."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ceph_core.errors import InputError

SUFFIXES = (".csv", ".tsv", ".parquet")
_EMPTY = frozenset({"", "na", "n/a", "nan", "null", "none", "-"})
"""What people write where nothing is known, lower case."""
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


@dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
        path: its file.
        columns: as written, in order.
        rows: by column; None where nothing is written.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, str | None], ...]

    def where(self, row: int) -> str:
        """File and line of a row, for messages."""
        return f"{self.path}: {'row' if self.path.suffix.lower() == '.parquet' else 'line'} {row + _FIRST_LINE}"


_FIRST_LINE = 2
"""Of the rows: the header is the first."""


def read_sheet(path: Path) -> Sheet:
    """The table in a file.

    Raises:
        InputError: it cannot be read as one: no header, a column twice, a row longer than the header, another encoding than UTF-8.
    """
    try:
        table = _parquet(path) if path.suffix.lower() == ".parquet" else _text(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); restore the file or its permissions") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 ({error.reason} at byte {error.start}); save it as CSV UTF-8") from error
    twice = sorted({column for column in table.columns if table.columns.count(column) > 1})
    if twice:
        raise InputError(f"{path}: columns {', '.join(twice)} are there more than once; keep one of each")
    return table


def header_of(path: Path) -> tuple[str, ...]:
    """The column names; none if the file cannot be read as a table."""
    try:
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet as parquet

            return tuple(map(str, parquet.read_schema(path).names))
        with path.open(newline="", encoding="utf-8-sig") as file:
            line = file.readline()
        return tuple(name.strip() for name in next(csv.reader([line], delimiter=_separator(line)), ()))
    except (OSError, ValueError, csv.Error):  # pyarrow's errors are of both kinds
        return ()


def _text(path: Path) -> Sheet:
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        separator = _separator(first)
        try:
            lines = [line for line in csv.reader(file, delimiter=separator) if any(cell.strip() for cell in line)]
        except csv.Error as error:
            raise InputError(f"{path}: is no table of text ({error}); save it as CSV UTF-8") from error
    if not lines:
        raise InputError(f"{path}: is empty; a header line and a row a film are needed")
    columns = tuple(name.strip().lstrip("\ufeff") for name in lines[0])
    long = [number for number, line in enumerate(lines[1:], start=_FIRST_LINE) if any(cell.strip() for cell in line[len(columns) :])]
    if long:
        raise InputError([f"{path}: line {number}: has more cells than the header's {len(columns)}; correct it" for number in long])
    read = _cell if separator == "," else _cell_with_decimal_comma
    rows = tuple(dict(zip(columns, map(read, line + [""] * (len(columns) - len(line))), strict=False)) for line in lines[1:])
    return Sheet(path, columns, rows)


def _separator(header: str) -> str:
    """Tab, semicolon or comma: whichever the header has most of."""
    return max("\t;,", key=header.count)


def _cell(value: str) -> str | None:
    plain = value.strip()
    return None if plain.lower() in _EMPTY else plain


def _cell_with_decimal_comma(value: str) -> str | None:
    """In a file whose commas separate nothing, one between digits is a decimal point; elsewhere it may set thousands apart."""
    plain = _cell(value)
    return plain if plain is None or not _DECIMAL_COMMA.fullmatch(plain) else plain.replace(",", ".")


def _parquet(path: Path) -> Sheet:
    try:
        table = pd.read_parquet(path)
    except (ValueError, ImportError) as error:  # pyarrow's own errors are ValueErrors
        raise InputError(f"{path}: is no Parquet file ({str(error).splitlines()[0]}); write it again") from error
    columns = tuple(map(str, table.columns))
    rows = tuple(
        {column: None if pd.isna(value) else _cell(str(value)) for column, value in zip(columns, row, strict=True)}
        for row in table.itertuples(index=False, name=None)
    )
    return Sheet(path, columns, rows)
