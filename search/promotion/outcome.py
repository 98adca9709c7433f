"""What promotion found."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceph_core.inference.evaluate import Scores
from ceph_core.inference.selection import Selection
from ceph_core.metrics import Paired
from search.promotion.networks import Entry, Network

Answers = tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.floating]]
"""Film ids, (N, K, 2) original px, (N, K) confidence."""


@dataclass(frozen=True)
class Confirmed:
    """A candidate, from the search's figure to the one it has when it is trained anew; mm, NaN where there is none.

    Attributes:
        searched_mm: its last validation MRE in the search, by which it stood out.
        expected_mm, expected_deviation_mm: what such luck left to expect, before anything was confirmed.
        confirmed_mm: mean MRE of its fresh trainings on films they did not train on; deviation_mm: between them.
        fresh: how many.
    """

    candidate: str
    is_baseline: bool
    searched_mm: float
    expected_mm: float
    expected_deviation_mm: float
    confirmed_mm: float
    deviation_mm: float
    fresh: int


@dataclass(frozen=True, eq=False)
class Outcome:
    """The end of a run.

    Attributes:
        selection: among the entries; picked: the chosen ones, their weights in the selection's order; single: the best single one.
        judged: films that decided.
        confirmed: the candidates.
        members, weights: the ensemble's networks.
        scores: rows of the final table in order.
        paired: on the locked test, see `search.verdict`.
        predictions: by (model, role).
    """

    selection: Selection
    picked: tuple[Entry, ...]
    single: Entry
    judged: tuple[str, ...]
    confirmed: tuple[Confirmed, ...]
    members: tuple[Network, ...]
    weights: tuple[float, ...]
    scores: tuple[Scores, ...]
    paired: Mapping[str, Paired]
    onnx_difference_px: float
    predictions: Mapping[tuple[str, str], Answers]
