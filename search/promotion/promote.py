"""The way from candidates to the exported ensemble."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ceph_core.data.films import TrainingData
from ceph_core.inference.held_out import HeldOut
from ceph_core.inference.selection import Selection, combined_points, greedy_select
from ceph_core.metrics import radial_errors_mm
from search.candidates import size_limit
from search.policy import Policy
from search.promotion.chosen import Chosen
from search.promotion.export import export
from search.promotion.jobs import RunJobs, jobs_for
from search.promotion.locked_test import open_test
from search.promotion.networks import Say
from search.promotion.outcome import Answers, Confirmed, Outcome
from search.promotion.pool import CallAll, Pool
from search.records import ENSEMBLE, RunFolder


def promote(run: RunFolder, policy: Policy, data: TrainingData, run_jobs: RunJobs, call_all: CallAll, say: Say) -> Outcome:
    """Confirm the candidates, choose members on films they did not train on, score them once on the locked test and export.

    Raises:
        RuntimeError: no trial left weights behind.
    """
    settings = policy.space.promotion
    if jobs := jobs_for(policy):
        say(f"promotion: {len(jobs)} trainings confirm {len(policy.candidates())} candidates")
        run_jobs(jobs)
    pool = Pool.of(run, policy, data, call_all, say)
    if settings.folds > 1:
        say(f"promotion: the ensemble is {size_limit(settings)}")
    selection = greedy_select(
        pool.candidates, pool.reference_px, pool.spacing_mm, settings.most_picks,
        progress=lambda line: say(f"promotion: {line}"), groups=[entry.candidate for entry in pool.entries],
    )  # fmt: skip
    chosen = Chosen.of(pool.entries, selection)
    networks = f" ({len(chosen.networks)} networks)" if settings.folds > 1 else ""
    say(
        f"promotion: chosen {chosen.combine} of {', '.join(entry.name for entry in chosen.entries)}{networks}: "
        f"{selection.score_mm:.3f} mm on {len(pool.films)} films, {selection.expected.mre_mm:.3f} mm expected without the luck "
        f"of this choice; the search's, by {'some of ' if settings.folds > 1 else ''}the same films, is not taken out"
    )
    single = pool.entries[selection.single]
    baseline = next((entry for entry in pool.entries if entry.is_baseline and not entry.variant), None)
    test = open_test(data, chosen, selection, single, baseline, pool.tta, call_all, say)
    points, held_out = _held_out(pool, selection)
    difference = export(run, data, chosen, test, selection, held_out, pool.tta, say)
    judged: dict[tuple[str, str], Answers] = {(ENSEMBLE, "validation"): (pool.films, points, held_out.confidence)} | {
        (entry.name, "validation"): (pool.films, outputs.points_px, outputs.confidence)
        for entry, outputs in zip(pool.entries, pool.outputs, strict=True)
    }
    return Outcome(
        selection, chosen.entries, single, pool.films, tuple(_confirmed(policy, pool)), chosen.networks, chosen.weights, test.scores,
        test.paired, difference, {**test.predictions, **judged},
    )  # fmt: skip


def _held_out(pool: Pool, selection: Selection) -> tuple[NDArray[np.float64], HeldOut]:
    """The ensemble's points, original px, on the films that it was chosen by, and what they are off by."""
    points = combined_points([pool.candidates[index] for index in selection.picks], selection.combine)
    sure = np.average([pool.outputs[index].confidence for index in selection.members], axis=0, weights=selection.weights)
    luck = selection.expected.mre_mm / selection.score_mm
    errors = radial_errors_mm(points, pool.reference_px, pool.spacing_mm)
    return points, HeldOut(errors, sure, luck if math.isfinite(luck) else 1.0)


def _confirmed(policy: Policy, pool: Pool) -> Iterator[Confirmed]:
    """Each candidate's figures before and after it was trained anew."""
    expected = policy.estimates()
    for state in policy.candidates():
        fresh = [
            pool.mre_mm(place)
            for place, entry in enumerate(pool.entries)
            if entry.candidate == state.trial and entry.seed > 0 and not entry.variant
        ]
        yield Confirmed(
            state.trial, state.is_baseline, math.nan if state.value_mm is None else state.value_mm,
            expected[state.number].value_mm, expected[state.number].deviation_mm,
            float(np.mean(fresh)) if fresh else math.nan, float(np.std(fresh, ddof=1)) if len(fresh) > 1 else math.nan, len(fresh),
        )  # fmt: skip
