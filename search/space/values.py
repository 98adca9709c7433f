"""Whether the configuration's fields take the keys and values that a space file gives them."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ceph_core.config import Config, Stage, field_at, get, knobs
from ceph_core.errors import InputError
from search.space.knobs import Knob, same
from search.space.read import KeyPath, dotted
from search.space.resolve import STAGES
from search.space.schema import Entry
from search.space.shape import in_our_words

Problem = tuple[KeyPath, str]
SEED = "train.seed"
MOST_PROBES = 2000


def field_problem(key: str, value: Any) -> str | None:
    """Why a configuration field refuses a value, or None."""
    section, name = key.split(".")
    try:
        applied = get(Config.model_validate({section: {name: value}}), key)
    except ValidationError as error:
        if key == STAGES:
            return _stages_problem(error)
        if all(len(item["loc"]) < 2 for item in error.errors()):
            return None  # of the section as a whole: it may fit with what stands beside it, which is looked at later
        return f"{' or '.join(dict.fromkeys(in_our_words(item['msg']) for item in error.errors()))}, got {value!r}"
    if key != STAGES and not same(as_written(applied), value):
        return f"would be read as {applied!r}, got {value!r}; write {applied!r}"
    return None


def as_written(applied: Any) -> Any:
    """A field's value as a space file writes it."""
    return list(applied) if isinstance(applied, tuple) else str(applied) if isinstance(applied, Path) else applied


def _stages_problem(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        inside = dotted(item["loc"][2:])
        unknown = item["type"] == "extra_forbidden"
        message = f"unknown key; allowed are {', '.join(Stage.model_fields)}" if unknown else in_our_words(item["msg"])
        lines.append(f"{inside}: {message}, got {item['input']!r}" if inside else message)
    return "; ".join(lines)


def key_problem(key: str) -> str | None:
    """Why a key is none that a space may set, or None."""
    if key == SEED:
        return "is set by the search for each trial; use sampler.seed"
    if key in Config.model_fields:
        return f"is a section; write its keys with a dot, such as {next(known for known in knobs() if known.startswith(f'{key}.'))}"
    try:
        field_at(key, "")
    except InputError as error:
        return error.problems[0].removeprefix(": ")
    return None


def range_problems(entry: Entry, path: KeyPath) -> Iterator[Problem]:
    """Problems of a range or a list of choices by itself."""
    if entry.categorical is not None:
        choices = entry.categorical
        doubles = [choice for index, choice in enumerate(choices) if any(choice == earlier for earlier in choices[:index])]
        for choice in doubles:
            yield (*path, "categorical"), f"lists {choice!r} twice; keep one"
        if entry.log or entry.step is not None:
            yield path, "log and step belong to float and int ranges; remove them from a categorical"
        return
    kind, (low, high) = ("float", entry.float_range) if entry.float_range is not None else ("int", entry.int_range or (0, 0))
    if not (math.isfinite(low) and math.isfinite(high)):
        yield (*path, kind), f"both ends must be finite, got [{low}, {high}]"
    elif low >= high:
        yield (*path, kind), f"low {low:g} must be below high {high:g}; a value that does not vary belongs under fixed"
    elif entry.log and low <= 0:
        yield (*path, kind), f"a log scale needs low above 0, got low {low:g}; raise it or drop log"
    if entry.step is None:
        return
    steps = (high - low) / entry.step
    if entry.log:
        yield (*path, "step"), "cannot go with log: steps are even, a log scale is not; drop one"
    elif low < high and abs(steps - round(steps)) > 1e-6:
        yield (
            (*path, "step"),
            f"{entry.step:g} does not divide {low:g} to {high:g}; the last step ends at {low + math.floor(steps) * entry.step:g}",
        )


def prior_problems(entry: Entry, path: KeyPath) -> Iterator[Problem]:
    """Problems of a knob's prior."""
    prior, at = entry.prior, (*path, "prior")
    if prior is None:
        return
    if entry.categorical is not None:
        choices = entry.categorical
        if prior.prefer is None:
            yield at, "mode and width are for float and int ranges; a categorical needs prefer: [...]"
            return
        for place, choice in enumerate(prior.prefer):
            if not any(same(choice, known) for known in choices):
                yield (*at, "prefer", place), f"is no choice of this knob, got {choice!r}; allowed {', '.join(map(str, choices))}"
            elif any(same(choice, earlier) for earlier in prior.prefer[:place]):
                yield (*at, "prefer", place), f"lists {choice!r} twice; keep one"
        if all(any(same(known, choice) for choice in prior.prefer) for known in choices):
            yield (*at, "prefer"), "lists every choice, which prefers none; leave some out, or remove the prior"
        return
    low, high = entry.float_range or entry.int_range or (0, 0)
    if prior.mode is None:
        yield at, "prefer is for categoricals; a float or int range needs mode and width"
    elif low < high and not low <= prior.mode <= high:
        yield (*at, "mode"), f"lies outside the range, got {prior.mode:g}; allowed {low:g} to {high:g}"


def value_problem(knob: Knob) -> str | None:
    """Why the configuration refuses some value of a knob, or None: each choice, each whole number, or both ends and a point between."""
    grid = knob.grid()
    if grid is not None:
        probes = grid if len(grid) <= MOST_PROBES else (*grid[:MOST_PROBES], grid[-1])
        refused = [problem for value in probes if (problem := field_problem(knob.key, value))]
        return "; ".join(refused[: 1 if knob.kind == "int" else None]) or None
    assert knob.low is not None and knob.high is not None
    inner = knob.low + (knob.step or (knob.high - knob.low) * 0.381966)
    problem = next((problem for value in (knob.low, knob.high, inner) if (problem := field_problem(knob.key, value))), None)
    return "takes whole numbers only; write int: instead of float:" if problem and "integer" in problem else problem
