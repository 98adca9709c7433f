"""Clinical measurements on the locked test: how far the ensemble's agree with the reference's, and human readers' with each other."""

from dataclasses import dataclass

from ceph_core.landmarks import Protocol
from ceph_core.measurements import Agreement, agreements, measure, read_definitions
from search.records import ENSEMBLE, READER_PREFIX
from search.report.comparison import Comparison


@dataclass(frozen=True)
class MeasurementRow:
    """One measurement: by whose points, its agreement; None where they have it on fewer than two films."""

    name: str
    words: str
    unit: str
    by: tuple[Agreement | None, ...]


@dataclass(frozen=True)
class Measurements:
    """The table.

    Attributes:
        whose: column groups, in words.
        rows: those that can be measured.
        unavailable: measurement and the landmarks it lacks.
        why: no table, for this reason.
    """

    whose: tuple[str, ...]
    rows: tuple[MeasurementRow, ...]
    unavailable: tuple[tuple[str, str], ...]
    why: str = ""


def measured(comparison: Comparison) -> Measurements:
    """By the built-in definitions."""
    protocol = Protocol("of the run", comparison.landmarks, comparison.landmarks)
    if protocol.is_numbered:
        return Measurements((), (), (), "The landmarks are only numbered, so nothing clinical can be said of them")
    definitions, spacing = read_definitions(), comparison.spacing_mm
    names = [model for model in comparison.points if model.startswith(READER_PREFIX)]
    readers = {name.removeprefix(READER_PREFIX): comparison.points[name] for name in sorted(names)}
    found = agreements(definitions, protocol, spacing, comparison.reference, {ENSEMBLE: comparison.points[ENSEMBLE]}, readers)
    by_name = {whose: {each.name: each for each in rows} for whose, rows in found.items()}
    missing = measure(definitions, protocol, comparison.reference, spacing).missing
    rows = tuple(
        MeasurementRow(name, each.name, each.unit, tuple(rows.get(name) for rows in by_name.values()))
        for name, each in definitions.measurements.items()
        if any(name in rows for rows in by_name.values())
    )
    return Measurements(tuple(by_name), rows, tuple((name, ", ".join(lacking)) for name, lacking in missing.items()))
