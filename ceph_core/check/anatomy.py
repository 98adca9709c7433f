"""Annotations that no anatomy allows, and which way the films face, by the shape of all the others."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ceph_core.check.finding import Finding, some
from ceph_core.config import Config
from ceph_core.data.records import CephDataset
from ceph_core.shape_model import IMPOSSIBLE_Z, Examined, held_out

SHOWN = 10
LEAST_MM = 2.0
"""A point nearer to its place is accurate enough for any measurement, however narrow that place is."""


def anatomy(dataset: CephDataset, config: Config) -> Iterator[Finding]:
    """Each film judged by a shape model that has not seen it."""
    landmarks = np.stack([record.landmarks_px * record.spacing_mm for record in dataset.records])
    try:
        model, examined = held_out(landmarks)
    except ValueError as error:
        yield Finding("note", "anatomy", f"not checked: {error}")
        return
    wrong = list(_impossible(dataset, examined))
    for line, todo in wrong[:SHOWN]:
        yield Finding("warning", "anatomy", line, todo)
    if len(wrong) > SHOWN:
        yield Finding("warning", "anatomy", f"{len(wrong) - SHOWN} more films with points where no anatomy puts them")
    if not wrong:
        yield Finding("ok", "anatomy", f"every point is where the others allow it (shape of {model.num_films} films)")
    yield from _facing(dataset, config, examined)


def _impossible(dataset: CephDataset, examined: Examined) -> Iterator[tuple[str, str]]:
    """A line and its remedy for each film with impossible points, the worst film first."""
    impossible = (examined.z > IMPOSSIBLE_Z) & (examined.residual > LEAST_MM)
    worst = np.where(impossible, examined.z, 0).max(axis=1)
    for n in np.argsort(-worst, kind="stable"):
        if not impossible[n].any():
            return
        record = dataset.records[n]
        points = [
            f"{dataset.protocol.symbols[k]} {examined.residual[n, k]:.0f} mm from where the others put it (z {examined.z[n, k]:.0f})"
            for k in np.argsort(-np.where(impossible[n], examined.z[n], 0), kind="stable")
            if impossible[n, k]
        ]
        if len(points) > len(dataset.protocol) / 3:
            yield (
                f"film {record.film_id} ({record.split or 'train'}): {len(points)} of {len(dataset.protocol)} points do not fit each other",
                f"compare its annotation with {_name(record.image)}: another order of the landmarks, or another film's?",
            )
        else:
            todo = f"look at {_name(record.image)}; correct what was marked wrongly"
            yield f"film {record.film_id} ({record.split or 'train'}): {some(points, 3)}", todo


def _facing(dataset: CephDataset, config: Config, examined: Examined) -> Iterator[Finding]:
    """Flips where no film needs them, or none where films face both ways."""
    turned = [record.film_id for record, mirrored in zip(dataset.records, examined.mirrored, strict=True) if mirrored]
    flips = config.augment.flip_p
    if flips and not turned:
        found = f"augment.flip_p {flips:g}, but all {len(dataset.records)} films face one way: the network learns what it will never see"
        yield Finding("note", "flips", found, "set augment.flip_p=0, unless later films face the other way")
    if turned and not flips:
        share = f"{len(turned)} of {len(dataset.records)} films face the other way: {some(turned)}"
        yield Finding("note", "flips", share, "set augment.flip_p=0.5, or flip these films and their points")


def _name(image: Path) -> str:
    return f"{image.parent.name}/{image.name}"
