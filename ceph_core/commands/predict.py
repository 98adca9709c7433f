"""`python -m ceph_core predict`: landmarks of films, as CSV, JSON and pictures."""

import argparse
import sys
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ceph_core import options

if TYPE_CHECKING:
    from ceph_core.landmarks import Protocol
    from ceph_core.measurements import Definitions

HELP = "find the landmarks of films; writes points.csv, points.json (or what --write says), measurements.csv and <film>_overlay.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("films", nargs="+", metavar="FILE", help="film, folder of films or pattern")
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="ensemble folder, results/<run>/ensemble, or a member in it"
    )
    parser.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help="folder to write to; replaces such files")
    parser.add_argument(
        "--spacing-mm",
        type=float,
        metavar="X",
        help="mm per original pixel of films that do not say (DICOM may); none: no mm are given",
    )
    parser.add_argument(
        "--write",
        nargs="+",
        choices=("csv", "json", "coco", "cldetection"),
        default=["csv", "json"],
        help="files of points: points.csv, points.json, coco.json, orthodontic-landmarks.json (default: csv json)",
    )
    parser.add_argument("--overlays", action=argparse.BooleanOptionalAction, default=True, help="draw the points on a picture a film")
    parser.add_argument(
        "--refine",
        choices=("flag", "drop", "replace", "none"),
        help="points that are unsure or that no anatomy allows: name them in a column, leave them out, or put them where the others say; "
        "needs shape.safetensors beside the model (default: flag where it is there)",
    )
    parser.add_argument(
        "--measurements",
        default="built-in",
        metavar="FILE",
        help="what is measured into measurements.csv: built-in (SNA, SNB, ANB and more, with norms), a YAML file like it, or none",
    )
    options.add_tta(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def run(args: argparse.Namespace) -> int:
    """Predict; prints the path of points.csv."""
    import numpy as np

    from ceph_core.data.imagefile import read_grey
    from ceph_core.data.parallel import in_order, stderr_progress
    from ceph_core.errors import InputError
    from ceph_core.inference import tta
    from ceph_core.inference.calibration import read_calibration
    from ceph_core.inference.device import device_for
    from ceph_core.inference.filelist import films_named
    from ceph_core.inference.predictor import Predictor
    from ceph_core.inference.refine import reviewer_of
    from ceph_core.inference.results import ResultFolder
    from ceph_core.measurements import definitions_named

    problems = []
    if args.spacing_mm is not None and not 0 < args.spacing_mm <= 5:
        problems.append(f"--spacing-mm: {args.spacing_mm:g}: allowed are mm per pixel above 0 and up to 5")
    if args.out.exists() and not args.out.is_dir():
        problems.append(f"--out: {args.out}: is a file; give a folder")
    try:
        views = tta.parse(args.tta)
    except InputError as error:
        problems.extend(error.problems)
    try:
        definitions = definitions_named(args.measurements)
    except InputError as error:
        problems.extend(error.problems)
    try:
        files = films_named(args.films)
    except InputError as error:
        raise InputError([*problems, *error.problems]) from error
    if problems:
        try:
            deque(in_order(read_grey, files, stderr_progress("checking films")), maxlen=0)
        except InputError as error:
            problems.extend(error.problems)
        raise InputError(problems)

    predictor = Predictor.load(args.model, device_for(args.device), views)
    reviewer = None if args.refine == "none" else reviewer_of(args.model, predictor.protocol, needed=args.refine is not None)
    radii = read_calibration(args.model, predictor.protocol.symbols)
    spacings = _spacings(files, args.spacing_mm)
    # Results appear when all films are done, so that a damaged one found on the way leaves nothing behind.
    with ResultFolder(args.out, predictor.protocol, args.write, args.overlays, _measurable(definitions, predictor.protocol)) as results:
        found = predictor.predict_files(files, stderr_progress("predicting", last=True))
        for path, (film, prediction) in zip(files, found, strict=True):
            spacing = spacings[path]
            pixel = None if spacing is None else np.array([spacing])
            review = reviewer.review(prediction.points_px[None], prediction.confidence[None], pixel) if reviewer else None
            radius = None if radii is None else radii.radius_mm(prediction.confidence)
            results.add(path, film, prediction, spacing, radius, review, args.refine or "flag")
    if results.num_flagged:
        print(f"{results.num_flagged} of {len(files) * len(predictor.protocol)} points are to be reviewed: column review", file=sys.stderr)
    print(results.main_file)
    return 0


def _measurable(definitions: "Definitions | None", protocol: "Protocol") -> "Definitions | None":
    """None where nothing can be measured: points that only have numbers have no anatomy."""
    if definitions is not None and protocol.is_numbered:
        print(f"no measurements: the landmarks of {protocol.name} are numbers", file=sys.stderr)
        return None
    return definitions


def _spacings(files: Sequence[Path], given_mm: float | None) -> dict[Path, tuple[float, float] | None]:
    """(x, y) mm a pixel of each film: its DICOM header's, else the one given; what is not known or to be known is said.

    Raises:
        InputError: damaged DICOM headers.
    """
    from ceph_core.data import dicom
    from ceph_core.errors import InputError

    found: dict[Path, tuple[float, float] | None] = {}
    said: Counter[str] = Counter()
    problems: list[str] = []
    for path in files:
        found[path] = None if given_mm is None else (given_mm, given_mm)
        try:
            header = dicom.spacing(path)
        except InputError as error:
            problems += error.problems
            continue
        if header is not None:
            found[path] = header.mm
            said[f"{header.tag}{': ' + header.note if header.note else ''}"] += 1
    if problems:
        raise InputError(problems)
    for line, count in said.items():
        print(f"mm a pixel of {count} films come from the DICOM header, {line}", file=sys.stderr)
    if unknown := sum(each is None for each in found.values()):
        print(f"no --spacing-mm: columns in mm, and radii, stay empty for {unknown} of {len(files)} films", file=sys.stderr)
    return found
