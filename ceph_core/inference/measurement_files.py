"""Measurements of predicted films as a table, and how well they agree with the reference beside human readers."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ceph_core.data.records import CephRecord
from ceph_core.inference.evaluate import reference_of
from ceph_core.inference.point_files import FilmPoints
from ceph_core.landmarks import Protocol
from ceph_core.measurements import Agreement, Definitions, agreements, measure

FILE = "measurements.csv"
COLUMNS = ("file", "measurement", "name", "value", "unit", "low", "high", "norm_mean", "norm_sd", "class", "missing")
_DIGITS = {"deg": 1, "mm": 1, "": 3}


def write_measurements(path: Path, protocol: Protocol, films: Sequence[FilmPoints], definitions: Definitions) -> None:
    """A row a film and measurement: value, 95 % limits from the points' radii, norm, class; or what is missing to measure it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for film in films:
            spacing = None if film.spacing_mm is None else np.array([film.spacing_mm])
            radius = None if film.radius_mm is None else film.radius_mm[None]
            found = measure(definitions, protocol, film.points_px[None], spacing, radius)
            for place, name in enumerate(found.names):
                definition, value = found.definition(name), float(found.values[0, place])
                digits = _DIGITS[definition.unit]
                limits = (None, None) if found.low is None or found.high is None else (found.low[0, place], found.high[0, place])
                lacking = found.missing.get(name, () if not np.isnan(value) else ("a point that was dropped",))
                writer.writerow(
                    {
                        "file": str(film.file),
                        "measurement": name,
                        "name": definition.name,
                        "value": _rounded(value, digits),
                        "unit": definition.unit,
                        "low": _rounded(limits[0], digits),
                        "high": _rounded(limits[1], digits),
                        "norm_mean": definition.norm.mean if definition.norm else None,
                        "norm_sd": definition.norm.sd if definition.norm else None,
                        "class": definition.class_of(value),
                        "missing": ", ".join(lacking),
                    }
                )


def film_agreements(
    definitions: Definitions, protocol: Protocol, points_px: NDArray[np.float64], records: Sequence[CephRecord], name: str
) -> dict[str, list[Agreement]]:
    """`agreements` of a model's points on films, beside the readers that the films have."""
    readers = sorted({reader for record in records for reader in record.annotators})
    unmarked = np.full(points_px.shape[1:], np.nan)
    by_reader = {reader: np.stack([record.annotators.get(reader, unmarked) for record in records]) for reader in readers}
    reference, spacing = reference_of(records)
    return agreements(definitions, protocol, spacing, reference, {name: points_px}, by_reader)


def agreement_table(found: dict[str, list[Agreement]]) -> Table:
    """A row a measurement, the columns of everyone side by side."""
    made = Table(
        title="measurements", title_justify="left",
        caption="mean difference -+ 95 % limits of agreement; share of films within 2 deg or 2 mm; share in the same class",
    )  # fmt: skip
    made.add_column("")
    for whose in found:
        for column in (f"{whose}: difference", "within 2", "class"):
            made.add_column(column, justify="right")
    rows = {row.name: row.unit for each in found.values() for row in each}
    by_name = {whose: {row.name: row for row in each} for whose, each in found.items()}
    for name, unit in rows.items():
        cells = []
        for each in by_name.values():
            row = each.get(name)
            if row is None:
                cells += ["–"] * 3
                continue
            digits = 1 if unit else 3
            cells += [
                f"{row.difference:+.{digits}f} ± {(row.high - row.low) / 2:.{digits}f}", _percent(row.acceptable), _percent(row.same_class),
            ]  # fmt: skip
        made.add_row(f"{name}{', ' + unit if unit else ''}", *cells)
    return made


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{share:.0%}"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or np.isnan(value) else round(float(value), digits)
