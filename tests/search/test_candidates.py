"""A lucky trial does not win by its luck."""

import numpy as np
import pytest

from search.candidates import Training, estimates, size_limit, trainings
from search.history import Outcome, Point, Trial
from search.space.knobs import Knob
from search.space.schema import PromotionSettings

KNOBS = (Knob("x", "float", 0.0, 1.0), Knob("y", "float", 0.0, 1.0))
NOISE_MM = 0.1


def truth_mm(values: dict) -> float:
    return 1.3 + (values["x"] - 0.6) ** 2 + 0.5 * (values["y"] - 0.3) ** 2


def searched(seed: int, number: int = 40) -> list[Trial]:
    """Finished trials all over the space, each off by noise; every third was stopped after a third of its epochs."""
    random = np.random.default_rng(seed)
    trials = []
    for place in range(number):
        values = {"x": float(random.random()), "y": float(random.random())}
        end = truth_mm(values) + random.normal(0, NOISE_MM)
        stopped = place % 3 == 2
        curve = {epoch: Point(end + 6 / epoch - 6 / 9, 9) for epoch in range(1, 4 if stopped else 10)}
        outcome = Outcome("stopped" if stopped else "complete", curve[max(curve)].value_mm)
        trials.append(Trial(place, values, curve, outcome))
    return trials


def test_who_is_chosen_by_the_estimate_is_better_than_who_was_lucky():
    """Of the truth, over 20 searches: what the lowest error and the lowest estimate name."""
    lucky, expected, claimed, said = [], [], [], []
    for seed in range(20):
        trials = searched(seed)
        found = estimates(KNOBS, trials)
        finished = [trial for trial in trials if trial.outcome.kind == "complete"]
        by_error = min(finished, key=lambda trial: trial.outcome.value_mm)
        by_estimate = min(trials, key=lambda trial: found[trial.number].value_mm)
        lucky.append(truth_mm(by_error.values))
        expected.append(truth_mm(by_estimate.values))
        claimed.append(by_error.outcome.value_mm - truth_mm(by_error.values))
        said.append(found[by_estimate.number].value_mm - truth_mm(by_estimate.values))
    assert np.mean(expected) < np.mean(lucky)
    assert np.mean(claimed) < -0.05, "the winner's own figure flatters it"
    assert abs(np.mean(said)) < 0.5 * abs(np.mean(claimed))


def test_a_stopped_trial_counts_by_its_forecast():
    trials = searched(1)
    found = estimates(KNOBS, trials)
    stopped = [trial for trial in trials if trial.outcome.kind == "stopped"]
    off = [found[trial.number].value_mm - truth_mm(trial.values) for trial in stopped]
    assert abs(np.mean(off)) < 0.1 < np.mean([trial.outcome.value_mm - truth_mm(trial.values) for trial in stopped])


def test_failed_trials_have_none_and_few_have_their_own_figures():
    trials = searched(0, number=2)
    trials += [Trial(2, {"x": 0.1, "y": 0.1}, {}, Outcome("failed")), Trial(3, {"x": 0.2, "y": 0.1}, {}, Outcome("infeasible"))]
    found = estimates(KNOBS, trials)
    assert {number: each.value_mm for number, each in found.items()} == {trial.number: trial.outcome.value_mm for trial in trials[:2]}


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"seeds": 0}, [(0, -1)]),
        ({"seeds": 2}, [(0, -1), (1, -1), (2, -1)]),
        ({"seeds": 2, "folds": 2}, [(1, 0), (1, 1), (2, 0), (2, 1)]),
    ],
)
def test_what_confirms(settings, wanted):
    assert trainings(PromotionSettings(**settings)) == [Training(*each) for each in wanted]


@pytest.mark.parametrize(("folds", "networks", "picks"), [(1, 8, 8), (2, 8, 4), (3, 9, 3), (5, 15, 3), (20, 60, 3)])
def test_by_default_folds_leave_room_for_three_picks(folds: int, networks: int, picks: int):
    settings = PromotionSettings(folds=folds)
    assert (settings.most_networks, settings.most_picks) == (networks, picks)


def test_a_limit_on_networks_is_kept_and_says_what_it_does():
    settings = PromotionSettings(folds=5, max_members=8)
    assert (settings.most_networks, settings.most_picks) == (8, 1)
    assert size_limit(settings) == "a single pick of 5 networks, one a fold: promotion.max_members 8 has no room for a second, 10 has"
    assert size_limit(PromotionSettings(folds=5)) == "at most 3 picks of 5 networks each, one a fold (promotion.max_members 15)"
    assert size_limit(PromotionSettings(max_members=4)) == "at most 4 networks (promotion.max_members)"
