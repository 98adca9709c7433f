"""`python -m ceph_core train`: one training without a search, through the same configuration, with the guide's own flags."""

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ceph_core import options

if TYPE_CHECKING:
    from ceph_core.config import SourceConfig
    from ceph_core.run_plan import Stage1

HELP = "train one network: the recipe for this machine, changed by flags and --set"

_NO_CHECKPOINT = "the run in --out"
_OWN = {"validation_share": None, "minutes": None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.set_defaults(**_OWN)
    options.add_source(parser)
    parser.add_argument(
        "--validation-share", type=float, metavar="S", help="share of the training films that validate; 0: train on all (default: 0.15)"
    )
    options.add_plan(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: results/train-DATE-TIME)")
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
    from ceph_core.run_plan import Stage1

    try:
        if args.resume == _NO_CHECKPOINT:
            result = single_run.resume(_only_with_resume(args))
        else:
            stage1 = None if args.resume is None else Stage1.of(Path(args.resume).absolute())
            args.out = args.out or Path("results") / time.strftime("train-%Y%m%d-%H%M%S")
            config = options.config_of(args, None if stage1 is None else stage1.config)
            source = _source(args, stage1)
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


def _source(args: argparse.Namespace, stage1: "Stage1 | None") -> "SourceConfig":
    """The films of the options; those of the checkpoint's run where none is given."""
    from ceph_core.errors import InputError

    share = {} if args.validation_share is None else {"validation_share": args.validation_share}
    if stage1 is not None and not share and all(getattr(args, name) == default for name, default in options.SOURCE.items()):
        if stage1.source is None:
            raise InputError(f"--resume {stage1.state}: no plan.yaml beside it says which films it saw; name them with --data")
        return stage1.source
    return options.source_of(args, **share)


def _only_with_resume(args: argparse.Namespace) -> Path:
    """The folder of the run to go on with; refuses options that it would have to ignore."""
    from ceph_core.errors import InputError

    given = [name for name, default in (options.SOURCE | options.PLAN | _OWN).items() if getattr(args, name) != default]
    if given:
        names = ", ".join("--set" if name == "overrides" else "--" + name for name in given)
        raise InputError(
            f"--resume: {names} cannot change a run that has begun; leave it out, or begin a new run from its weights: --resume CHECKPOINT"
        )
    if args.out is None:
        raise InputError("--resume: which run? give its --out, or a checkpoint: --resume CHECKPOINT")
    return Path(args.out).absolute()
