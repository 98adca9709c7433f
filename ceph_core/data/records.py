"""What every reader turns its format into: films and their points in original pixels, nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ceph_core.landmarks import Protocol

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CephRecord:
    """One film.

    Attributes:
        film_id: unique within the data set.
        image: absolute path of the film.
        size: (height, width) of the film in original pixels.
        landmarks_px: (K, 2) float64, x then y in original pixels, NaN where missing; the reference.
        spacing_mm: (x, y) mm per original pixel.
        split: what the data set itself says: "train", "validation", "test" (or "test1", "test2", ...), None if it says nothing.
        group: films that show one radiograph or one person share a group; None if the data set says nothing.
        device: the X-ray machine, where known.
        difficulty: how hard the film is, higher is harder; None if the data set does not say.
        annotators: each human reader's own points, (K, 2) float64 original pixels, by reader's name; empty where only one exists.
    """

    film_id: str
    image: Path
    size: tuple[int, int]
    landmarks_px: Points
    spacing_mm: tuple[float, float]
    split: str | None = None
    group: str | None = None
    device: str | None = None
    difficulty: float | None = None
    annotators: Mapping[str, Points] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CephDataset:
    """All films of a data set.

    Attributes:
        name: format of the reader that made it.
        root: the folder it was read from.
        protocol: names and order of the landmarks.
        records: the films, ordered by `film_id`.
        same_radiograph: pairs of film ids known to show one radiograph (from a file beside the data);
            None if nobody listed them, so that duplicates must be looked for.
        notes: what a user should know of how it was read, a line each.
    """

    name: str
    root: Path
    protocol: Protocol
    records: tuple[CephRecord, ...]
    same_radiograph: tuple[tuple[str, str], ...] | None = None
    notes: tuple[str, ...] = ()

    def only(self, places: Sequence[int], name: str) -> "CephDataset":
        """The same films with these landmarks alone, under a protocol of that name."""
        rows = list(places)
        protocol = Protocol(name, tuple(self.protocol.symbols[k] for k in rows), tuple(self.protocol.names[k] for k in rows))
        records = tuple(
            replace(
                record,
                landmarks_px=record.landmarks_px[rows],
                annotators={reader: points[rows] for reader, points in record.annotators.items()},
            )
            for record in self.records
        )
        return replace(self, protocol=protocol, records=records)

    def by_id(self) -> dict[str, CephRecord]:
        """The films by their id."""
        return {record.film_id: record for record in self.records}
