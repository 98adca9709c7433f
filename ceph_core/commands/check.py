"""`python -m ceph_core check`: the checklist before a run."""

import argparse
import sys
from pathlib import Path

from ceph_core import options

HELP = "look at data, settings, memory and output folder before a run; exit code 1 if anything is wrong"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    options.add_source(parser)
    options.add_plan(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder the run would write to")
    parser.add_argument("--json", dest="json_file", metavar="FILE", help="also write the findings as JSON; - for stdout")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def run(args: argparse.Namespace) -> int:
    """Check; prints the findings.  Exit code 1 if there are errors."""
    from rich.console import Console

    from ceph_core import data
    from ceph_core.check import checklist, show
    from ceph_core.errors import InputError
    from ceph_core.inference.device import device_for

    problems: list[str] = []
    try:
        source = options.source_of(args)
    except InputError as error:
        problems += error.problems
    try:
        config = options.config_of(args)
    except InputError as error:
        problems += error.problems
    try:
        device = device_for(args.device)
    except InputError as error:
        problems += error.problems
    if args.json_file not in (None, "-"):
        path = Path(args.json_file)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            problems.append(f"--json {path}: cannot be written ({error.strerror}); give a file in a folder that can be")
    if problems:
        raise InputError(problems)

    findings = checklist(source, config, data.default_cache_dir(), device, args.out)
    if args.json_file == "-":
        print(show.as_json(findings))
    else:
        # Wide enough for the table when the output goes to a file.
        console = Console() if sys.stdout.isatty() else Console(width=160)
        console.print(show.table(findings))
        print(show.verdict(findings))
        if args.json_file:
            Path(args.json_file).write_text(show.as_json(findings) + "\n", encoding="utf-8")
    return int(any(finding.level == "error" for finding in findings))
