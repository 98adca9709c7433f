"""The locked test, opened once: what ensemble, best single network and baseline score on films nothing was chosen by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceph_core.data.films import TrainingData
from ceph_core.data.records import CephRecord
from ceph_core.inference.ensemble import Combination
from ceph_core.inference.evaluate import Scores, mean_shape, readers, score
from ceph_core.inference.outputs import MemberOutputs
from ceph_core.inference.selection import combined_points
from ceph_core.inference.tta import Tta
from ceph_core.metrics import Paired
from search.promotion.chosen import Chosen
from search.promotion.networks import Entry, Network, Say
from search.promotion.outcome import Answers
from search.promotion.pool import CallAll, answers, candidate_of, records_of
from search.records import BASELINE, BEST_SINGLE, ENSEMBLE, MEMBER_PREFIX
from search.verdict import paired_differences


@dataclass(frozen=True, eq=False)
class LockedTest:
    """What was found on the locked films.

    Attributes:
        records: of the films.
        scores: rows of the final table in order.
        paired: differences, see `search.verdict`.
        predictions: by (model, "test").
    """

    records: tuple[CephRecord, ...]
    scores: tuple[Scores, ...]
    paired: Mapping[str, Paired]
    predictions: Mapping[tuple[str, str], Answers]


def open_test(
    data: TrainingData, chosen: Chosen, single: Entry, baseline: Entry | None, tta: Tta, call_all: CallAll, say: Say
) -> LockedTest:
    """Score the ensemble, the best single entry and the baseline's; the networks of an entry of folds answer together."""
    others = [(BEST_SINGLE, single)] + ([(BASELINE, baseline)] if baseline is not None else [])
    networks = list(dict.fromkeys((*chosen.networks, *(network for _, entry in others for network in entry.networks))))
    say(f"promotion: the locked test is opened: {len(data.test_ids)} films, {len(networks)} networks")
    calls = [(network.folder, data, data.test_ids, chosen.combine == "heatmap_mean", tta) for network in networks]
    found = dict(zip(networks, call_all(answers, calls), strict=True))
    picked = [network for entry, count in zip(chosen.entries, chosen.counts, strict=True) for network in entry.networks * count]
    predictions = {(ENSEMBLE, "test"): _together(data, picked, found, chosen.combine)}
    for name, entry in others:
        predictions[name, "test"] = _together(data, entry.networks, found, "coordinate_mean")
    records = records_of(data, data.test_ids)
    scores = {name: score(points, records, name) for (name, _), (_, points, _) in predictions.items()}
    for entry in chosen.entries:
        predictions[MEMBER_PREFIX + entry.name, "test"] = _together(data, entry.networks, found, "coordinate_mean")
    paired = paired_differences({name: row.errors_mm for name, row in scores.items()})
    rows = (*scores.values(), mean_shape(records_of(data, data.train_ids), records), *readers(records))
    return LockedTest(tuple(records), rows, paired, predictions)


def _together(data: TrainingData, networks: Sequence[Network], found: Mapping[Network, MemberOutputs], combine: Combination) -> Answers:
    """Points and mean confidence of networks that answer together; one that is there twice weighs twice."""
    made = {network: candidate_of(network, found[network], data, data.test_ids) for network in dict.fromkeys(networks)}
    points = combined_points([made[network] for network in networks], combine)
    confidence: NDArray[np.floating] = np.mean([found[network].confidence for network in networks], axis=0)
    return data.test_ids, points, confidence
