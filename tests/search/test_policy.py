import json
import math
import random
from collections import Counter
from contextlib import suppress

import pytest

from ceph_core.errors import InputError
from search.cost import FINISH_S, Timetable
from search.policy import Policy
from search.records import Event, Ledger
from search.rungs import Action
from search.space import Space
from search.standings import TrialState, distinct
from tests.search.simulated import NO_LIMIT, Clock, Killed, decided, made_up_space, search, simulate

TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB'


def _ends(events: list[Event]) -> dict[str, Event]:
    return {event["trial"]: event for event in events if event["event"] == "end"}


def _truncate(folder, events: list[Event], whole: int) -> None:
    folder.mkdir()
    (folder / "ledger.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events[:whole]))


@pytest.mark.parametrize("workers", [1, 3])
def test_resumed_decides_as_unbroken(tmp_path, workers):
    """Killed after any report, up to half-way through the model's proposals and early stops."""
    space = made_up_space()
    unbroken = search(tmp_path / "unbroken", space, workers=workers)[1]
    assert sum(end["status"] == "stopped" for end in _ends(unbroken).values()) >= 3
    cut = random.Random(workers).sample(range(1, 30), 3)
    for place, stop_after in enumerate(cut):
        folder = tmp_path / str(place)
        search(folder, space, workers=workers, stop_after=stop_after)
        _, resumed = search(folder, space, workers=workers)
        if workers == 1:
            assert decided(resumed) == decided(unbroken)
        else:  # those that ran go on together; the order of reports within a round is the trials' numbers, as before
            assert {name for name, *_ in decided(resumed)} == {name for name, *_ in decided(unbroken)}
            assert len(_ends(resumed)) == len(_ends(unbroken))


def test_killed_between_any_two_lines(tmp_path):
    """The ledger may end after an announcement, a report or an end; a trial whose end was not written ends as decided."""
    space = made_up_space(budget={"trials": 7})
    how = {"fail": "nan:augment.strength>1.5"}
    unbroken = search(tmp_path / "unbroken", space, **how)[1]
    ends = [place for place, event in enumerate(unbroken) if event["event"] == "end"]
    assert {unbroken[place]["status"] for place in ends} == {"completed", "stopped", "failed"}
    every_kind = {unbroken[place]["status"]: place for place in ends}.values()
    for whole in {*every_kind, 1, len(unbroken) - 1, *random.Random(0).sample(range(len(unbroken)), 3)}:
        folder = tmp_path / str(whole)
        _truncate(folder, unbroken, whole)
        policy, resumed = search(folder, space, **how)
        assert decided(resumed) == decided(unbroken), f"cut before line {whole}: {unbroken[whole]}"
        assert {state.status for state in policy.trials.values()} <= {"completed", "stopped", "failed"}


def test_baseline_is_first_and_never_stopped(tmp_path):
    worst = {"heatmap.sigma_rel": 0.09, "augment.strength": 0.0, "train.batch_size": 4, "train.lr": 1e-4}
    space = Space.from_dict({**made_up_space().to_dict(), "start_from": [worst]})
    policy, events = search(tmp_path, space, workers=3)
    assert _ends(events)["t0000"]["status"] == "completed"
    assert policy.trials["t0000"].values == worst
    assert policy.ranking()[0].trial != "t0000"
    assert [state.trial for state in policy.candidates()] == ["t0000", *[state.trial for state in policy.ranking()[:2]]]


def _finite(tmp_path) -> Policy:
    """24 trials of six configurations: every one was tried more than once."""
    knobs = {"augment.strength": {"categorical": [0.0, 1.0, 1.2]}, "train.batch_size": {"categorical": [2, 4]}}
    start = [{"augment.strength": 0.0, "train.batch_size": 4}]
    changes = {"search": knobs, "start_from": start, "sampler": {"name": "random"}}
    space = made_up_space(budget={"trials": 24}, promotion={"candidates": 4, "seeds": 1})
    fixed = {**space.fixed, "heatmap.sigma_rel": 0.05, "train.lr": 5e-4}
    return search(tmp_path, Space.from_dict({**space.to_dict(), **changes, "fixed": fixed}))[0]


def test_candidates_are_distinct_configurations(tmp_path):
    """Of those that are tried again and again the trial that came furthest stands for all, and the baseline for its own."""
    policy = _finite(tmp_path)
    found, expected = policy.candidates(), policy.estimates()
    best = [state for state in found if not state.is_baseline]
    assert found[0].trial == "t0000" and len(best) == 4
    assert len({tuple(state.values.items()) for state in found}) == 5
    errors = [expected[state.number].value_mm for state in best]
    assert errors == sorted(errors)
    for state in best:
        same = [other for other in policy.ranking() if other.values == state.values]
        assert len(same) > 1, "else this shows nothing"
        assert state is min(same, key=lambda other: (-other.epoch, other.number))
    whole = policy.pace.cost.seconds(found[0].config)
    assert policy.promotion_s() < 5 * 2 * whole, "time is kept for distinct ones, too"


def test_a_baseline_that_was_tried_again_is_still_the_baseline():
    def tried(number: int, epoch: int) -> TrialState:
        return TrialState(f"t{number:04d}", number, {"x": 1}, made_up_space().base_config(), number == 0, epoch)

    assert [state.trial for state in distinct([tried(2, 9), tried(0, 3), tried(1, 9)])] == ["t0000"]
    assert [state.trial for state in distinct([tried(3, 9), tried(2, 9), tried(1, 3)])] == ["t0002"]


@pytest.mark.parametrize("fail", ["", "raise:augment.strength>1.2", "nan:augment.strength>1.2"])
def test_what_is_kept_up_to_date_equals_what_the_trials_add_up_to(tmp_path, fail):
    """Ranking, those that run, counts and the time left; after every report and over a resume."""

    def check(policy: Policy) -> None:
        states = list(policy.trials.values())
        ranked = [state for state in states if state.value_mm is not None and state.status != "failed"]
        assert policy.ranking() == sorted(ranked, key=lambda state: (state.value_mm, state.number))
        expected = policy.estimates()
        best = sorted(ranked, key=lambda state: (expected[state.number].value_mm, state.number))[: policy.space.promotion.candidates]
        assert policy.candidates() == [*(state for state in ranked if state.is_baseline and state not in best), *best]
        assert list(policy.running.values()) == [state for state in states if state.status == "running"]
        assert policy.num_ended == Counter(state.status for state in states if state.status != "running")
        past = [policy.pace.cost.seconds(state.config, 0, state.epoch) for state in states if state.status != "running"]
        live = [policy.pace.cost.seconds(state.config, state.epoch) for state in policy.running.values()]
        if past and live and None not in past:
            to_come = sum(past) / len(past) * (policy.space.budget.trials - len(states))
            assert policy.remaining_s() == pytest.approx(max(*live, 0.0, (sum(live) + to_come) / policy.workers))

    for stop_after in (25, None):
        with Ledger(tmp_path) as ledger:
            policy = Policy(made_up_space(), ledger, 3, 2, NO_LIMIT, Clock())
            check(policy)
            with suppress(Killed):
                simulate(policy, fail=fail, stop_after=stop_after, on_tick=lambda policy=policy: check(policy))
            check(policy)


def test_failures_do_not_stop_the_search(tmp_path):
    policy, events = search(tmp_path, made_up_space(), fail="raise:augment.strength>1.2")
    failed = [end for end in _ends(events).values() if end["status"] == "failed"]
    assert failed
    assert len(_ends(events)) == 10
    assert {end["reason"] for end in failed} == {"ValueError: made to fail"}
    assert all(end["error"].startswith("Traceback") and not end["infeasible"] for end in failed)
    assert not {end["trial"] for end in failed} & {state.trial for state in policy.ranking()}


def test_nan_and_memory_are_the_configurations_fault(tmp_path):
    with Ledger(tmp_path) as ledger:
        policy = Policy(made_up_space(), ledger, 0, 2, NO_LIMIT)
        first, second = policy.next(), policy.next()
        assert policy.report(first.trial, {"epoch": 1, "val_mre_mm": math.nan, "image_size": 64, "seconds": 1.0}) is Action.FAIL
        policy.error(second.trial, TRACEBACK)
        ends = _ends(list(ledger.events()))
    assert [end["infeasible"] for end in ends.values()] == [True, True]
    assert "no value" in ends["t0000"]["reason"] or "nan" in ends["t0000"]["reason"]
    assert ends["t0001"]["reason"].startswith("torch.OutOfMemoryError")
    assert ends["t0001"]["error"] == TRACEBACK
    assert policy.sampler.trials[1].outcome.kind == "infeasible"
    assert policy.ranking() == []


def test_a_configuration_that_cannot_exist_is_passed_over(tmp_path, monkeypatch):
    configure = Space.configure

    def refuse(space, values, seed):
        if values["augment.strength"] > 1.5:
            raise InputError("configuration: these do not fit together")
        return configure(space, values, seed)

    monkeypatch.setattr(Space, "configure", refuse)
    _, events = search(tmp_path, made_up_space())
    refused = [end for end in _ends(events).values() if end["infeasible"]]
    assert refused
    assert refused[0]["error"] == "configuration: these do not fit together"
    assert len(_ends(events)) == 10


def test_time_for_promotion_is_kept(tmp_path):
    """Ten seconds an epoch: the search leaves what its candidates still need, and starts nothing that cannot reach a rung."""
    clock, timetable = Clock(), Timetable(1200.0, 0.5)
    space = made_up_space(budget={"trials": 100_000}, scheduler={"rungs": [0.5]})
    policy, events = search(tmp_path, space, clock=clock, elapsed_s=clock, epoch_s=10.0, timetable=timetable)
    ends = _ends(events)
    assert 5 < len(ends) < 40
    assert ends["t0000"]["status"] == "completed"
    assert clock.now <= timetable.search_end_s(policy.promotion_s()) + 10
    assert clock.now + policy.promotion_s() + FINISH_S <= 1200
    shortest = min(state.epoch for state in policy.trials.values())
    assert shortest >= 4, "a trial was started that the clock then stopped before its rung"
    assert events[-1] == {**events[-1], "event": "searched", "reason": "time for the search is up"}


def test_the_clock_of_the_search_does_not_cut_the_baseline(tmp_path):
    """All others stop when promotion's time begins; the baseline trains on until only the time to finish is left."""
    for total_s, status, epochs in ((FINISH_S + 95.0, "completed", 9), (FINISH_S + 75.0, "stopped", 8)):
        clock, folder = Clock(), tmp_path / status
        timetable = Timetable(total_s, 0.9)
        space = made_up_space(scheduler={"rungs": []})
        policy, events = search(folder, space, clock=clock, elapsed_s=clock, epoch_s=10.0, timetable=timetable, workers=2)
        assert (policy.trials["t0000"].status, policy.trials["t0000"].epoch) == (status, epochs)
        assert policy.trials["t0001"].epoch < epochs
        assert "time for the search is up" in _ends(events)["t0001"]["reason"]


def test_trials_that_wait_end_when_time_is_up(tmp_path):
    """A driver killed and resumed at the end of its time leaves no trial running."""
    space = made_up_space(scheduler={"rungs": []})
    search(tmp_path, space, workers=3, stop_after=7)
    policy, events = search(tmp_path, space, workers=3, timetable=Timetable(100.0, 0.3), elapsed_s=lambda: 95.0)
    assert {name: (end["status"], end["reason"]) for name, end in _ends(events).items()} == {
        f"t000{number}": ("stopped", "time for the search is up") for number in range(3)
    }
    assert policy.next() is None


def test_a_baseline_that_waits_goes_on_when_the_time_of_the_others_is_up(tmp_path):
    """A killed driver changes nothing: the clock of the search would not have cut it while it ran."""
    space = made_up_space(scheduler={"rungs": []})
    search(tmp_path, space, workers=3, stop_after=7)
    _, events = search(tmp_path, space, workers=3, timetable=Timetable(1000.0, 0.9), elapsed_s=lambda: 900.0)
    assert {name: end["status"] for name, end in _ends(events).items()} == {"t0000": "completed", "t0001": "stopped", "t0002": "stopped"}


@pytest.mark.parametrize("workers", [9])
def test_a_resume_knows_which_trials_failed(tmp_path, workers):
    """A rung looks at how many run; those that failed by themselves do not, before a kill and after it."""
    space = made_up_space(budget={"trials": 40})
    how = {"fail": "raise:augment.strength>1.2"}
    _, unbroken = search(tmp_path / "unbroken", space, workers=workers, **how)
    assert any(end["status"] == "failed" for end in _ends(unbroken).values())
    folder = tmp_path / "cut"
    _truncate(folder, unbroken, len(unbroken) // 2)
    with Ledger(folder) as ledger:
        policy = Policy(space, ledger, 3, workers, NO_LIMIT, Clock())
    failed = {name for name, state in policy.trials.items() if state.status == "failed"}
    assert failed and not any(policy.rungs.runs(trial) for trial in failed)


def test_a_search_that_is_over_stays_over(tmp_path):
    """Promotion may have begun: a resumed driver whose clock reads a little less proposes nothing new."""
    _, before = search(tmp_path, made_up_space(), timetable=Timetable(100.0, 0.3), elapsed_s=lambda: 95.0)
    assert [event["event"] for event in before] == ["searched"]
    _, after = search(tmp_path, made_up_space())
    assert after == before


@pytest.mark.parametrize("workers", [1, 3])
def test_thinned_validation_changes_nothing_that_trials_are_compared_by(tmp_path, workers):
    """Rungs, stops and ends of a search that validates every epoch, and of one that validates at two, its rungs and the end."""
    seen = []
    for validations in (50, 2):
        space = made_up_space(
            sampler={"name": "random"}, fixed={"train.validations": validations}, budget={"trials": 30}, scheduler={"reduction_factor": 1.4}
        )
        policy, events = search(tmp_path / str(validations), space, workers=workers)
        ends = {trial: (end["status"], policy.trials[trial].epoch) for trial, end in _ends(events).items()}
        final = {trial: state.value_mm for trial, state in policy.trials.items() if state.status == "completed"}
        seen.append((policy.rungs.state(), ends, final))
        validated = [event["validated"] for event in events if event["event"] == "report"]
        assert all(validated) == (validations == 50)
    assert seen[0] == seen[1]
    assert len(seen[0][2]) >= 2 and Counter(status for status, _ in seen[0][1].values())["stopped"] >= 5


def test_a_thinned_search_resumes_as_unbroken(tmp_path):
    space = made_up_space(fixed={"train.validations": 2})
    _, whole = search(tmp_path / "whole", space)
    search(tmp_path / "cut", space, stop_after=13)
    _, resumed = search(tmp_path / "cut", space)
    assert decided(resumed) == decided(whole)


def test_stop(tmp_path):
    search(tmp_path, made_up_space(), workers=2, stop_after=5)
    with Ledger(tmp_path) as ledger:
        policy = Policy(made_up_space(), ledger, 3, 2, NO_LIMIT)
        policy.stop("enough")
        assert policy.next() is None
        assert {end["reason"] for end in _ends(list(ledger.events())).values()} >= {"enough"}
    assert all(state.status != "running" for state in policy.trials.values())
    assert policy.ranking()


def test_observers_hear_each_event_once_and_after_it_happened(tmp_path):
    heard = []

    def observe(event: Event) -> None:
        state = policy.trials[event["trial"]]
        if event["event"] == "report":
            assert state.epoch == event["epoch"]
        if event["event"] == "end":
            assert state.status == event["status"]
        heard.append((event["event"], event["trial"], event.get("epoch")))

    with Ledger(tmp_path) as ledger:
        policy = Policy(made_up_space(), ledger, 0, 1, NO_LIMIT, observers=[observe])
        trial = policy.next().trial
        figures = {"epoch": 1, "val_mre_mm": 5.0, "image_size": 64, "seconds": 1.0}
        policy.report(trial, figures)
        policy.report(trial, figures)  # trained again after a crash
        policy.error(trial, "ValueError: x")
        policy.error(trial, "ValueError: x")
    assert heard == [("trial", trial, None), ("report", trial, 1), ("end", trial, None)]


def test_time_left(tmp_path):
    clock = Clock()
    with Ledger(tmp_path) as ledger:
        policy = Policy(made_up_space(budget={"trials": 4}), ledger, 0, 2, NO_LIMIT, clock)
        assert policy.remaining_s() is None
        first = policy.next()
        policy.report(first.trial, {"epoch": 1, "val_mre_mm": 5.0, "image_size": 64, "seconds": 10.0})
        # 8 epochs of the first, and 3 trials to come of which nothing is known but its 80 s, on two workers
        assert policy.remaining_s() == pytest.approx((80 + 3 * 80) / 2)
        policy.pace.timetable = Timetable(200.0, 0.5)
        assert policy.remaining_s() == pytest.approx(100.0), "promotion needs more than its share, so it gets that"
        clock.now = 150.0
        assert policy.remaining_s() == 0.0
