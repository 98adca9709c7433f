"""`python -m ceph_core export`: one ONNX file of an ensemble."""

import argparse
import sys
from pathlib import Path

HELP = "write an ensemble as one ONNX file that takes a film of any size, and check it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="ensemble folder, results/<run>/ensemble, or a member in it"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write (none: ensemble.onnx in the model's folder)")
    parser.add_argument(
        "--check", type=Path, nargs="+", default=[], metavar="FILE", help="films to compare on (none: drawn textures of three sizes)"
    )


def run(args: argparse.Namespace) -> int:
    """Export; prints the file's path."""
    from ceph_core.data.imagefile import read_grey
    from ceph_core.inference.export import ONNX_FILE, export_onnx
    from ceph_core.inference.predictor import Predictor

    predictor = Predictor.load(args.model)
    films = [read_grey(path) for path in args.check]
    out = args.out or args.model / ONNX_FILE
    print(f"exporting {len(predictor.members)} members", file=sys.stderr)
    difference = export_onnx(predictor, out, films, lambda line: print(line, file=sys.stderr))
    print(f"{predictor.combine}; its points differ from the predictor's by at most {difference:.4f} px", file=sys.stderr)
    print(out)
    return 0
