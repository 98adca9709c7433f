"""What a model answers on films it did not learn from, and what that tells about its doubts: the files written beside its weights."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ceph_core.data.films import TrainingData
from ceph_core.inference import calibration
from ceph_core.inference.calibration import CALIBRATION_FILE
from ceph_core.inference.device import device_for
from ceph_core.inference.ensemble import as_points, joined, normalised
from ceph_core.inference.manifest import MANIFEST_FILE, read_manifest
from ceph_core.inference.member import load_member
from ceph_core.inference.outputs import film_outputs
from ceph_core.inference.refine import write_shape
from ceph_core.inference.tta import common_of
from ceph_core.metrics import radial_errors_mm


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Answers on N films.

    Attributes:
        errors_mm: (N, K), NaN where a landmark is missing.
        confidence: (N, K).
        inflation: what errors on other films are expected to be larger by, since the ensemble was chosen from its candidates on these.
    """

    errors_mm: NDArray[np.float64]
    confidence: NDArray[np.floating]
    inflation: float = 1.0


def validation_answers(folder: Path, data: TrainingData) -> HeldOut | None:
    """Of a model's folder, on the validation films; None without such films."""
    if not data.validation_ids:
        return None
    manifest = read_manifest(folder) if (folder / MANIFEST_FILE).is_file() else None
    entries = manifest.members if manifest else ()
    members = [(load_member(folder / entry.folder, device_for("auto")), entry.weight) for entry in entries]
    members = members or [(load_member(folder, device_for("auto")), 1.0)]
    tta = manifest.tta if manifest else common_of([member.config for member, _ in members])
    combine = manifest.combine if manifest and manifest.combine != "heatmap_mean" else "coordinate_mean"
    outputs = [film_outputs(member, data, data.validation_ids, tta=tta) for member, _ in members]
    points, confidence = joined(
        torch.from_numpy(np.stack([each.points_px for each in outputs])), torch.from_numpy(np.stack([each.confidence for each in outputs])),
        combine, normalised([weight for _, weight in members]),
    )  # fmt: skip
    records = [data.dataset.by_id()[film] for film in data.validation_ids]
    reference, spacing = np.stack([record.landmarks_px for record in records]), np.array([record.spacing_mm for record in records])
    errors = radial_errors_mm(as_points(points), reference, spacing)
    return HeldOut(errors, confidence.numpy())


def write_doubts(folder: Path, data: TrainingData, held_out: HeldOut | None) -> list[str]:
    """Write the shape file and the calibration of a model's folder.

    Returns:
        What is not there and why: a model without them works, but flags nothing or gives no radius.
    """
    missing = [write_shape(folder, data, None if held_out is None else held_out.confidence)]
    try:
        if held_out is None:
            raise ValueError("no films that the model did not learn from")
        symbols = data.dataset.protocol.symbols
        calibration.fit(symbols, held_out.errors_mm, held_out.confidence, held_out.inflation).save(folder / CALIBRATION_FILE)
    except ValueError as error:
        missing.append(f"no {CALIBRATION_FILE}: {error}")
    return [line for line in missing if line]
