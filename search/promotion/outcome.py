"""What promotion found."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceph_core.inference.evaluate import Scores
from ceph_core.inference.selection import Selection
from ceph_core.metrics import Paired
from search.promotion.all_the_time import AllTheTime
from search.promotion.final import FinalPlan
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
        selection: among the confirmed entries; picked: the chosen ones, their weights in the selection's order.
        single: the best single entry, a final network where its configuration has one.
        judged: films that decided.
        confirmed: the candidates.
        exported: the ensemble's entries; members, weights: their networks.
        scores: rows of the final table in order.
        paired: on the locked test, see `search.verdict`.
        predictions: by (model, role); those of the ensemble on validation films are the confirmed networks' that it was chosen by.
        held_out_by: whose answers on unseen films the expected error, radii and review flags come from, in a sentence.
        final: how the exported networks were planned; None: they are the confirmed ones.
        recipe: what the measured recipe would have come to in the same time; None: nothing can be said.
    """

    selection: Selection
    picked: tuple[Entry, ...]
    single: Entry
    judged: tuple[str, ...]
    confirmed: tuple[Confirmed, ...]
    exported: tuple[Entry, ...]
    members: tuple[Network, ...]
    weights: tuple[float, ...]
    scores: tuple[Scores, ...]
    paired: Mapping[str, Paired]
    onnx_difference_px: float
    predictions: Mapping[tuple[str, str], Answers]
    held_out_by: str
    final: FinalPlan | None = None
    recipe: AllTheTime | None = None
