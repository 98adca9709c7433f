"""`python -m ceph_core train`: one training without a search, through the same configuration."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

HELP = "train one network: the guide's recommended setting, changed by --set"

_DEFAULTS: dict[str, Any] = {"data": None, "format": "auto", "spacing_mm": None, "annotator": "mean", "overrides": [], "minutes": None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.set_defaults(**_DEFAULTS)
    parser.add_argument("--data", type=Path, metavar="DIR", help="data-set folder (none: drawn cephalograms)")
    parser.add_argument("--format", help="data-set format; auto looks at the folder")
    parser.add_argument("--spacing-mm", type=float, metavar="X", help="mm per original pixel, where the data set does not carry it")
    parser.add_argument("--annotator", help="whose points are the reference: mean, senior or junior")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="run folder: plan.yaml, state.pt, tensorboard/, member/")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        metavar="KEY=VALUE",
        help="change a knob, e.g. train.lr=1e-3; the value is YAML; repeatable",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="wall time, minutes: a few steps are timed and train.epochs is chosen so that the run fits",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out; its own plan holds")


def run(args: argparse.Namespace) -> int:
    """Train; prints the member's folder."""
    from pydantic import ValidationError

    from ceph_core import single_run
    from ceph_core.config import SourceConfig, problems_of
    from ceph_core.errors import InputError

    try:
        if args.resume:
            _only_with_resume(args)
            member = single_run.resume(args.out.absolute())
        else:
            try:
                source = SourceConfig(
                    format=args.format, root=args.data and args.data.absolute(), spacing_mm=args.spacing_mm, annotator=args.annotator
                )
            except ValidationError as error:
                raise InputError(problems_of(error, "options")) from error
            member = single_run.start(args.out.absolute(), source, single_run.configure(args.overrides), args.minutes)
    except (KeyboardInterrupt, single_run.Interrupted) as stop:
        saved = str(stop) or ("the last checkpoint stays" if single_run.can_resume(args.out) else "nothing was saved yet")
        print(f"\ninterrupted; {saved}", file=sys.stderr)
        if single_run.can_resume(args.out):
            print(f"go on with:\n  python -m ceph_core train --out {shlex.quote(str(args.out.absolute()))} --resume", file=sys.stderr)
        return 130
    except (single_run.Diverged, single_run.Hopeless) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"its errors on the locked test films:\n  python -m ceph_core evaluate --model {shlex.quote(str(member))}", file=sys.stderr)
    print(member)
    return 0


def _only_with_resume(args: argparse.Namespace) -> None:
    """Refuse options that a resumed run would have to ignore."""
    from ceph_core.errors import InputError

    given = [name for name, default in _DEFAULTS.items() if getattr(args, name) != default]
    if given:
        names = ", ".join("--set" if name == "overrides" else "--" + name.replace("_", "-") for name in given)
        raise InputError(f"--resume: {names} cannot change a run that has begun; leave it out, or start a new run in another --out")
