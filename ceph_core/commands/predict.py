"""`python -m ceph_core predict`: landmarks of films, as CSV, JSON and pictures."""

import argparse
import sys
from collections import deque
from pathlib import Path

from ceph_core import options

HELP = "find the landmarks of films; writes points.csv, points.json and <film>_overlay.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("films", nargs="+", metavar="FILE", help="film, folder of films or pattern")
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="ensemble folder, results/<run>/ensemble, or a member in it"
    )
    parser.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help="folder to write to; replaces such files")
    parser.add_argument("--spacing-mm", type=float, metavar="X", help="mm per original pixel; without it no mm are given")
    parser.add_argument("--overlays", action=argparse.BooleanOptionalAction, default=True, help="draw the points on a picture a film")
    parser.add_argument(
        "--refine",
        choices=("flag", "drop", "replace", "none"),
        help="points that are unsure or that no anatomy allows: name them in a column, leave them out, or put them where the others say; "
        "needs shape.safetensors beside the model (default: flag where it is there)",
    )
    options.add_tta(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def run(args: argparse.Namespace) -> int:
    """Predict; prints the path of points.csv."""
    from ceph_core.data.imagefile import read_grey
    from ceph_core.data.parallel import in_order, stderr_progress
    from ceph_core.errors import InputError
    from ceph_core.inference import tta
    from ceph_core.inference.device import device_for
    from ceph_core.inference.filelist import films_named
    from ceph_core.inference.predictor import Predictor
    from ceph_core.inference.refine import reviewer_of
    from ceph_core.inference.results import ResultFolder

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
    if args.spacing_mm is None:
        print("no --spacing-mm: columns in mm stay empty", file=sys.stderr)
    # Results appear when all films are done, so that a damaged one found on the way leaves nothing behind.
    with ResultFolder(args.out, predictor.protocol, args.spacing_mm, args.overlays) as results:
        found = predictor.predict_files(files, stderr_progress("predicting", last=True))
        for path, (film, prediction) in zip(files, found, strict=True):
            review = reviewer.review(prediction.points_px[None], prediction.confidence[None]) if reviewer else None
            results.add(path, film, prediction, review, args.refine or "flag")
    if results.num_flagged:
        print(f"{results.num_flagged} of {len(files) * len(predictor.protocol)} points are to be reviewed: column review", file=sys.stderr)
    print(args.out / "points.csv")
    return 0
