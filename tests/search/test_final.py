"""The final networks: what is planned from the time that is left, of which configurations, and what becomes of a plan."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ceph_core.config import Config, apply
from ceph_core.config.profiles import profile
from search.candidates import longer
from search.cost import FINISH_S, Timetable
from search.promotion.all_the_time import is_setting_of
from search.promotion.final import FinalPlan, allocated, best_plan, plan_for, planned, relative_error
from search.records import Ledger
from search.space import load
from search.space.schema import PromotionSettings
from tests.search.simulated import made_up_space, search

SPACE = Path(__file__).parents[2] / "spaces" / "sigma_aug.yaml"
WORKERS, FILMS = 2, 130
EPOCH_S = 4.0


def _plan(left_s: float, final: dict | None = None, weights: dict[str, float] | None = None, lengths: range = range(20, 155), **promotion):
    weights = weights or {"a": 0.5, "b": 0.5}
    settings = PromotionSettings(final=final or {}, **promotion)
    return best_plan(
        settings, lambda number: allocated(weights, "a", number), lambda _, epochs: EPOCH_S * epochs, left_s, WORKERS, FILMS, lengths
    )


@pytest.mark.parametrize("left_s", [100, 300, 900, 1800, 7200])
def test_a_plan_ends_in_time_and_wastes_no_worker_that_it_could_use(left_s):
    plan = _plan(left_s)
    assert plan.seconds <= left_s
    assert plan.seconds == pytest.approx(-(-len(plan.candidates) // WORKERS) * plan.epochs * EPOCH_S)
    longer, more = _plan(left_s, {"networks": len(plan.candidates)}), _plan(left_s, {"epochs": plan.epochs})
    assert (longer.epochs, len(more.candidates)) == (plan.epochs, len(plan.candidates)), "neither longer nor more would have fitted"


def test_no_other_number_of_networks_could_be_expected_to_err_less():
    for left_s in (300, 900, 1800, 3600, 7200):
        best = _plan(left_s)
        others = [_plan(left_s, {"networks": number}) for number in range(1, 9)]
        error = relative_error(best.epochs * FILMS, len(best.candidates))
        assert error == min(relative_error(other.epochs * FILMS, len(other.candidates)) for other in others)


def test_more_time_is_never_worse():
    errors = [relative_error((plan := _plan(left_s)).epochs * FILMS, len(plan.candidates)) for left_s in range(100, 7200, 100)]
    assert errors == sorted(errors, reverse=True)


def test_nothing_is_planned_that_could_not_end():
    assert _plan(20 * EPOCH_S - 1) is None
    assert _plan(20 * EPOCH_S).epochs == 20
    assert _plan(100 * EPOCH_S - 1, {"epochs": 100}) is None
    assert len(_plan(250 * EPOCH_S, {"epochs": 100, "networks": 64}, max_members=64).candidates) == 4


def test_given_numbers_are_kept():
    plan = _plan(1e6, {"networks": 3, "epochs": 37})
    assert (len(plan.candidates), plan.epochs, plan.num_films) == (3, 37, FILMS)
    assert _plan(1e6, {"networks": 3}).epochs == 154, "nothing longer is known to help"


def test_networks_follow_the_weights_and_the_best_single_is_trained_first():
    assert allocated({"a": 0.6, "b": 0.2, "c": 0.2}, "b", 5) == ("b", "a", "c", "a", "a")
    assert allocated({"a": 0.6, "b": 0.4}, "b", 1) == ("b",)
    assert allocated({"a": 1.0}, "a", 3) == ("a", "a", "a")
    assert allocated({"a": 1.0}, "z", 3) == ("z", "a", "a"), "the best single configuration is one of them, whatever its weight"
    for number in range(1, 20):
        names = allocated({"a": 0.5, "b": 0.3, "c": 0.2}, "a", number)
        assert len(names) == number and names.count("a") >= names.count("b") >= names.count("c")


def test_a_longer_training_is_augmented_more():
    config = apply(Config(), {"train.epochs": 20, "augment.strength": 0.6})
    strengths = [longer(config, epochs).augment.strength for epochs in (20, 50, 100, 400)]
    assert strengths[0] == 0.6 and strengths == sorted(strengths), "no longer, no stronger"
    assert strengths[2] == pytest.approx(1.5, abs=0.05), "what is best at 20 epochs becomes what is best at 100"
    assert strengths[3] <= 2.0
    strong = apply(config, {"augment.strength": 3.0})
    assert longer(strong, 100).augment.strength == 3.0, "never weaker than it was searched"
    assert longer(config, 100).train.epochs == 100


def test_a_plan_is_kept_until_the_run_is_extended(tmp_path):
    plan = _plan(900)
    with Ledger(tmp_path) as ledger:
        assert planned(ledger) is None
        ledger.append(plan.to_event())
        assert planned(ledger) == plan
        ledger.append_extended(10, 1.0)
        assert planned(ledger) is None


def test_a_plan_says_what_it_will_do():
    assert str(FinalPlan(("a",) * 4, 100, "all", 130, 840.0)) == "4 networks x 100 epochs on 130 films, about 14 min"
    assert str(FinalPlan(("a",), 20, "train", 110, 60.0)) == "1 network x 20 epochs on 110 films, about 60 s"


def test_the_recipe_of_the_cpu_profile_is_a_start_point_of_its_space():
    """So that every search tries it, and what it would have come to with all the time can be said."""
    space, recipe = load(SPACE, "cpu"), profile("cpu")
    settings = [is_setting_of(space, space.configure(point, seed=3), recipe) for point in space.start_from]
    assert settings == [False, True, *[False] * (len(settings) - 2)]
    other = apply(space.configure(space.start_from[1], seed=3), {"augment.strength": 1.5})
    assert not is_setting_of(space, other, recipe), "another augmentation is another setting"


def test_the_search_leaves_time_for_the_largest_final_stage_and_no_more(tmp_path: Path):
    """Hours to spare are the search's; where time is short, a share of it is kept, most of which confirmation may not touch."""
    space = made_up_space(budget={"trials": 4}, promotion={"seeds": 1, "final": {"networks": "auto", "epochs": "auto"}, "max_members": 8})
    for total_s, kept_whole in ((100_000.0, False), (600.0, True)):
        timetable = Timetable(total_s, 0.7, 0.85, final_epochs=90)
        policy, _ = search(tmp_path / f"{total_s:g}", space, workers=2, timetable=timetable)
        final_s = policy.pace.final_s()
        assert final_s == pytest.approx(4 * 90, rel=0.2), "eight networks of 90 epochs of a second, two at a time"
        end_s = timetable.search_end_s(policy.promotion_s())
        assert (end_s == pytest.approx(0.3 * total_s)) == kept_whole
        assert end_s + policy.promotion_s() < total_s or kept_whole
        assert end_s < policy.pace.confirmation_end_s() <= total_s - FINISH_S - min(final_s, 0.85 * (0.7 * total_s - FINISH_S)) + 1e-6


def test_where_time_is_short_for_what_was_chosen_the_best_that_fits_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    space = made_up_space(promotion={"candidates": 3, "final": {"networks": "auto", "epochs": "auto"}, "max_members": 8})
    policy, _ = search(tmp_path, space, timetable=Timetable(1000.0, 0.5, 0.85))
    slow, *others = [state.trial for state in policy.candidates()]
    data = SimpleNamespace(train_ids=range(10), for_fold=lambda fold: data)

    def seconds(config: Config, from_epoch: int = 0, to_epoch: int | None = None) -> float:
        return config.train.epochs * (1000.0 if config.heatmap == policy.trials[slow].config.heatmap else 1.0)

    monkeypatch.setattr(policy.pace.cost, "seconds", seconds)
    plan = plan_for(policy, {slow: 1.0}, slow, data)
    assert plan is not None and set(plan.candidates) < set(others) and plan.seconds <= 1000 - FINISH_S
    monkeypatch.setattr(policy.pace.cost, "seconds", lambda config, *_: 1e6)
    assert plan_for(policy, {slow: 1.0}, slow, data) is None
