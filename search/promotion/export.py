"""The ensemble folder: members, manifest, anatomy and one ONNX file; there whole or not at all."""

import shutil
import time
from typing import Any

from ceph_core.data.films import TrainingData
from ceph_core.data.fingerprint import dataset_fingerprint, digests
from ceph_core.data.imagefile import read_grey
from ceph_core.geometry import data_aspect
from ceph_core.inference.calibration import coverage, read_calibration
from ceph_core.inference.export import export_onnx
from ceph_core.inference.held_out import HeldOut, write_doubts
from ceph_core.inference.manifest import make_manifest, write_manifest
from ceph_core.inference.member import load_member
from ceph_core.inference.model_card import write_card
from ceph_core.inference.predictor import Predictor
from ceph_core.inference.selection import Selection
from ceph_core.inference.tta import Tta
from search.promotion.chosen import Chosen
from search.promotion.locked_test import LockedTest
from search.promotion.networks import Say
from search.records import ENSEMBLE, RunFolder


def export(
    run: RunFolder,
    data: TrainingData,
    chosen: Chosen,
    test: LockedTest,
    selection: Selection,
    held_out: HeldOut,
    held_out_by: str,
    tta: Tta,
    say: Say,
) -> float:
    """Write ensemble/; the largest difference between ONNX and PyTorch, px.

    Args:
        held_out: the ensemble, or the confirmed networks that it was chosen by, on films they did not learn from.
        held_out_by: whose these are, in a sentence.
    """
    say("promotion: the ensemble is exported, its ONNX file checked against PyTorch")
    fresh = run.ensemble_dir.with_name(f".{run.ensemble_dir.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for number, network in enumerate(chosen.networks):
        shutil.copytree(network.folder, fresh / f"member_{number}")
    figures: dict[str, Any] = {
        "validation_mre_mm": selection.score_mm,
        "validation_films": len(held_out.errors_mm),
        "expected_mre_mm": vars(selection.expected),
        "held_out_by": held_out_by,
        "test": {row.name: row.to_dict() for row in test.scores},
        "paired_mm": {
            f"ensemble against {name}" if " against " not in name else name: vars(paired) for name, paired in test.paired.items()
        },
    }
    learned = (*data.train_ids, *data.validation_ids)
    by_id = data.dataset.by_id()
    manifest = make_manifest(
        [load_member(network.folder) for network in chosen.networks],
        chosen.weights,
        chosen.combine,
        data.dataset.protocol,
        data_aspect([record.size for record in data.dataset.records]),
        data_fingerprint=dataset_fingerprint(data.dataset, data.cache_dir),
        training_films=learned,
        training_digests=digests([by_id[film].image for film in learned], data.cache_dir),
        figures=figures,
        tta=tta,
        member_films=[data.for_fold(network.fold).train_ids for network in chosen.networks],
    )
    write_manifest(fresh, manifest)
    for missing in write_doubts(fresh, data, held_out):
        say(f"promotion: {missing}")
    said = ""
    if (radii := read_calibration(fresh, data.dataset.protocol.symbols)) is not None:
        found = coverage(radii, test.scores[0].errors_mm, test.predictions[ENSEMBLE, "test"][2])
        figures["radius"] = vars(found)
        said = f"on the locked test {found}"
        say(f"promotion: {said}")
    films = [read_grey(record.image) for record in test.records[:3]]
    difference = export_onnx(Predictor.load(fresh), fresh / "ensemble.onnx", films, lambda line: say(f"promotion: {line}"))
    figures["onnx_difference_px"] = difference
    whole = manifest.model_copy(update={"figures": figures})
    write_manifest(fresh, whole)
    write_card(fresh, run.path.resolve().name, whole, data, said)
    if run.ensemble_dir.exists():
        aside = run.ensemble_dir.with_name(f".ensemble.{int(time.time())}")
        run.ensemble_dir.rename(aside)
        shutil.rmtree(aside)
    fresh.rename(run.ensemble_dir)
    return difference
