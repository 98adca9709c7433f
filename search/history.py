"""A search so far, as sampler and study see it: configurations, their curves and how they ended.  Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["complete", "stopped", "failed", "infeasible"]


Identity = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        kind: complete; stopped early by a rung; failed, for a reason that says nothing of its configuration; or infeasible:
            its configuration cannot be trained (memory, divergence).
        value_mm: complete: what the trial is judged by; stopped: its last report; None for the others.
    """

    kind: Kind
    value_mm: float | None = None

    def __post_init__(self) -> None:
        has_value = self.value_mm is not None and math.isfinite(self.value_mm)
        if has_value != (self.kind in ("complete", "stopped")):
            raise ValueError(f"outcome {self.kind} with value {self.value_mm}: complete and stopped carry a finite value, the others None")


@dataclass(frozen=True)
class Point:
    """One report of a learning curve: validation MRE, None where it was not a finite number."""

    value_mm: float | None
    total_epochs: int

    def __post_init__(self) -> None:
        if self.value_mm is not None and not math.isfinite(self.value_mm):
            object.__setattr__(self, "value_mm", None)


@dataclass
class Trial:
    """One trial.

    Attributes:
        number: its place in the search, from 0.
        values: its configuration, by active knob.
        curve: its reports by epoch (from 1).
        outcome: how it ended; None while it runs.
        name: its id in the run folder.
        seconds: estimate of its whole training's, from the epochs it has had; None before the first.
        is_baseline: whether it is the known-good setting that all others are compared with.
    """

    number: int
    values: dict[str, Any]
    curve: dict[int, Point] = field(default_factory=dict)
    outcome: Outcome | None = None
    name: str = ""
    is_baseline: bool = False
    seconds: float | None = None


def identity(values: Mapping[str, Any]) -> Identity:
    """Equal for equal configurations, whatever the order of their keys."""
    return tuple(sorted((key, repr(value)) for key, value in values.items()))
