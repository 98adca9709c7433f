"""The one exception for what a user can get wrong; commands turn it into exit code 2."""

from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave is wrong: every problem found, one line each.

    Each line names the file (or option), the key, the value given, what is allowed and what to do.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)
