"""Options that several commands share: which films, and which training."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ceph_core.config import Config, SourceConfig

FORMATS = ("isbi2015", "aariz", "cldetection2023", "cldetection2024", "coco", "table", "phantom")
"""Data sets that can be read, without importing what reads them."""
ANNOTATORS = ("mean", "senior", "junior", "mean_ceil")
SOURCE: dict[str, Any] = {"data": None, "format": "auto", "spacing_mm": None, "annotator": "mean"}
"""Defaults of `add_source`."""
PLAN: dict[str, Any] = {
    "profile": "auto", "model": None, "batch_size": None, "epochs": None, "image_size": None, "mixed_precision": False, "overrides": [],
}  # fmt: skip
"""Defaults of `add_plan`."""

_MODELS = {"hrnet": "hrnet_w48"}
"""The guide's name for its network."""


def add_source(parser: argparse.ArgumentParser) -> None:
    """Declare the options that name films."""
    parser.set_defaults(**SOURCE)
    parser.add_argument("--data", type=Path, metavar="DIR", help="data-set folder, or a table or COCO file (none: drawn cephalograms)")
    parser.add_argument("--format", help=f"data-set format: {', '.join(FORMATS)}; auto looks at what lies there")
    parser.add_argument("--spacing-mm", type=float, metavar="X", help="mm per original pixel, where the data set does not carry it")
    parser.add_argument("--annotator", help="whose points are the reference: mean, senior, junior, or mean_ceil (as Aariz's own loader)")


def source_of(args: argparse.Namespace, **more: Any) -> "SourceConfig":
    """The films that the options name; `more` are further fields.

    Raises:
        InputError: an option is out of range.
    """
    from pydantic import ValidationError

    from ceph_core.config import SourceConfig, problems_of
    from ceph_core.errors import InputError

    root = args.data and args.data.absolute()
    try:
        return SourceConfig(format=args.format, root=root, spacing_mm=args.spacing_mm, annotator=args.annotator, **more)
    except ValidationError as error:
        raise InputError(problems_of(error, "options")) from error


def add_tta(parser: argparse.ArgumentParser) -> None:
    """Declare the option that chooses views at test time; `inference.tta.parse` reads it."""
    parser.add_argument(
        "--tta",
        default="manifest",
        metavar="VIEWS",
        help="test-time augmentation: flip, shift and scale, joined by commas; none; manifest: what the ensemble's says. Each view costs "
        "a pass and the points are averaged; flip only if every member was trained with flips",
    )


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Declare the options that make a training's configuration: a profile, the guide's own flags, and any knob."""
    parser.set_defaults(**PLAN)
    parser.add_argument(
        "--profile",
        choices=("auto", "gpu", "cpu"),
        help="starting point: gpu, the guide's recommendation; cpu, the recipe measured on two cores; auto: gpu if there is one",
    )
    parser.add_argument("--model", metavar="NAME", help="hrnet (hrnet_w48), hrnet_w32, hrnet_w18 or hrnet_w18_small; none: the profile's")
    parser.add_argument("--batch_size", "--batch-size", type=int, metavar="N", help="films a step; none: the profile's")
    parser.add_argument("--epochs", type=int, metavar="N", help="length of the run; none: the profile's")
    parser.add_argument(
        "--image_size",
        "--image-size",
        type=int,
        nargs="+",
        metavar="PX",
        help="height and width of the input, px; the longer one holds, the other follows the films' aspect; none: the profile's",
    )
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


def config_of(args: argparse.Namespace, base: "Config | None" = None) -> "Config":
    """The configuration that the options make.

    Args:
        base: what flags and `--set` change, in the place of a profile.

    Raises:
        InputError: unknown keys, values out of range, a knob set twice: all of them at once.
    """
    from ceph_core.config import located
    from ceph_core.config.profiles import Profile, profile
    from ceph_core.errors import InputError
    from ceph_core.training.device import pick_device

    if args.image_size is not None and len(args.image_size) > 2:
        raise InputError(f"--image_size: one or two numbers, height and width in px, got {len(args.image_size)}")
    if base is not None and args.profile != "auto":
        raise InputError(f"--profile {args.profile}: the checkpoint's plan is the starting point; leave it out")
    if base is None:
        has_gpu = pick_device().type == "cuda"
        automatic: Profile = "gpu" if has_gpu else "cpu"
        base = profile(automatic if args.profile == "auto" else args.profile)
        if args.profile == "auto" and not has_gpu:
            print("no GPU: the cpu profile, a small network on small films; --profile gpu is the guide's setting", file=sys.stderr)
    return located(configure(args.overrides, _flags(args), base))


def configure(overrides: Sequence[str], flags: Mapping[str, Any] | None = None, base: "Config | None" = None) -> "Config":
    """A configuration with `KEY=VALUE`s, whose values are YAML, and with what the command's own flags set.

    Args:
        flags: values by dotted key.
        base: what is changed; the defaults if none.

    Raises:
        InputError: not of this form, unknown keys, values out of range, or a key set twice: all of them at once.
    """
    import yaml

    from ceph_core.config import Config, apply
    from ceph_core.errors import InputError

    values, problems = dict(flags or {}), []
    for text in overrides:
        key, equals, raw = text.partition("=")
        if not equals or not key:
            problems.append(f"--set {text}: must be KEY=VALUE, such as train.lr=1e-3")
            continue
        if flags and key in flags:
            problems.append(f"--set {text}: {key} is also set by a flag of its own; give one of the two")
        try:
            values[key] = yaml.safe_load(raw)
        except yaml.YAMLError as error:
            problems.append(f"--set {text}: {raw!r} is not valid YAML ({str(error).splitlines()[0]})")
    try:
        config = apply(base or Config(), values, "options" if flags else "--set")
    except InputError as error:
        raise InputError([*problems, *error.problems]) from None
    if problems:
        raise InputError(problems)
    return config


def _flags(args: argparse.Namespace) -> dict[str, Any]:
    """What the guide's flags set, by dotted key."""
    given = {
        "model.name": _MODELS.get(args.model, args.model),
        "train.batch_size": args.batch_size,
        "train.epochs": args.epochs,
        "data.image_size": None if args.image_size is None else max(args.image_size),
        "train.precision": _half_precision() if args.mixed_precision else None,
    }
    return {key: value for key, value in given.items() if value is not None}


def _half_precision() -> str:
    """The format that this machine computes in, with a word if it has none."""
    from ceph_core.config import TrainConfig
    from ceph_core.training.device import pick_device, pick_precision

    found = pick_precision(TrainConfig(), pick_device())
    if found == "fp32":
        print("--mixed_precision: this device computes in no half precision; training goes on in fp32", file=sys.stderr)
    return found
