"""Predicted points in the files that other programs read: CSV, JSON, COCO keypoints and the CL-Detection challenge's JSON."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ceph_core.landmarks import Protocol

COLUMNS = (
    "file", "landmark", "name", "x_px", "y_px", "x_mm", "y_mm", "confidence", "radius_px", "radius_mm", "review", "spacing_x_mm",
    "spacing_y_mm",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class FilmPoints:
    """One film's points.

    Attributes:
        file: of the film.
        size: (height, width), px.
        spacing_mm: (x, y) mm per original px; None: not known.
        points_px: (K, 2) original px, NaN where a point was dropped.
        confidence: (K,) 0-1.
        radius_mm: (K,) that holds the true point in at least nine cases of ten; None: not known.
        reasons: K reasons to look at the point again, empty for none; None: nobody looked.
        overlay: file name of the picture; None: none was drawn.
    """

    file: Path
    size: tuple[int, int]
    spacing_mm: tuple[float, float] | None
    points_px: NDArray[np.float64]
    confidence: NDArray[np.floating]
    radius_mm: NDArray[np.float64] | None = None
    reasons: Sequence[str] | None = None
    overlay: str | None = None

    def landmarks(self, protocol: Protocol) -> list[dict[str, Any]]:
        """A mapping a landmark; None where nothing is known."""
        named = enumerate(zip(protocol.symbols, protocol.names, strict=True))
        return [self._landmark(place, symbol, name) for place, (symbol, name) in named]

    def _landmark(self, place: int, symbol: str, name: str) -> dict[str, Any]:
        point, radius = self.points_px[place], None if self.radius_mm is None else float(self.radius_mm[place])
        is_there = not np.isnan(point).any()
        x_mm = y_mm = radius_px = None
        if self.spacing_mm is not None and is_there:
            x_mm, y_mm = (round(float(each * mm), 3) for each, mm in zip(point, self.spacing_mm, strict=True))
            radius_px = None if radius is None else round(radius / float(np.sqrt(np.prod(self.spacing_mm))), 2)
        return {
            "landmark": symbol,
            "name": name,
            "x_px": round(float(point[0]), 2) if is_there else None,
            "y_px": round(float(point[1]), 2) if is_there else None,
            "x_mm": x_mm,
            "y_mm": y_mm,
            "confidence": round(float(self.confidence[place]), 4),
            "radius_px": radius_px,
            "radius_mm": round(radius, 2) if radius is not None and is_there else None,
            "review": None if self.reasons is None else self.reasons[place],
        }


def write_csv(path: Path, protocol: Protocol, films: Sequence[FilmPoints]) -> None:
    """A row a point; the reader of tables reads it back."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for film in films:
            x, y = film.spacing_mm or (None, None)
            said = {"file": str(film.file), "spacing_x_mm": x, "spacing_y_mm": y}
            writer.writerows(said | landmark for landmark in film.landmarks(protocol))


def write_json(path: Path, protocol: Protocol, films: Sequence[FilmPoints]) -> None:
    """Everything, a film an object."""
    whole = {
        "protocol": protocol.name,
        "frame": "original pixels, x then y, pixel centres on whole numbers; mm = px * spacing_mm",
        "radius": "holds the true point in at least nine cases of ten",
        "films": [
            {
                "file": str(film.file),
                "height": film.size[0],
                "width": film.size[1],
                "spacing_mm": None if film.spacing_mm is None else list(film.spacing_mm),
                "overlay": film.overlay,
                "landmarks": film.landmarks(protocol),
            }
            for film in films
        ],
    }
    _dump(path, whole)


def write_coco(path: Path, protocol: Protocol, films: Sequence[FilmPoints]) -> None:
    """COCO keypoints: v = 2, or 0 with 0, 0 for a dropped point; the reader of COCO files reads it back."""
    images, annotations = [], []
    for number, film in enumerate(films, start=1):
        there = [not np.isnan(point).any() for point in film.points_px]
        image = {"id": number, "file_name": str(film.file), "height": film.size[0], "width": film.size[1]}
        images.append(image if film.spacing_mm is None else {**image, "spacing": list(film.spacing_mm)})
        triples = [
            [round(float(x), 2), round(float(y), 2), 2] if known else [0, 0, 0] for (x, y), known in zip(film.points_px, there, strict=True)
        ]
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "keypoints": [value for triple in triples for value in triple],
                "num_keypoints": sum(there),
                "score": round(float(np.mean(film.confidence)), 4),
            }
        )
    category = {"id": 1, "name": "head", "keypoints": list(protocol.symbols), "skeleton": []}
    _dump(path, {"images": images, "annotations": annotations, "categories": [category]})


def write_cldetection(path: Path, protocol: Protocol, films: Sequence[FilmPoints]) -> None:
    """The submission of the CL-Detection challenges: landmarks and films by number, from 1, in the order given."""
    points = [
        {"name": str(place), "point": [round(float(x), 2), round(float(y), 2), number]}
        for number, film in enumerate(films, start=1)
        for place, (x, y) in enumerate(film.points_px, start=1)
        if not np.isnan([x, y]).any()
    ]
    _dump(path, {"name": "Orthodontic landmarks", "type": "Multiple points", "points": points, "version": {"major": 1, "minor": 0}})


Writer = Callable[[Path, Protocol, Sequence[FilmPoints]], None]
WRITERS: dict[str, tuple[str, Writer]] = {
    "csv": ("points.csv", write_csv),
    "json": ("points.json", write_json),
    "coco": ("coco.json", write_coco),
    "cldetection": ("orthodontic-landmarks.json", write_cldetection),
}
"""File name and writer by what `predict --write` calls them."""


def _dump(path: Path, tree: Any) -> None:
    path.write_text(json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
