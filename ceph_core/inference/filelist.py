"""The films that a command line names: files, folders and patterns."""

import glob
from collections.abc import Iterable
from pathlib import Path

from ceph_core.data.imagefile import SUFFIXES
from ceph_core.errors import InputError


def films_named(arguments: Iterable[str]) -> tuple[Path, ...]:
    """Films in the order named, each once; a folder's films (not those of folders inside it) by name.

    Raises:
        InputError: a name that leads to no film; all of them together.
    """
    found: dict[Path, Path] = {}
    problems = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            here = sorted(file for file in path.iterdir() if file.is_file() and file.suffix.lower() in SUFFIXES)
            problem = f"{argument}: holds no film; looked for {', '.join(sorted(SUFFIXES))}"
        elif path.is_file():
            here, problem = [path], ""
        else:
            here = sorted(Path(name) for name in glob.glob(argument, recursive=True) if Path(name).is_file())  # noqa: PTH207 - the pattern may be absolute
            problem = f"{argument}: no such file or folder, and no file matches it as a pattern"
        if not here:
            problems.append(problem)
        for file in here:
            found.setdefault(file.resolve(), file)
    if problems:
        raise InputError(problems)
    return tuple(found.values())
