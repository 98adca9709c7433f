"""`python -m ceph_core evaluate`: errors in mm on a data set whose landmarks are known."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ceph_core import options

if TYPE_CHECKING:
    from ceph_core.data.records import CephDataset
    from ceph_core.inference.predictor import Predictor
    from ceph_core.landmarks import Protocol

HELP = "score an ensemble on films with known landmarks, beside the mean shape and human readers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="ensemble folder, results/<run>/ensemble, or a member in it"
    )
    options.add_source(parser)
    parser.add_argument("--split", default="test", help="films to score: test, test2, validation, train or all")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write .csv (a row a point) or .json (the figures)")
    parser.add_argument(
        "--refine",
        action="store_true",
        help="also say how well doubtful points are flagged, and what dropping or moving them does",
    )
    parser.add_argument(
        "--measurements", default="built-in", metavar="FILE", help="what is measured and compared: built-in, a YAML file, or none"
    )
    options.add_tta(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def run(args: argparse.Namespace) -> int:
    """Score; prints the tables."""
    import numpy as np
    from rich.console import Console

    from ceph_core import data
    from ceph_core.data.films import TrainingData
    from ceph_core.data.parallel import stderr_progress
    from ceph_core.errors import InputError
    from ceph_core.inference import evaluate, tta
    from ceph_core.inference.calibration import coverage, read_calibration
    from ceph_core.inference.device import device_for
    from ceph_core.inference.measurement_files import agreement_table, film_agreements
    from ceph_core.inference.predictor import Predictor
    from ceph_core.inference.refine import reviewer_of
    from ceph_core.inference.refine_effect import effect_of, effect_table
    from ceph_core.inference.scored import chosen, leaks, write_scores
    from ceph_core.measurements import definitions_named

    if args.out and args.out.suffix not in (".csv", ".json"):
        raise InputError(f"--out: {args.out}: the suffix says what is written; allowed are .csv and .json")
    definitions = definitions_named(args.measurements)
    predictor = Predictor.load(args.model, device_for(args.device), tta.parse(args.tta))
    reviewer = reviewer_of(args.model, predictor.protocol, needed=True) if args.refine else None
    source = options.source_of(args)
    cache_dir = data.default_cache_dir()
    dataset = data.read(source, cache_dir)
    shared, scored = _on_shared_points(predictor.protocol, dataset, args.refine)
    splits = TrainingData.of(dataset, source, cache_dir, to_learn=False).splits
    records = chosen(scored, splits, args.split)
    for line in leaks(records, splits, predictor.manifest, dataset, cache_dir):
        print(f"warning: {line}", file=sys.stderr)

    found = predictor.predict_files([record.image for record in records], stderr_progress("predicting", last=True))
    points, confidences = zip(*((each.points_px[shared], each.confidence[shared]) for _, each in found), strict=True)
    scores = evaluate.score(np.stack(points), records, _row_name(args.model, predictor))
    training = [record for record in scored.records if record.film_id in set(splits.ids("train"))]
    rows = [scores, *([evaluate.mean_shape(training, records)] if training else []), *evaluate.readers(records)]
    # Wide enough for the table when the output goes to a file.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    console.print(evaluate.table(f"{dataset.name}, {args.split}: {len(records)} films", rows, console.width))
    console.print(evaluate.landmark_table(scores, scored.protocol, [record.film_id for record in records]))
    spacing = np.array([record.spacing_mm for record in records])
    review = reviewer.review(np.stack(points), np.stack(confidences), spacing) if reviewer else None
    if review:
        console.print(effect_table(effect_of(review, np.stack(points), *evaluate.reference_of(records))))
    radii = read_calibration(args.model, predictor.protocol.symbols)
    held = None if radii is None else coverage(radii.only(shared), scores.errors_mm, np.stack(confidences))
    if held:
        console.print(str(held), highlight=False)
    agreed = {}
    if definitions is not None and not scored.protocol.is_numbered:
        agreed = film_agreements(definitions, scored.protocol, np.stack(points), records, scores.name)
        console.print(agreement_table(agreed))
    if args.out:
        write_scores(args.out, scored.protocol, records, np.stack(points), np.stack(confidences), rows, review, held, agreed)
        print(args.out)
    return 0


def _on_shared_points(protocol: "Protocol", dataset: "CephDataset", refine: bool) -> tuple[list[int], "CephDataset"]:
    """The model's landmarks that the data mark too, by place, and the data with these alone."""
    from ceph_core.errors import InputError

    pairs = protocol.shared_with(dataset.protocol)
    if not pairs:
        raise InputError(
            f"--data: {dataset.root}: landmarks of {dataset.protocol.name}, but the model finds those of {protocol.name}, and no point "
            "is in both (numbered points are only their own set's); give data of the model's protocol"
        )
    if len(pairs) == len(protocol) == len(dataset.protocol):
        return [here for here, _ in pairs], dataset.only([there for _, there in pairs], dataset.protocol.name)
    if refine:
        raise InputError(
            f"--refine: needs all landmarks of {protocol.name}, but {dataset.root} marks those of {dataset.protocol.name}; leave it out"
        )
    name = f"{protocol.name} and {dataset.protocol.name}"
    print(f"{len(pairs)} landmarks are in both {name}; the others are not scored", file=sys.stderr)
    return [here for here, _ in pairs], dataset.only([there for _, there in pairs], name)


def _row_name(model: Path, predictor: "Predictor") -> str:
    views = f", TTA {predictor.tta}" if predictor.tta.views[1:] else ""
    return f"{model.name} ({predictor.combine}{views})"
