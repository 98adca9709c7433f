"""What is measured: the schema of definitions.yaml, checked once and whole."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from ceph_core.config import Frozen, problems_of
from ceph_core.errors import InputError
from ceph_core.landmarks import canonical

BUILT_IN = "built-in"
Line = tuple[str, str]
_MIDDLE = re.compile(r"^mid\((?P<one>[^,()]+),(?P<other>[^,()]+)\)$")
KINDS = ("angle", "tilt", "distance", "ahead", "beyond", "apart", "ratio", "sum")
_SIGNED = frozenset({"tilt", "ahead", "beyond", "apart"})
"""What needs to know which way the film faces."""


class Norm(Frozen):
    """What is usual."""

    mean: float
    sd: float = Field(gt=0)
    source: str = ""


class Range(Frozen):
    """A class, up to a limit."""

    name: str = Field(min_length=1)
    below: float | None = Field(None, description="values below this belong here; none: all that are left")


class Term(Frozen):
    """One way to measure; exactly one of them is given."""

    angle: tuple[Line, Line] | None = Field(None, description="between two directed lines, degrees 0 to 180")
    tilt: tuple[Line, Line] | None = Field(
        None, description="of the second line against the first, degrees; positive: its far end is lower"
    )
    distance: Line | None = Field(None, description="mm")
    ahead: tuple[str, str, Line] | None = Field(None, description="of the first point before the second along a line, mm")
    beyond: tuple[str, Line] | None = Field(None, description="of a point in front of a line that runs downwards, mm")
    apart: tuple[str, str, Line] | None = Field(None, description="distance of two points with the sign of ahead, mm")
    ratio: tuple[Line, Line] | None = Field(None, description="of two lengths")
    sum: "tuple[str | Term, ...] | None" = Field(None, description="of measurements, by name or as terms; a minus takes one away")

    @model_validator(mode="after")
    def _one(self) -> "Term":
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(KINDS)}; got {', '.join(given) or 'none'}")
        return self

    @property
    def kind(self) -> str:
        """Which one."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)


class Measurement(Term):
    """A measurement with what is usual."""

    name: str = Field("", description="in words")
    unit: Literal["deg", "mm", ""] = Field(description="deg, mm, or none of a ratio")
    norm: Norm | None = None
    classes: tuple[Range, ...] = Field((), description="from low to high")
    classes_source: str = ""

    @field_validator("classes")
    @classmethod
    def _rising(cls, classes: tuple[Range, ...]) -> tuple[Range, ...]:
        limits = [each.below for each in classes]
        if classes and (None in limits[:-1] or limits[-1] is not None):
            raise ValueError("every class but the last has a limit below; the last has none")
        known = [limit for limit in limits if limit is not None]
        if known != sorted(set(known)):
            raise ValueError(f"limits must rise, got {', '.join(f'{limit:g}' for limit in known)}")
        return classes

    def class_of(self, value: float) -> str:
        """Name of the class; empty where there is none, or no value."""
        if value != value or not self.classes:
            return ""
        return next(each.name for each in self.classes if each.below is None or value < each.below)


class Definitions(Frozen):
    """All measurements by name."""

    facing: Line = Field(("S", "N"), description="points of which the second lies in front")
    measurements: dict[str, Measurement] = Field(min_length=1)

    @model_validator(mode="after")
    def _resolvable(self) -> "Definitions":
        problems = []
        for name, measurement in self.measurements.items():
            for other in _named(measurement):
                if other not in self.measurements:
                    problems.append(f"{name}: sum names {other!r}, which is not defined; there are {', '.join(self.measurements)}")
                elif name in self._reached(other, ()):
                    problems.append(f"{name}: is part of its own sum")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _reached(self, name: str, seen: tuple[str, ...]) -> set[str]:
        """Measurements that one is made of, itself included."""
        if name in seen or name not in self.measurements:
            return {name}
        return {name}.union(*(self._reached(other, (*seen, name)) for other in _named(self.measurements[name])))

    def points_of(self, name: str) -> tuple[str, ...]:
        """Canonical symbols of the landmarks that a measurement needs, those that say how the film faces included."""
        return tuple(dict.fromkeys(self._points(self.measurements[name])))

    @cached_property
    def units(self) -> Mapping[str, str]:
        """By measurement."""
        return {name: measurement.unit for name, measurement in self.measurements.items()}

    def _points(self, term: Term) -> Iterator[str]:
        if term.kind == "sum":
            for part in term.sum or ():
                yield from self._points(self.measurements[part.removeprefix("-")] if isinstance(part, str) else part)
            return
        yield from points_in(getattr(term, term.kind))
        if term.kind in _SIGNED:
            yield from points_in(self.facing)


def points_in(expression: object) -> Iterator[str]:
    """Canonical symbols in an expression of points and lines."""
    if isinstance(expression, str):
        yield from middle_of(expression) or (canonical(expression),)
    elif isinstance(expression, tuple):
        for part in expression:
            yield from points_in(part)


def middle_of(expression: str) -> tuple[str, str] | None:
    """The two points of mid(A, B); None for a plain point."""
    match = _MIDDLE.match(expression.strip())
    return (canonical(match["one"]), canonical(match["other"])) if match else None


def _named(term: Term) -> list[str]:
    """Measurements that a sum names, also inside its terms."""
    found = []
    for part in term.sum or ():
        found += [part.removeprefix("-")] if isinstance(part, str) else _named(part)
    return found


def definitions_named(name: str) -> Definitions | None:
    """Those that a command line names: built-in, none, or a file.

    Raises:
        InputError: as of `read_definitions`.
    """
    return None if name == "none" else read_definitions(None if name == BUILT_IN else Path(name))


def read_definitions(path: Path | None = None) -> Definitions:
    """Those of a file; None: the built-in ones.

    Raises:
        InputError: the file cannot be read or says what it may not; all problems at once.
    """
    source = files("ceph_core.measurements").joinpath("definitions.yaml") if path is None else path
    where = str(path or BUILT_IN)
    try:
        tree = yaml.safe_load(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}); give a YAML file of measurements") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: is no YAML: {' '.join(str(error).split())}") from error
    try:
        return Definitions.model_validate(tree)
    except ValidationError as error:
        raise InputError(problems_of(error, where)) from error
