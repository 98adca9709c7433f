"""The way from candidates to the exported ensemble."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ceph_core.data.films import TrainingData
from ceph_core.inference.held_out import HeldOut
from ceph_core.inference.selection import Selection, combined_points, greedy_select
from ceph_core.metrics import radial_errors_mm
from search.candidates import size_limit
from search.policy import Policy
from search.promotion.all_the_time import recipe_with_all_the_time
from search.promotion.chosen import Chosen
from search.promotion.export import export
from search.promotion.final import FinalPlan, final_jobs, plan_for, planned
from search.promotion.jobs import RunJobs, jobs_for
from search.promotion.locked_test import open_test
from search.promotion.networks import Entry, Say, final_entries
from search.promotion.outcome import Answers, Confirmed, Outcome
from search.promotion.pool import CallAll, Pool
from search.records import ENSEMBLE, Journal, RunFolder


def promote(run: RunFolder, policy: Policy, data: TrainingData, ledger: Journal, run_jobs: RunJobs, call_all: CallAll, say: Say) -> Outcome:
    """Confirm the candidates, choose on films they did not train on, train the final networks, score them once on the locked test, export.

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
    plan, final = _final(run, policy, data, ledger, chosen, pool.entries[selection.single], run_jobs, say)
    exported = Chosen.final(final, chosen.combine) if final else chosen
    single = next((entry for entry in final if entry.candidate == pool.entries[selection.single].candidate), pool.entries[selection.single])
    baseline = next((entry for entry in pool.entries if entry.is_baseline and not entry.variant), None)
    test = open_test(data, exported, single, baseline, pool.tta, call_all, say)
    points, held_out = _held_out(pool, selection)
    held_out_by = held_out_sentence(plan if final else None, chosen, len(pool.films))
    difference = export(run, data, exported, test, selection, held_out, held_out_by, pool.tta, say)
    judged: dict[tuple[str, str], Answers] = {(ENSEMBLE, "validation"): (pool.films, points, held_out.confidence)} | {
        (entry.name, "validation"): (pool.films, outputs.points_px, outputs.confidence)
        for entry, outputs in zip(pool.entries, pool.outputs, strict=True)
    }
    recipe = recipe_with_all_the_time(policy, exported.entries, data, test.scores[0].summary.mre_mm)
    return Outcome(
        selection, chosen.entries, single, pool.films, tuple(_confirmed(policy, pool)), exported.entries, exported.networks,
        exported.weights, test.scores, test.paired, difference, {**test.predictions, **judged}, held_out_by,
        plan if final else None, recipe,
    )  # fmt: skip


def held_out_sentence(plan: FinalPlan | None, chosen: Chosen, num_films: int) -> str:
    """Whose errors on unseen films the expected error, the radii and the review flags come from, in a sentence."""
    by = f"on {num_films} films that the networks which answered did not learn from"
    if plan is None:
        return f"Expected error, radii and review flags come from the ensemble's own networks, {by}."
    epochs = sorted({network.epoch for network in chosen.networks})
    length = f"{epochs[0]} epochs" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]} epochs"
    more = f" on {plan.num_films} films" if plan.films == "all" else ""
    return (
        f"Expected error, radii and review flags come from the confirmed networks of the same settings ({length}), {by}; the exported "
        f"networks were trained for {plan.epochs} epochs{more} and can be expected to err less."
    )


def _final(
    run: RunFolder, policy: Policy, data: TrainingData, ledger: Journal, chosen: Chosen, single: Entry, run_jobs: RunJobs, say: Say
) -> tuple[FinalPlan | None, list[Entry]]:
    """Plan and train the final networks: the plan, and what came of it; nothing where there is no time or none are wanted."""
    if not policy.space.promotion.final.is_on:
        return None, []
    plan = planned(ledger)
    if plan is None:
        weights: Counter[str] = Counter()
        for entry, count in zip(chosen.entries, chosen.counts, strict=True):
            weights[entry.candidate] += count
        plan = plan_for(policy, {candidate: count / weights.total() for candidate, count in weights.items()}, single.candidate, data)
        if plan is None:
            say("final: no time is left for a training of its own; the ensemble is made of the confirmed networks")
            return None, []
        ledger.append(plan.to_event())
    say(f"final: {plan}")
    jobs = final_jobs(plan, policy)
    run_jobs(jobs)
    final = final_entries(run, policy, jobs, data, say)
    if not final:
        say("final: no network reached its end; the ensemble is made of the confirmed networks")
    return plan, final


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
