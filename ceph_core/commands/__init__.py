"""One module a command; each has `HELP`, `add_arguments(parser)` and `run(args) -> int`, and imports what is heavy in `run`."""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from ceph_core.errors import InputError


class Command(Protocol):
    """What a module of a package of commands offers."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's options."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; returns the exit code.  InputError becomes exit code 2."""


def discover(package: str = __name__) -> dict[str, Command]:
    """Every command of a package by its name, the module's."""
    found = sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__))
    return {name: cast("Command", importlib.import_module(f"{package}.{name}")) for name in found}


@dataclass(frozen=True)
class Program:
    """A package of commands as one command line."""

    package: str
    prog: str
    description: str

    def parser(self) -> argparse.ArgumentParser:
        """The command line, with units and defaults."""
        made = argparse.ArgumentParser(prog=self.prog, description=self.description)
        subparsers = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
        for name, command in discover(self.package).items():
            own = subparsers.add_parser(
                name, help=command.HELP, description=command.HELP, formatter_class=argparse.ArgumentDefaultsHelpFormatter
            )
            command.add_arguments(own)
        return made


def dispatch(program: Program, argv: Sequence[str] | None = None) -> int:
    """Run one of a program's commands by its command line; returns the exit code."""
    args = program.parser().parse_args(argv)
    try:
        return int(discover(program.package)[args.command].run(args))
    except InputError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
