"""Search, promote, export: `python run_search.py --space spaces/sigma_aug.yaml --data DIR`."""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ceph_core.options import ANNOTATORS, FORMATS

if TYPE_CHECKING:
    from search.driver import RunOptions

EPILOG = """exit code: 0 done, 1 the run failed, 2 the input is wrong (nothing is left behind), 130 interrupted (everything is saved; the
command that goes on is printed).  Progress goes to stderr, the report's path to stdout."""


def parser() -> argparse.ArgumentParser:
    """The command line, with units and defaults."""
    made = argparse.ArgumentParser(
        prog="python run_search.py",
        description="Hyperparameter search for cephalometric landmark detection, from films to an exported ensemble.",
        epilog=EPILOG,
    )
    made.add_argument("--space", type=Path, metavar="FILE", help="space file: knobs, schedules, budget (see spaces/)")
    made.add_argument("--data", type=Path, metavar="DIR", help="data-set folder, or a table or COCO file (default: drawn cephalograms)")
    made.add_argument(
        "--format",
        default="auto",
        choices=("auto", *FORMATS),
        help="data-set format (default: auto, by what lies there)",
    )
    made.add_argument("--spacing-mm", type=float, metavar="X", help="mm per original pixel, where the data set does not say; never guessed")
    made.add_argument(
        "--annotator",
        default="mean",
        choices=ANNOTATORS,
        help="whose points are the reference (default: mean; mean_ceil: rounded up, as Aariz's own loader)",
    )
    made.add_argument(
        "--profile", default="auto", choices=("auto", "gpu", "cpu"), help="profile of the space file (default: auto, gpu if there is one)"
    )
    made.add_argument(
        "--trials", type=int, metavar="N", help="most trials (default: budget.trials of the space file, or none with --hours)"
    )
    made.add_argument(
        "--hours", type=float, metavar="H", help="wall time of everything up to the exported ensemble, hours (default: budget.hours)"
    )
    made.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: results/<space>-<date>-<time>)")
    made.add_argument(
        "--resume", type=Path, metavar="RUN",
        help="go on with an interrupted run by its own plan; beside it only --address, and --trials or --hours, counted from the run's "
        "beginning, which extend it, also when it has finished",
    )  # fmt: skip
    made.add_argument(
        "--warm-start",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="earlier runs on the same films whose trials teach the sampler",
    )
    made.add_argument("--address", metavar="auto|HOST:PORT", help="join a Ray cluster (default: start one on this machine)")
    made.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the space file, e.g. budget.trials=8; repeatable",
    )
    made.add_argument("--seed", type=int, metavar="N", help="seed of sampler, weights, order and augmentation (default: sampler.seed, 0)")
    made.add_argument(
        "--dry-run", action="store_true", help="check everything, print the resolved plan with estimates of time and memory, and stop"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    args = parser().parse_args(argv)
    # Imported late: `--help` and a mistyped option should not wait for torch and Ray.
    from ceph_core.errors import InputError
    from search import driver
    from search.ending import finish
    from search.live import LiveView

    view = LiveView()
    try:
        if args.resume is not None:
            _only_with_resume(args)
            run_dir = args.resume.absolute()
            more = None if args.trials is None and args.hours is None else driver.Extension(args.trials, args.hours)
            return finish(lambda: driver.resume(run_dir, args.address, view, extension=more), run_dir)
        options = _options(args, argv)
        if args.dry_run:
            driver.dry_run(options, view)
            return 0
        run_dir = (args.out or Path("results") / f"{Path(options.space.source).stem}-{datetime.now():%Y%m%d-%H%M%S}").absolute()
        return finish(lambda: driver.start(options, run_dir, view), run_dir)
    except InputError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _options(args: argparse.Namespace, argv: Sequence[str] | None) -> "RunOptions":
    from pydantic import ValidationError

    from ceph_core.config import SourceConfig, problems_of
    from ceph_core.errors import InputError
    from search import driver, space

    problems: list[str] = []
    if args.space is None:
        raise InputError("--space: missing; give a space file, e.g. spaces/sigma_aug.yaml (or --resume RUN)")
    try:
        _above_zero(args)
    except InputError as error:
        problems += error.problems
    try:
        source = SourceConfig(
            format=args.format, root=args.data.absolute() if args.data else None, spacing_mm=args.spacing_mm, annotator=args.annotator
        )
    except ValidationError as error:
        problems += problems_of(error, "command line")
    if problems:
        raise InputError(problems)
    notes = []
    profile = args.profile
    if profile == "auto":
        profile = driver.profile_for(args.address)
        if profile == "cpu":
            notes.append("no GPU found: the space file's cpu profile is used (smaller network and films; --profile gpu insists)")
    overrides = list(args.overrides)
    if args.trials is not None:
        overrides.append(f"budget.trials={args.trials}")
    elif args.hours is not None:
        overrides.append("budget.trials=100000")  # the clock alone decides
    if args.hours is not None:
        overrides.append(f"budget.hours={args.hours}")
    if args.seed is not None:
        overrides.append(f"sampler.seed={args.seed}")
    loaded = space.load(args.space, profile, overrides)
    command = ["python", "run_search.py", *(argv if argv is not None else sys.argv[1:])]
    if "--seed" not in command:
        command += ["--seed", str(loaded.sampler.seed)]
    return driver.RunOptions(
        loaded, source, loaded.sampler.seed, loaded.budget.hours, args.address, command, [*notes, *loaded.warnings], tuple(args.warm_start)
    )


def _above_zero(args: argparse.Namespace) -> None:
    from ceph_core.errors import InputError

    given = (("--trials", args.trials), ("--hours", args.hours))
    problems = [f"{name}: must be above 0, got {value}" for name, value in given if value is not None and value <= 0]
    if problems:
        raise InputError(problems)


def _only_with_resume(args: argparse.Namespace) -> None:
    """Refuse options that a resumed run would have to ignore."""
    from ceph_core.errors import InputError

    _above_zero(args)
    allowed = {"resume", "address", "trials", "hours"}
    defaults = vars(parser().parse_args([]))
    given = [key for key, value in vars(args).items() if key not in allowed and value != defaults[key]]
    if given:
        names = ", ".join("--set" if key == "overrides" else "--" + key.replace("_", "-") for key in given)
        raise InputError(f"--resume {args.resume}: {names} cannot change a run that has begun; leave it out, or start a new run")


if __name__ == "__main__":
    sys.exit(main())
