"""Forecasts of unfinished curves, and the process that proposes by them."""

import math

import numpy as np
import pytest

from search.curve_model import proposals
from search.forecast import forecasts, horizon
from search.history import Outcome, Point, Trial
from search.rungs import Rungs
from search.sampler import Sampler
from search.space.knobs import Knob, misfits
from tests.search import curves
from tests.search.curves import BASELINE, SPACE, final_mm

LINE = (Knob("x", "float", 0.0, 1.0), Knob("kind", "categorical", choices=("a", "b")))


def trial(number: int, values: dict[str, object], curve: list[float], kind: str | None = "complete", total: int = 10) -> Trial:
    """One whose curve is reported from epoch 1 on."""
    points = {epoch: Point(value, total) for epoch, value in enumerate(curve, start=1)}
    outcome = None if kind is None else Outcome(kind, curve[-1] if kind in ("complete", "stopped") else None)  # type: ignore[arg-type]
    return Trial(number, values, points, outcome)


def fall(end: float, epochs: int, total: int = 10) -> list[float]:
    """A curve that falls to its end from twice as far above 1."""
    return [1 + (end - 1) * (3 - 2 * epoch / total) for epoch in range(1, epochs + 1)]


def test_finished_trials_are_what_they_are_and_others_what_the_finished_say() -> None:
    ends = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
    history = [trial(number, {}, fall(end, 10)) for number, end in enumerate(ends)]
    history += [trial(8, {}, fall(4.5, 3), "stopped"), trial(9, {}, fall(20.0, 1), "stopped"), trial(10, {}, fall(2.5, 6), None)]
    found = forecasts(history)
    assert [each.value for each in found[:8]] == list(ends) and all(each.variance == 0 for each in found[:8])
    stopped, bad, running = found[8:]
    assert stopped.value == pytest.approx(4.5, abs=0.6) and running.value == pytest.approx(2.5, abs=0.6)
    assert bad.value > 9.0
    assert 0 < running.variance < stopped.variance < bad.variance


def test_before_anything_has_finished_a_value_stands_for_itself_in_doubt() -> None:
    found = forecasts([trial(0, {}, [5.0], "stopped"), trial(1, {}, [7.0, 6.0], None)])
    assert [each.value for each in found] == [5.0, 6.0] and all(each.variance > 0 for each in found)


def test_while_hardly_any_has_finished_all_are_forecast_to_where_three_have_come() -> None:
    """What has just begun would otherwise look worse than what is far."""
    history = [trial(number, {}, fall(end, 6), None) for number, end in enumerate((5.0, 6.0, 7.0))]
    history += [trial(3, {}, fall(3.0, 1), None), trial(4, {}, fall(4.0, 9), None)]
    share = horizon(history)
    assert share == 0.6
    *judges, begun, far = forecasts(history, share)
    assert [each.value for each in judges] == [fall(end, 6)[-1] for end in (5.0, 6.0, 7.0)] and far.value == fall(4.0, 6)[-1]
    assert begun.value < far.value and begun.variance > far.variance == 0
    assert forecasts(history)[3].value > forecasts(history)[4].value


def test_once_three_have_finished_it_is_the_end() -> None:
    finished = [trial(number, {}, fall(end, 10)) for number, end in enumerate((2.0, 3.0))]
    running = [trial(2, {}, fall(4.0, 4), None), Trial(3, {})]
    assert horizon([*finished, *running]) == 0.4
    assert horizon([*finished, *running, trial(4, {}, fall(5.0, 10))]) == 1.0
    assert horizon([]) == horizon([Trial(0, {}), Trial(1, {})]) == 1.0


def test_where_one_other_runs_it_is_the_end() -> None:
    finished = [trial(number, {}, fall(end, 10)) for number, end in enumerate((2.0, 3.0))]
    assert horizon([*finished, trial(2, {}, fall(4.0, 4), None), trial(3, {}, fall(4.0, 2), "stopped")]) == 1.0


def test_nothing_is_forecast_of_what_said_nothing() -> None:
    diverged = Trial(1, {}, {1: Point(math.nan, 10)}, Outcome("infeasible"))
    assert forecasts([Trial(0, {}), diverged, trial(2, {}, [3.0], "failed")]) == [None, None, None]


def test_proposals_are_points_of_the_space_best_first_and_distinct() -> None:
    history = [trial(place, {"x": place / 9, "kind": "ab"[place % 2]}, fall(1.5 + (place / 9 - 0.3) ** 2, 10)) for place in range(10)]
    found = proposals(LINE, history, np.random.default_rng(0), 5)
    assert len(found) == 5 and not any(misfits(LINE, values) for values in found)
    assert len({repr(values) for values in found}) == 5
    assert found[0]["x"] == pytest.approx(0.3, abs=0.15)


def test_what_has_just_begun_is_not_held_against_what_is_far() -> None:
    """Lower x is better, but only higher ones have come far: their errors are the lower ones so far."""
    far = [trial(place, {"x": x, "kind": "a"}, fall(3 + x, 6), None) for place, x in enumerate((0.6, 0.8, 1.0))]
    begun = [trial(3 + place, {"x": x, "kind": "a"}, fall(3 + x, 1), "stopped") for place, x in enumerate((0.1, 0.2, 0.3))]
    assert min(each.curve[1].value_mm or 0 for each in begun) > max(each.curve[6].value_mm or 0 for each in far)
    assert proposals(LINE, [*far, *begun], np.random.default_rng(0), 1)[0]["x"] < 0.3


def test_where_a_running_trial_is_at_work_nothing_more_is_tried() -> None:
    """Awaiting one result at the best place, the next proposal lies elsewhere."""
    history = [trial(place, {"x": place / 7, "kind": "a"}, fall(1.5 + (place / 7 - 0.5) ** 2, 10)) for place in range(8)]
    first = proposals(LINE, history, np.random.default_rng(0), 1)[0]
    second = proposals(LINE, [*history, Trial(8, first)], np.random.default_rng(0), 1)[0]
    assert second["kind"] != first["kind"] or abs(second["x"] - first["x"]) > 0.01


def test_what_cannot_be_trained_is_learned_and_shunned() -> None:
    """The curves fall towards 1, but beyond 0.6 nothing trains."""
    random, history = np.random.default_rng(3), []
    for number in range(30):
        drawn = {"x": float(random.random()), "kind": "a"}
        values = drawn if number < 6 else proposals(LINE, history, np.random.default_rng(number), 1)[0]
        if values["x"] > 0.6:
            history.append(Trial(number, values, {}, Outcome("infeasible")))
        else:
            history.append(trial(number, values, fall(3 - values["x"], 10)))
    # The best lies at the very limit, so that it is felt for; well beyond it nothing is tried any more.
    assert sum(each.values["x"] > 0.7 for each in history[6:]) <= 3
    assert not any(each.values["x"] > 0.64 for each in history[15:])
    assert max(each.values["x"] for each in history if each.outcome is not None and each.outcome.kind == "complete") > 0.58


def test_nothing_but_the_history_and_the_seed_decides() -> None:
    history = [trial(place, {"x": place / 9, "kind": "b"}, fall(2 + place / 9, 10)) for place in range(10)]
    one, again = (proposals(LINE, history, np.random.default_rng(7), 3) for _ in range(2))
    assert one == again


def test_the_default_sampler_finds_more_than_random_and_tpe_in_the_same_time() -> None:
    """Eight made-up searches of 12 trainings' time on four workers."""

    def regret(name: str) -> float:
        ends = []
        for seed in range(8):
            sampler = Sampler(SPACE, [BASELINE], name, startup_trials=6, seed=seed)  # type: ignore[arg-type]
            searched = curves.search(sampler, Rungs((0.1, 0.3), 3), budget=12 * 20, workers=4, seed=seed)
            ends.append(min((value for _, value in searched.found), default=final_mm(BASELINE)))
        return float(np.mean(ends)) - curves.BEST_MM

    ours = regret("curve_gp")
    assert ours < regret("random") and ours < regret("tpe")
