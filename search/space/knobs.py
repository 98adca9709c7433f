"""Searched knobs: their values, their order and the conditions under which they exist."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from search.space.schema import Entry, Prior

SCHEDULE = "schedule"
"""The one knob that is no configuration key: it names an entry of `schedules`."""


@dataclass(frozen=True)
class Knob:
    """One searched knob.

    Attributes:
        key: dotted configuration key, or `schedule`.
        low, high: ends of a float or int range, both included; None for a categorical.
        step: distance of neighbouring values from `low`; None: any value (float) or every whole number (int).
        choices: values of a categorical; empty otherwise.
        when: the knob exists only while each of these knobs exists and has one of these values.
        prior: where good values are expected; None: anywhere.
    """

    key: str
    kind: Literal["float", "int", "categorical"]
    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    prior: Prior | None = None

    def contains(self, value: Any) -> bool:
        """Whether `value` can be sampled."""
        if self.kind == "categorical":
            return any(same(value, choice) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int if self.kind == "int" else int | float):
            return False
        assert self.low is not None and self.high is not None
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return self.low <= value <= self.high and abs(steps - round(steps)) < 1e-6

    def grid(self) -> Sequence[Any] | None:
        """Every value, or None if they are not countable."""
        if self.kind == "int":
            assert self.low is not None and self.high is not None
            return range(int(self.low), int(self.high) + 1, int(self.step or 1))
        return self.choices if self.kind == "categorical" else None

    def allowed(self) -> str:
        """The values in words."""
        if self.kind == "categorical":
            return ", ".join(map(str, self.choices))
        return f"{self.low:g} to {self.high:g}" + (f" in steps of {self.step:g}" if self.step else "")


def same(one: Any, other: Any) -> bool:
    """Equal, where true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def knob_of(key: str, entry: Entry) -> Knob:
    """The knob that an entry of `search` describes."""
    if entry.categorical is not None:
        return Knob(key, "categorical", choices=entry.categorical, when=entry.when, prior=entry.prior)
    if entry.int_range is not None:
        step = None if entry.step is None else int(entry.step)
        return Knob(key, "int", *entry.int_range, step=step, log=entry.log, when=entry.when, prior=entry.prior)
    assert entry.float_range is not None
    return Knob(key, "float", *entry.float_range, step=entry.step, log=entry.log, when=entry.when, prior=entry.prior)


def in_order(search: Mapping[str, Entry]) -> tuple[tuple[Knob, ...], tuple[str, ...]]:
    """Knobs in file order but after those they depend on, and the keys whose conditions go in a circle."""
    waiting = [knob_of(key, entry) for key, entry in search.items()]
    placed: dict[str, Knob] = {}
    while ready := next((knob for knob in waiting if all(key in placed or key not in search for key in knob.when)), None):
        placed[ready.key] = ready
        waiting.remove(ready)
    return tuple(placed.values()), tuple(knob.key for knob in waiting)


def active(knobs: Collection[Knob], values: Mapping[str, Any]) -> frozenset[str]:
    """Keys of the knobs (given in order) that exist at a point."""
    keys: set[str] = set()
    for knob in knobs:
        if all(key in keys and any(same(values.get(key), allowed) for allowed in options) for key, options in knob.when.items()):
            keys.add(knob.key)
    return frozenset(keys)


def misfits(knobs: Collection[Knob], values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Why a point lies outside the space, as (key, problem); empty if it lies inside."""
    known = {knob.key: knob for knob in knobs}
    exist = active(knobs, values)
    found = []
    for key, value in values.items():
        if key not in known:
            found.append((key, f"is not searched; searched are {', '.join(known) or 'no knobs'}; remove it here or add it to search"))
        elif key not in exist:
            reason = " and ".join(f"{parent} is {' or '.join(map(str, options))}" for parent, options in known[key].when.items())
            found.append((key, f"exists only when {reason}; remove it from this point"))
        elif not known[key].contains(value):
            found.append((key, f"lies outside the space, got {value!r}; allowed {known[key].allowed()}"))
    found += [(key, f"has no value; allowed {known[key].allowed()}") for key in known if key in exist and key not in values]
    return found
