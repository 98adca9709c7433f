import math

import pytest

from ceph_core.errors import InputError
from search.rungs import Action, Report, Rungs


def arrive(rungs: Rungs, *values_mm: float) -> list[Action]:
    """One trial a value, at the first rung (epoch 1 of 10)."""
    return [rungs.report(f"t{place}", 1, 10, value).action for place, value in enumerate(values_mm)]


@pytest.mark.parametrize(
    ("fractions", "total", "epochs"),
    [
        ((0.1, 0.25, 0.5), 20, {0: 2, 1: 5, 2: 10}),
        ((0.1, 0.5), 30, {0: 3, 1: 15}),  # 0.1 * 30 is not 4
        ((0.01, 0.3), 10, {0: 1, 1: 3}),
        ((0.1, 0.2, 0.5), 4, {1: 1, 2: 2}),  # two rungs on one epoch: the higher keeps it
        ((0.5, 0.9), 4, {0: 2}),  # a rung at the end would stop nothing
        ((0.5,), 1, {}),
        ((), 10, {}),
    ],
)
def test_a_rung_is_a_share_of_a_trials_own_epochs(fractions, total, epochs):
    assert Rungs(fractions, 3).epochs_of(total) == epochs


def test_first_arrival_passes_and_later_ones_earn_it():
    go, stop = Action.CONTINUE, Action.STOP
    assert arrive(Rungs([0.1], 3), 5.0, 6.0, 4.0, 4.5, 4.6, 4.9) == [go, stop, go, go, stop, stop]
    assert arrive(Rungs([0.1], 1.5), 5.0, 6.0, 7.0) == [go, go, stop]


def test_a_tie_goes_to_the_earlier():
    assert arrive(Rungs([0.1], 3), 5.0, 5.0) == [Action.CONTINUE, Action.STOP]


def test_reason_is_for_people():
    rungs = Rungs([0.1, 0.25, 0.5], 3)
    for place, value in enumerate((3.0, 3.1, 3.2, 3.3, 3.15)):
        rungs.report(f"t{place}", 4, 8, value)
    decision = rungs.report("late", 4, 8, 3.21)
    assert (decision.action, decision.rung) == (Action.STOP, 2)
    assert decision.reason == "rung 2 (epoch 4): 3.21 mm is rank 5 of 6, top 2 go on"


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("epoch", [1, 3, 10])
@pytest.mark.parametrize("protected", [False, True])
def test_no_finite_value_fails_at_that_report(value, epoch, protected):
    rungs = Rungs([0.3], 3)
    assert rungs.report("t", epoch, 10, value, protected).action is Action.FAIL
    assert rungs.report("t", epoch + 1, 10, 1.0).action is Action.FAIL
    assert rungs.state() == ((),)


def test_baseline_goes_on_and_counts():
    rungs = Rungs([0.1], 3)
    rungs.report("good", 1, 10, 2.0)
    decision = rungs.report("baseline", 1, 10, 3.0, protected=True)
    assert decision.action is Action.CONTINUE and "baseline" in decision.reason
    assert rungs.state() == ((("good", 2.0), ("baseline", 3.0)),)


def test_value_at_the_report_counts_not_the_best_so_far():
    rungs = Rungs([0.2], 3)
    rungs.report("steady", 2, 10, 3.0)
    rungs.report("lucky", 1, 10, 1.0)
    assert rungs.report("lucky", 2, 10, 4.0).action is Action.STOP


def test_a_repeated_report_gets_its_decision_and_is_recorded_once():
    rungs = Rungs([0.2, 0.5], 3)
    first = rungs.report("a", 2, 10, 3.0)
    rungs.report("a", 3, 10, 2.9)
    stopped = rungs.report("b", 2, 10, 4.0)
    state = rungs.state()
    assert rungs.report("a", 1, 10, math.nan).action is Action.CONTINUE
    assert rungs.report("a", 2, 10, 99.0) == first
    assert rungs.report("b", 2, 10, 1.0) == stopped
    assert rungs.report("b", 3, 10, 1.0) == stopped, "a stopped trial stays stopped"
    assert rungs.state() == state


def test_rungs_jumped_over_are_judged_at_the_highest():
    rungs = Rungs([0.1, 0.2, 0.5], 3)
    decision = rungs.report("a", 3, 10, 3.0)  # validates every third epoch
    assert decision.rung == 1
    assert rungs.state() == ((), (("a", 3.0),), ())
    assert rungs.report("a", 10, 10, 2.0).rung is None, "the end of a training is no rung"


def test_replay_restores_state_and_decisions():
    live, order, decisions, ended = Rungs([0.1, 0.3, 0.6], 3), [], [], set()
    for epoch in range(1, 11):
        for place in range(9):
            trial = f"t{place}"
            if trial in ended:
                continue
            order.append(Report(trial, epoch, 10, math.nan if (place, epoch) == (0, 2) else (place * 7 % 9) / 3 + 5 / epoch, place == 8))
            decisions += live.replay(order[-1:])
            if decisions[-1].action is not Action.CONTINUE:
                ended.add(trial)
    again = Rungs([0.1, 0.3, 0.6], 3)
    assert again.replay(order) == decisions
    assert again.state() == live.state() and again.rung_table() == live.rung_table()
    assert {decision.action for decision in decisions} == set(Action)


def test_table_shows_what_the_next_has_to_beat():
    rungs = Rungs([0.1, 0.5], 3)
    arrive(rungs, 5.0, 4.0, 6.0)
    low, high = rungs.rung_table()
    assert (low.fraction, low.recorded, low.best_mm, low.cutoff_mm) == (0.1, 3, 4.0, 5.0)
    assert (high.recorded, high.best_mm, high.cutoff_mm) == (0, None, None)
    assert rungs.report("beats", 1, 10, 4.99).action is Action.CONTINUE
    assert rungs.report("meets", 1, 10, rungs.rung_table()[0].cutoff_mm).action is Action.STOP


def test_every_wrong_setting_is_named():
    with pytest.raises(InputError, match=r"(?s)0\.0 is not a share.*1\.5 is not a share.*must increase.*reduction_factor: 1"):
        Rungs([0.5, 0.0, 1.5], 1)


def test_newer_arrivals_push_out_a_trial_that_passed_alone() -> None:
    rungs = Rungs([0.2, 0.6], 3)
    assert rungs.report("early", 2, 10, 9.0).action is Action.CONTINUE  # first at the rung: nobody to compare with
    assert rungs.report("early", 3, 10, 8.0).action is Action.CONTINUE
    assert rungs.report("better", 2, 10, 4.0).action is Action.CONTINUE
    pushed = rungs.report("early", 4, 10, 3.0)  # what it reached since does not count: the other had the same share at 4.0
    assert pushed.action is Action.STOP and "rank 2 of 2, top 1 go on" in pushed.reason
    assert rungs.report("better", 3, 10, 3.9).action is Action.CONTINUE


@pytest.mark.parametrize(("running", "action"), [(7, Action.STOP), (8, Action.CONTINUE)])
def test_the_trial_in_the_lead_is_not_pushed_out_where_many_run(running: int, action: Action) -> None:
    rungs = Rungs([0.2, 0.6], 3)
    rungs.report("fast", 2, 10, 9.0)
    rungs.report("better", 2, 10, 4.0)
    rungs.report("done", 10, 10, 5.0)  # runs no longer
    for number in range(running - 2):
        rungs.report(f"t{number}", 1, 10, 20.0)
    assert rungs.report("fast", 3, 10, 3.9).action is action


def test_trials_that_something_else_ended_run_no_longer() -> None:
    rungs = Rungs([0.2, 0.6], 3)
    rungs.report("fast", 2, 10, 9.0)
    rungs.report("better", 2, 10, 4.0)
    for number in range(6):
        rungs.report(f"t{number}", 1, 10, 20.0)
    rungs.ended("t3")
    rungs.ended("never reported")
    assert rungs.report("fast", 3, 10, 3.9).action is Action.STOP


def test_the_lead_is_lost_to_a_lower_value() -> None:
    rungs = Rungs([0.2, 0.6], 3)
    rungs.report("fast", 2, 10, 9.0)
    rungs.report("better", 2, 10, 4.0)
    for number in range(6):
        rungs.report(f"t{number}", 1, 10, 20.0)
    assert rungs.report("fast", 3, 10, 3.9).action is Action.CONTINUE
    assert rungs.report("better", 3, 10, 3.8).action is Action.CONTINUE
    assert rungs.report("fast", 4, 10, math.nan, validated=False).action is Action.STOP


def test_the_lead_stands_at_epochs_that_are_not_validated() -> None:
    rungs = Rungs([0.2], 3)
    rungs.report("fast", 2, 10, 4.5)
    for number in range(8):
        rungs.report(f"t{number}", 1, 10, 20.0)
    rungs.report("fast", 3, 10, 3.9)
    rungs.report("better", 2, 10, 4.0)
    assert rungs.report("fast", 4, 10, None, validated=False).action is Action.CONTINUE


def test_the_baseline_is_never_pushed_out() -> None:
    rungs = Rungs([0.2], 3)
    rungs.report("baseline", 2, 10, 9.0, protected=True)
    rungs.report("better", 2, 10, 4.0)
    assert all(rungs.report("baseline", epoch, 10, 9.0, protected=True).action is Action.CONTINUE for epoch in range(3, 11))


def test_pushing_out_is_replayed() -> None:
    reports = [Report("a", 2, 10, 9.0), Report("b", 2, 10, 4.0), Report("a", 3, 10, 8.0), Report("b", 3, 10, 3.0)]
    first, second = Rungs([0.2], 3), Rungs([0.2], 3)
    assert first.replay(reports) == second.replay([*reports, reports[2]])[:4]
    assert first.state() == second.state()
