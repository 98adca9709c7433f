"""Whether the ensemble knows when it errs: its radii and review flags, tried on the locked test."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceph_core.errors import InputError
from ceph_core.inference.calibration import Calibration, Coverage, coverage, read_calibration
from ceph_core.inference.refine import SHAPE_FILE, reviewer_of
from ceph_core.inference.refine_effect import Effect, effect_of
from ceph_core.landmarks import Protocol
from search.records import ENSEMBLE, Run
from search.report.comparison import Comparison, Placed

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)


@dataclass(frozen=True)
class Doubts:
    """What is told of them.

    Attributes:
        radius: of the 90 % radii; None, and why, if there are none.
        by_level: of radii that should hold more and fewer points.
        effects: of the review flags, a row a reason and one for any.
        why: what is missing, a sentence each.
    """

    radius: Coverage | None
    by_level: tuple[Coverage, ...]
    effects: tuple[Effect, ...]
    why: tuple[str, ...]


def doubts(run: Run, comparison: Comparison) -> Doubts:
    """Of the exported ensemble."""
    errors, confidence = comparison.rows[ENSEMBLE].errors_mm, confidence_of(run, "test", comparison)
    why = []
    radii: Calibration | None = None
    effects: list[Effect] = []
    try:
        radii = read_calibration(run.folder.ensemble_dir, comparison.landmarks)
        if radii is None:
            why.append("The ensemble has no radii: too few films that it did not learn from, or a run of an earlier version.")
        protocol = Protocol("of the run", comparison.landmarks, comparison.landmarks)
        if (reviewer := reviewer_of(run.folder.ensemble_dir, protocol, needed=False)) is not None:
            points, reference, spacing = comparison.points[ENSEMBLE], comparison.reference, comparison.spacing_mm
            effects = effect_of(reviewer.review(points, confidence, spacing), points, reference, spacing)
        else:
            why.append(f"Nothing is flagged for review: the ensemble has no {SHAPE_FILE}.")
    except InputError as error:
        why.append(str(error))
    levels = () if radii is None else tuple(coverage(radii, errors, confidence, level) for level in LEVELS)
    at = next((each for each in levels if each.level == 0.9), None)
    return Doubts(at, levels, tuple(effects), tuple(why))


def confidence_of(run: Run, role: str, placed: Placed) -> NDArray[np.float64]:
    """(N, K) of the ensemble on the films of a role."""
    rows = run.predictions[(run.predictions["role"] == role) & (run.predictions["model"] == ENSEMBLE)]
    table = rows.pivot(index="film", columns="landmark", values="confidence")
    return table.reindex(index=list(placed.films), columns=list(placed.landmarks)).to_numpy(dtype=np.float64)
