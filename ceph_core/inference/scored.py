"""Which films are scored, whether the model has seen them, and what is written of them."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ceph_core.data.fingerprint import dataset_fingerprint, digests
from ceph_core.data.records import CephDataset, CephRecord
from ceph_core.data.splits import Splits
from ceph_core.errors import InputError
from ceph_core.inference.calibration import Coverage
from ceph_core.inference.evaluate import Scores, reference_of
from ceph_core.inference.manifest import Manifest
from ceph_core.inference.refine import Review
from ceph_core.inference.refine_effect import effect_of
from ceph_core.landmarks import Protocol
from ceph_core.measurements import Agreement


def chosen(dataset: CephDataset, splits: Splits, split: str) -> tuple[CephRecord, ...]:
    """The films of a split, or of "all".

    Raises:
        InputError: no film has that split.
    """
    wanted = {record.film_id for record in dataset.records} if split == "all" else set(splits.ids(split))
    if not wanted:
        known = ", ".join(sorted({row.split for row in splits.rows}))
        raise InputError(f"--split: {split}: no film of {dataset.root} is in it; there are {known}, and all")
    return tuple(record for record in dataset.records if record.film_id in wanted)


def leaks(records: Sequence[CephRecord], splits: Splits, manifest: Manifest | None, dataset: CephDataset, cache_dir: Path) -> list[str]:
    """Warnings: scored films that the model learned from or was chosen on, by content or id, and radiographs scored twice."""
    lines = []
    group = {row.film_id: row.group for row in splits.rows}
    groups = [group[record.film_id] for record in records]
    if len(set(groups)) < len(groups):
        twice = [record.film_id for record, name in zip(records, groups, strict=True) if groups.count(name) > 1]
        lines.append(f"{len(twice)} scored films share a radiograph with another and count twice: {_some(twice)}")
    if manifest is None:
        return [*lines, "a member folder does not say which films it learned from; give the ensemble folder to have that checked"]
    same_data = dataset_fingerprint(dataset, cache_dir) == manifest.data_fingerprint
    ids, contents = set(manifest.training_films), set(manifest.training_digests)
    if contents:
        found = digests([record.image for record in dataset.records], cache_dir)
        seen = {record.film_id for record, digest in zip(dataset.records, found, strict=True) if digest in contents}
        how = "by content"
    else:
        seen = {record.film_id for record in dataset.records} & ids
        how = "by id" if same_data else "by id, in a data set or reference that is not the one it was trained on"
    known = [record.film_id for record in records if record.film_id in seen]
    if known:
        lines.append(f"the model learned from or was chosen on {len(known)} of {len(records)} scored films ({how}): {_some(known)}")
    seen_groups = {group[film] for film in seen}
    doubles = [record.film_id for record, name in zip(records, groups, strict=True) if name in seen_groups and record.film_id not in seen]
    if doubles:
        lines.append(f"{len(doubles)} scored films show a radiograph that the model learned from or was chosen on: {_some(doubles)}")
    return lines


def write_scores(
    path: Path,
    protocol: Protocol,
    records: Sequence[CephRecord],
    points_px: NDArray[np.float64],
    confidence: NDArray[np.float32],
    rows: Sequence[Scores],
    review: Review | None = None,
    held: Coverage | None = None,
    agreed: Mapping[str, Sequence[Agreement]] | None = None,
) -> None:
    """A `.csv` with a row a point of the first of `rows`, or a `.json` with the figures of all of them.

    Args:
        points_px: (N, K, 2) original px.
        confidence: (N, K).
        held: what radii were worth; adds its figures to a `.json`.
        agreed: how measurements agree, by whose; adds its figures to a `.json`.
        review: adds a column of reasons, or the figures of what flagging brings.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        figures = {row.name: row.to_dict() for row in rows}
        landmarks = {symbol: figure.to_dict() for symbol, figure in zip(protocol.symbols, rows[0].by_landmark, strict=True)}
        tree: dict[str, object] = {"scores": figures, "by_landmark": landmarks}
        if review is not None:
            tree["review"] = [effect.to_dict() for effect in effect_of(review, points_px, *reference_of(records))]
        if held is not None:
            tree["radius"] = vars(held)
        if agreed:
            tree["measurements"] = {whose: [vars(row) for row in each] for whose, each in agreed.items()}
        text = json.dumps(_without_nan(tree), indent=1, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = ("film", "landmark", "x_px", "y_px", "reference_x_px", "reference_y_px", "error_mm", "confidence")
        writer.writerow(names if review is None else (*names, "review"))
        for n, record in enumerate(records):
            reasons = None if review is None else review.reasons(n)
            for k, symbol in enumerate(protocol.symbols):
                truth, error = record.landmarks_px[k], rows[0].errors_mm[n, k]
                known = ("", "", "") if np.isnan(error) else (f"{truth[0]:.2f}", f"{truth[1]:.2f}", f"{error:.3f}")
                x, y = points_px[n, k]
                row = (record.film_id, symbol, f"{x:.2f}", f"{y:.2f}", *known, f"{confidence[n, k]:.4f}")
                writer.writerow(row if reasons is None else (*row, reasons[k]))


def _without_nan(tree: object) -> object:
    """JSON has no NaN: null."""
    if isinstance(tree, dict):
        return {key: _without_nan(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_without_nan(value) for value in tree]
    return None if isinstance(tree, float) and np.isnan(tree) else tree


def _some(films: Sequence[str], shown: int = 8) -> str:
    return ", ".join(films[:shown]) + (f" and {len(films) - shown} more" if len(films) > shown else "")
