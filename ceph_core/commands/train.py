"""`python -m ceph_core train`: one training without a search, through the same configuration, with the guide's own flags."""

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ceph_core.config import SourceConfig

HELP = "train one network: the guide's recommended setting, changed by flags and --set"

_MODELS = {"hrnet": "hrnet_w48"}
"""The guide's name for its network."""
_NO_CHECKPOINT = "the run in --out"
_SOURCE = {"data": None, "format": "auto", "spacing_mm": None, "annotator": "mean", "validation_share": None}
_PLAN: dict[str, Any] = {
    "model": None, "batch_size": None, "epochs": None, "image_size": None, "mixed_precision": False, "overrides": [], "minutes": None,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.set_defaults(**_SOURCE, **_PLAN)
    parser.add_argument("--data", type=Path, metavar="DIR", help="data-set folder (none: drawn cephalograms)")
    parser.add_argument("--format", help="data-set format; auto looks at the folder")
    parser.add_argument("--spacing-mm", type=float, metavar="X", help="mm per original pixel, where the data set does not carry it")
    parser.add_argument("--annotator", help="whose points are the reference: mean, senior or junior")
    parser.add_argument(
        "--validation-share", type=float, metavar="S", help="share of the training films that validate; 0: train on all (default: 0.15)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: results/train-DATE-TIME)")
    parser.add_argument("--model", metavar="NAME", help="hrnet (hrnet_w48), hrnet_w32, hrnet_w18 or hrnet_w18_small")
    parser.add_argument("--batch_size", "--batch-size", type=int, metavar="N", help="films a step (default: 6)")
    parser.add_argument("--epochs", type=int, metavar="N", help="length of the run (default: 250)")
    parser.add_argument(
        "--image_size", "--image-size", type=int, nargs="+", metavar="PX",
        help="height and width of the input, px; the longer one holds, the other follows the films' aspect (default: 512)",
    )  # fmt: skip
    parser.add_argument(
        "--mixed_precision",
        "--mixed-precision",
        action="store_true",
        help="insist on half precision; where the device has it, it is the default",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        metavar="KEY=VALUE",
        help="change any knob, e.g. train.lr=1e-3; the value is YAML; repeatable",
    )
    parser.add_argument(
        "--minutes", type=float, metavar="M",
        help="wall time, minutes: a few steps are timed and train.epochs is chosen so that the run fits",
    )  # fmt: skip
    parser.add_argument(
        "--resume", nargs="?", const=_NO_CHECKPOINT, metavar="CHECKPOINT",
        help="alone: go on with the run in --out, exactly; with a checkpoint (state.pt or a run folder): take its weights into a new "
        "run, whose plan is the checkpoint's but for the flags given",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Train; prints the folder of what was trained."""
    from ceph_core import single_run

    try:
        if args.resume == _NO_CHECKPOINT:
            result = single_run.resume(_only_with_resume(args))
        else:
            stage1 = None if args.resume is None else single_run.Stage1.of(Path(args.resume).absolute())
            args.out = args.out or Path("results") / time.strftime("train-%Y%m%d-%H%M%S")
            config = single_run.configure(args.overrides, _flags(args), None if stage1 is None else stage1.config)
            source = _source(args, None if stage1 is None else stage1.source)
            result = single_run.start(args.out.absolute(), source, config, args.minutes, stage1)
    except (KeyboardInterrupt, single_run.Interrupted) as stop:
        can_resume = args.out is not None and single_run.can_resume(args.out)
        saved = str(stop) or ("the last checkpoint stays" if can_resume else "nothing was saved yet")
        print(f"\ninterrupted; {saved}", file=sys.stderr)
        if can_resume:
            print(f"go on with:\n  python -m ceph_core train --out {shlex.quote(str(args.out.absolute()))} --resume", file=sys.stderr)
        return 130
    except (single_run.Diverged, single_run.Hopeless, single_run.OutOfMemory) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"its errors on the locked test films:\n  python -m ceph_core evaluate --model {shlex.quote(str(result))}", file=sys.stderr)
    print(result)
    return 0


def _flags(args: argparse.Namespace) -> dict[str, Any]:
    """What the guide's flags set, by dotted key."""
    from ceph_core.errors import InputError

    if args.image_size is not None and len(args.image_size) > 2:
        raise InputError(f"--image_size: one or two numbers, height and width in px, got {len(args.image_size)}")
    given = {
        "model.name": _MODELS.get(args.model, args.model),
        "train.batch_size": args.batch_size,
        "train.epochs": args.epochs,
        "data.image_size": None if args.image_size is None else max(args.image_size),
        "train.precision": _half_precision() if args.mixed_precision else None,
    }
    return {key: value for key, value in given.items() if value is not None}


def _half_precision() -> str:
    """The format that this machine computes in, or a word that it has none."""
    from ceph_core.config import TrainConfig
    from ceph_core.training.device import pick_device, pick_precision

    found = pick_precision(TrainConfig(), pick_device())
    if found == "fp32":
        print("--mixed_precision: this device computes in no half precision; training goes on in fp32", file=sys.stderr)
    return found


def _source(args: argparse.Namespace, before: "SourceConfig | None") -> "SourceConfig":
    """The films of the options; those of the checkpoint's run where none is given."""
    from pydantic import ValidationError

    from ceph_core.config import SourceConfig, problems_of
    from ceph_core.errors import InputError

    if before is not None and all(getattr(args, name) == default for name, default in _SOURCE.items()):
        return before
    share = {} if args.validation_share is None else {"validation_share": args.validation_share}
    try:
        return SourceConfig(
            format=args.format, root=args.data and args.data.absolute(), spacing_mm=args.spacing_mm, annotator=args.annotator, **share
        )
    except ValidationError as error:
        raise InputError(problems_of(error, "options")) from error


def _only_with_resume(args: argparse.Namespace) -> Path:
    """The folder of the run to go on with; refuses options that it would have to ignore."""
    from ceph_core.errors import InputError

    given = [name for name, default in (_SOURCE | _PLAN).items() if getattr(args, name) != default]
    if given:
        names = ", ".join("--set" if name == "overrides" else "--" + name for name in given)
        raise InputError(
            f"--resume: {names} cannot change a run that has begun; leave it out, or begin a new run from its weights: --resume CHECKPOINT"
        )
    if args.out is None:
        raise InputError("--resume: which run? give its --out, or a checkpoint: --resume CHECKPOINT")
    return Path(args.out).absolute()
