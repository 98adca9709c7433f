"""`python -m search export RUN`: the run's ensemble as one ONNX file, written anew and checked, here or elsewhere."""

import argparse
import shutil
import sys
from pathlib import Path

from ceph_core.errors import InputError

HELP = "write the ONNX file of a run's ensemble again and check it, or take the ensemble elsewhere"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder with an ensemble")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="FILE.onnx: the file alone; a new folder: the whole ensemble (none: ensemble.onnx of the run)",
    )


def run(args: argparse.Namespace) -> int:
    """Export; prints the path written."""
    from ceph_core.data.imagefile import read_grey
    from ceph_core.inference.export import ONNX_FILE, export_onnx
    from ceph_core.inference.predictor import Predictor
    from search import records

    loaded = records.load(args.run)
    folder = loaded.folder.ensemble_dir
    if loaded.manifest is None:
        raise InputError(f"{args.run}: has no ensemble yet; end its search with `python -m search promote {args.run}`")
    out: Path = args.out or folder / ONNX_FILE
    alone = out.suffix == ".onnx"
    if not alone and out.exists():
        raise InputError(f"--out {out}: already exists; give a new folder, or a file that ends in .onnx")
    images = [Path(image) for image in loaded.splits.loc[loaded.splits["split"] == "test", "image"]]
    films = [read_grey(image) for image in images[:3] if image.is_file()]
    print(f"checked on {f'{len(films)} test films' if films else 'drawn textures: the test films are not there'}", file=sys.stderr)
    if not alone:
        shutil.copytree(folder, out, ignore=shutil.ignore_patterns(ONNX_FILE))
    difference = export_onnx(Predictor.load(folder), out if alone else out / ONNX_FILE, films, lambda line: print(line, file=sys.stderr))
    print(f"its points differ from the members' by at most {difference:.4f} px", file=sys.stderr)
    print(out)
    return 0
