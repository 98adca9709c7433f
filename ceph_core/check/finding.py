"""One thing that the checklist looked at."""

from dataclasses import asdict, dataclass
from typing import Literal, get_args

Level = Literal["error", "warning", "note", "ok"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""Worst first: an error makes the run fail or its result wrong, a warning may, a note is worth knowing."""


@dataclass(frozen=True)
class Finding:
    """What a check found and what to do about it.

    Attributes:
        level: how bad it is.
        check: what was looked at, in a word or two.
        found: what was found, in a line.
        todo: what to do; empty if nothing.
    """

    level: Level
    check: str
    found: str
    todo: str = ""

    def to_dict(self) -> dict[str, str]:
        """The fields by name."""
        return asdict(self)


def some(names: list[str], shown: int = 8) -> str:
    """The first few names and how many more there are."""
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
