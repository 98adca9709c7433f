"""A knob with one end of its range moved outwards, as far as the configuration's own field allows."""

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal, get_args

from annotated_types import Ge, Gt, Le, Lt

from ceph_core.config import field_at
from search.space.knobs import Knob
from search.space.space import Space
from search.space.values import field_problem

End = Literal["low", "high"]
ENDS: tuple[End, End] = ("low", "high")

_SHARE_ADDED = 0.25
"""Of a linear range; a logarithmic one is halved or doubled."""


def is_ordered(knob: Knob) -> bool:
    """Whether the knob has a low and a high end: a range, or a list of at least two numbers."""
    numbers = all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in knob.choices)
    return knob.kind != "categorical" or (numbers and len(knob.choices) > 1)


def ends(knob: Knob) -> tuple[float, ...]:
    """Low and high of a range; every value of a list of numbers, ascending."""
    if knob.kind == "categorical":
        return tuple(sorted(knob.choices))
    assert knob.low is not None and knob.high is not None
    return knob.low, knob.high


def widened(knob: Knob, end: End) -> Knob | None:
    """The ordered knob with a wider range; None if its field allows nothing beyond this end.

    A range grows by a quarter where it is linear, by at least one step, and by a factor of 2 where it is logarithmic; a list of
    numbers gains the next value of its spacing.  Where the field's limit comes first the range ends there, with a smaller step
    (whole numbers) or none if the old one does not fit.
    """
    at = ends(knob)[0 if end == "low" else -1]
    sign = -1 if end == "low" else 1
    if knob.kind == "categorical":
        added = _next_choice(knob, end, at)
        return None if added is None else replace(knob, choices=tuple(sorted((*knob.choices, added))))
    low, high = ends(knob)
    step = knob.step or (1 if knob.kind == "int" else None)
    if knob.log:
        wanted = at * 2.0**sign
    elif step is None:
        wanted = at + sign * _SHARE_ADDED * (high - low)
    else:
        wanted = at + sign * step * max(1, math.floor(_SHARE_ADDED * (high - low) / step + 1e-9))
    reached = _within(knob.key, end, at, wanted)
    if knob.kind == "float" and step is None:
        reached = _rounded(at, reached)
    elif step is not None and not knob.log:
        steps = math.floor(abs(reached - at) / step + 1e-9)
        reached = float(f"{at + sign * steps * step:.12g}") if steps else reached
        if not steps:
            step = None if knob.kind == "float" else math.gcd(round(abs(reached - at)), round(high - low), round(step))
    if knob.kind == "int":
        reached = math.floor(reached)
    if sign * (reached - at) <= 0 or field_problem(knob.key, reached) is not None:
        return None
    step = step if knob.step else None
    return replace(knob, low=reached, step=step) if end == "low" else replace(knob, high=reached, step=step)


def overrides(knob: Knob, wider: Knob) -> dict[str, str]:
    """What `--set` or a space file takes to make the one of the other: text by dotted key."""
    changes: dict[str, str] = {knob.kind: as_yaml(ends(wider))}
    if wider.step != knob.step:
        changes["step"] = "null" if wider.step is None else _text(wider.step)
    return {f"search.{knob.key}.{name}": text for name, text in changes.items()}


def with_knob(space: Space, wider: Knob) -> Space:
    """The space with this range in the place of the knob's own.

    Raises:
        InputError: the wider range does not fit the rest of the space.
    """
    tree = space.to_dict()
    entry = {wider.kind: list(ends(wider))} | ({} if wider.kind == "categorical" else {"step": wider.step})
    return Space.from_dict({**tree, "search": {**tree["search"], wider.key: {**tree["search"][wider.key], **entry}}}, space.source)


def as_yaml(values: Iterable[float]) -> str:
    """A list that a space file reads as these very numbers."""
    return f"[{', '.join(map(_text, values))}]"


def _text(value: float) -> str:
    short = f"{value:g}"
    return short if isinstance(value, float) and float(short) == value else str(value)


def _next_choice(knob: Knob, end: End, at: float) -> float | None:
    """The value that continues a list of numbers beyond its end, evenly or by its constant ratio; None if the field refuses it."""
    grid = [value for value in get_args(field_at(knob.key, "").annotation) if isinstance(value, int | float)]
    if grid:  # a Literal names all its values
        beyond = [value for value in grid if (value < at if end == "low" else value > at)]
        return (max(beyond) if end == "low" else min(beyond)) if beyond else None
    values = ends(knob)
    neighbour = values[1 if end == "low" else -2]
    ratios = [after / before if before else 0.0 for before, after in pairwise(values)]
    is_geometric = len(values) > 2 and min(ratios) > 1 and max(ratios) - min(ratios) < 1e-6
    wanted = at * at / neighbour if is_geometric else at + (at - neighbour)
    reached = _within(knob.key, end, at, wanted)
    value: Any = round(reached) if all(isinstance(value, int) for value in values) else _rounded(at, reached)
    return value if value != at and field_problem(knob.key, value) is None else None


def _within(key: str, end: End, at: float, wanted: float) -> float:
    """The wanted value, or the limit of the knob's field if that comes first; half of the way to a limit that is not allowed itself."""
    for limit in field_at(key, "").metadata:
        if end == "low" and isinstance(limit, Ge):
            wanted = max(wanted, float(limit.ge))  # type: ignore[arg-type]
        elif end == "high" and isinstance(limit, Le):
            wanted = min(wanted, float(limit.le))  # type: ignore[arg-type]
        elif end == "low" and isinstance(limit, Gt) and wanted <= limit.gt:  # type: ignore[operator]
            wanted = (at + float(limit.gt)) / 2  # type: ignore[arg-type]
        elif end == "high" and isinstance(limit, Lt) and wanted >= limit.lt:  # type: ignore[operator]
            wanted = (at + float(limit.lt)) / 2  # type: ignore[arg-type]
    return wanted


def _rounded(at: float, value: float) -> float:
    """The value with as few digits as keep the move from `at` to a twentieth of it."""
    digits = next(digits for digits in range(1, 18) if abs(float(f"{value:.{digits}g}") - value) <= abs(value - at) / 20)
    return float(f"{value:.{digits}g}")
