"""The films: can they be read, are their pixels of a plausible size, are their points there."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from ceph_core.check.finding import Finding, some
from ceph_core.config import Config
from ceph_core.data.cache import open_canvases, open_views
from ceph_core.data.duplicates import SMALL
from ceph_core.data.imagefile import SUFFIXES
from ceph_core.data.records import CephDataset, CephRecord
from ceph_core.errors import InputError
from ceph_core.geometry import canvas_for, data_aspect
from ceph_core.training.multi_scale import sizes

SPACING_MM, HEIGHT_MM = (0.03, 0.5), (150.0, 400.0)
SELLA_NASION_MM = (50.0, 90.0)
"""Its median over films: about 70 mm in adults, 60 in children (a film's magnification included)."""
SHOWN = 20
"""Problems of one kind that are listed one by one."""


def decode(dataset: CephDataset, config: Config, cache_dir: Path) -> tuple[list[Finding], CephDataset]:
    """Decode every film, at every size of the training so that this need not be done again; the data set without those that cannot be."""
    aspect = data_aspect([record.size for record in dataset.records])
    try:
        open_canvases(dataset.records, [canvas_for(aspect, size) for size in sizes(config)], cache_dir, beside=[SMALL])
    except InputError as error:
        bad = tuple(record for record in dataset.records if any(line.startswith(f"{record.image}:") for line in error.problems))
        rest = tuple(record for record in dataset.records if record not in bad)
        return problems("films", error.problems), replace(dataset, records=rest)
    return [Finding("ok", "films", f"all {len(dataset.records)} decode")], dataset


def decode_below(root: Path, told: Sequence[str], cache_dir: Path) -> list[Finding]:
    """Decode every image below a folder whose data set cannot be read, so that damaged films are told with the rest.

    Args:
        root: the folder.
        told: problems that are known; films they begin with are not told again.
        cache_dir: of the films.
    """
    found = (file for file in sorted(root.rglob("*")) if file.suffix.lower() in SUFFIXES and file.is_file())
    images = [file for file in found if not any(line.startswith(f"{file}:") for line in told)]
    try:
        if images:
            open_views(images, [SMALL], cache_dir)
    except InputError as error:
        return problems("films", error.problems)
    return [Finding("ok", "films", f"the {len(images)} images below {root} decode")] if images else []


def problems(check: str, lines: Sequence[str]) -> list[Finding]:
    """An error a line; beyond `SHOWN` of them only their number."""
    found = [Finding("error", check, *_parts(line)) for line in lines[:SHOWN]]
    if len(lines) > SHOWN:
        found.append(Finding("error", check, f"{len(lines) - SHOWN} more such problems"))
    return found


def _parts(line: str) -> tuple[str, str]:
    """A problem and its remedy: what our messages say after their last semicolon."""
    found, separator, todo = line.rpartition("; ")
    return (found, todo) if separator else (line, "")


def spacing(dataset: CephDataset) -> Iterator[Finding]:
    """Pixel sizes and film heights that X-ray films have, for each device, and a skull base of human length."""
    by_device: dict[str, list[CephRecord]] = {}
    for record in dataset.records:
        by_device.setdefault(record.device or "", []).append(record)
    fine = True
    for device, records in sorted(by_device.items()):
        whose = f"{device}, {len(records)} films" if device else f"{len(records)} films"
        for name, limits, unit, values in (
            ("pixel size", SPACING_MM, "mm a pixel", [each for record in records for each in record.spacing_mm]),
            ("film height", HEIGHT_MM, "mm", [record.size[0] * record.spacing_mm[1] for record in records]),
        ):
            outside = [value for value in values if not limits[0] <= value <= limits[1]]
            if outside:
                fine = False
                yield Finding(
                    "warning",
                    "spacing",
                    f"{whose}: {name} {_range(outside)} {unit}; plausible are {limits[0]:g} to {limits[1]:g}",
                    "check the pixel size (--spacing-mm, or the data set's own); every error in mm rests on it",
                )
        if (length := _sella_nasion(dataset, records)) is not None and not SELLA_NASION_MM[0] <= length <= SELLA_NASION_MM[1]:
            fine = False
            yield Finding(
                "error",
                "spacing",
                f"{whose}: sella and nasion are {length:.0f} mm apart (median); in people it is about 70",
                f"correct the pixel size: it is wrong by a factor of about {70 / length:.2g}, or the landmarks are in another order",
            )
    if fine:
        values = [each for record in dataset.records for each in record.spacing_mm]
        heights = [record.size[0] * record.spacing_mm[1] for record in dataset.records]
        devices = f" of {len(by_device)} devices" if len(by_device) > 1 else ""
        yield Finding("ok", "spacing", f"{_range(values)} mm a pixel{devices}, films {_range(heights)} mm high")


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def _sella_nasion(dataset: CephDataset, records: Sequence[CephRecord]) -> float | None:
    """Median distance in mm; None where the protocol or the films do not have both."""
    symbols = dataset.protocol.symbols
    if not {"S", "N"} <= set(symbols):
        return None
    s, n = symbols.index("S"), symbols.index("N")
    apart = [np.linalg.norm((record.landmarks_px[s] - record.landmarks_px[n]) * record.spacing_mm) for record in records]
    known = [float(each) for each in apart if not np.isnan(each)]
    return median(known) if known else None


def points(dataset: CephDataset, train_ids: Sequence[str]) -> Iterator[Finding]:
    """Landmarks outside their film, and missing ones."""
    symbols = dataset.protocol.symbols
    outside = []
    for record in dataset.records:
        height, width = record.size
        away = (record.landmarks_px < -0.5) | (record.landmarks_px > (width - 0.5, height - 0.5))
        outside += [f"film {record.film_id}: {symbols[k]}" for k in np.flatnonzero(away.any(axis=1))]
    if outside:
        todo = "correct them (was the film or the annotation resized alone?)"
        yield Finding("error", "landmarks", f"{len(outside)} lie outside their film: {some(outside)}", todo)
    missing = np.stack([np.isnan(record.landmarks_px).any(axis=1) for record in dataset.records])
    learned = set(train_ids)
    rows = np.array([record.film_id in learned for record in dataset.records])
    if rows.any():
        never = [symbols[k] for k in np.flatnonzero(missing[rows].all(axis=0))]
        if never:
            todo = "mark them, or leave them out of the protocol: a network cannot learn them"
            yield Finding("error", "landmarks", f"{', '.join(never)}: marked on no training film", todo)
        rare = [f"{symbols[k]} ({missing[rows][:, k].mean():.0%})" for k in range(len(symbols)) if 0.5 < missing[rows][:, k].mean() < 1]
        if rare:
            yield Finding("warning", "landmarks", f"missing on most training films: {', '.join(rare)}", "expect them to be learned badly")
    counts = missing.sum(axis=0)
    if counts.any():
        listed = [f"{symbols[k]} {counts[k]}" for k in np.argsort(-counts, kind="stable") if counts[k]]
        yield Finding("note", "landmarks", f"{counts.sum()} missing (they never count): {some(listed)}")
    elif not outside:
        yield Finding("ok", "landmarks", f"all {len(symbols)} are marked on all {len(dataset.records)} films, inside the film")
