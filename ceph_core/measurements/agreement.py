"""How far two ways to mark the same films agree on what is measured (Bland & Altman, Lancet 1986)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ceph_core.landmarks import Protocol
from ceph_core.measurements.definitions import Definitions
from ceph_core.measurements.values import Measured, measure

Array = NDArray[np.float64]

ACCEPTABLE = 2.0
"""Degrees or mm within which a measurement counts as the same."""


@dataclass(frozen=True)
class Agreement:
    """Of one measurement on the films that both have.

    Attributes:
        difference: mean of the first less the second; low, high: 95 % limits of agreement, difference -+ 1.96 standard deviations.
        same_class: share of films in the same class (success classification rate); NaN without classes.
        acceptable: share of films within 2 degrees or 2 mm; NaN for a ratio.
    """

    name: str
    unit: str
    films: int
    difference: float
    low: float
    high: float
    same_class: float
    acceptable: float


def agreements(
    definitions: Definitions,
    protocol: Protocol,
    spacing_mm: Array,
    reference_px: Array,
    models: Mapping[str, Array],
    readers: Mapping[str, Array],
) -> dict[str, list[Agreement]]:
    """How models' measurements agree with the reference's, and each two readers' with each other, by whose.

    Args:
        spacing_mm: (N, 2) mm per original px.
        reference_px: (N, K, 2), NaN where missing.
        models, readers: points like the reference's, by name.
    """

    def measured(points_px: Array) -> Measured:
        return measure(definitions, protocol, points_px, spacing_mm)

    reference = measured(reference_px)
    found = {f"{name} against the reference": agreement(measured(points), reference) for name, points in models.items()}
    by_reader = {name: measured(points) for name, points in readers.items()}
    for one, other in combinations(by_reader, 2):
        found[f"reader {one} against reader {other}"] = agreement(by_reader[one], by_reader[other])
    return found


def agreement(one: Measured, other: Measured) -> list[Agreement]:
    """Row by row, of the measurements that both have on two films or more."""
    found = []
    for place, name in enumerate(one.names):
        difference = one.values[:, place] - other.values[:, place]
        known = ~np.isnan(difference)
        if known.sum() < 2:
            continue
        definition = one.definition(name)
        mean, deviation = float(difference[known].mean()), float(difference[known].std(ddof=1))
        same = np.array([a == b for a, b in zip(one.classes(place), other.classes(place), strict=True)])
        found.append(
            Agreement(
                name, definition.unit, int(known.sum()), mean, mean - 1.96 * deviation, mean + 1.96 * deviation,
                float(same[known].mean()) if definition.classes else float("nan"),
                float((np.abs(difference[known]) <= ACCEPTABLE).mean()) if definition.unit else float("nan"),
            )
        )  # fmt: skip
    return found
