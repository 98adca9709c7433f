"""One module a command; each has `HELP`, `add_arguments(parser)` and `run(args) -> int`, and imports what is heavy in `run`."""

import argparse
import importlib
import pkgutil
from typing import Protocol, cast


class Command(Protocol):
    """What a module of this package offers."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's options."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; returns the exit code.  InputError becomes exit code 2."""


def discover() -> dict[str, Command]:
    """Every command by its name, the module's."""
    found = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: cast("Command", importlib.import_module(f"{__name__}.{name}")) for name in found}
