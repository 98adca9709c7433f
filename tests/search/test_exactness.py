"""A resume that would not be exact is refused, with the file and what to do; one trial's lost state is made again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ceph_core.errors import InputError
from ceph_core.training import checkpoint
from search import exactness
from search.records import Event, RunFolder
from search.space import Space
from tests.search.simulated import made_up_space, search

SEED = 3
SPACE = made_up_space()


@pytest.fixture
def run(tmp_path) -> RunFolder:
    """A search that was killed: trials that ended, and one under way."""
    search(tmp_path / "run", SPACE, seed=SEED, stop_after=26)
    return RunFolder(tmp_path / "run")


def _events(run: RunFolder) -> list[Event]:
    return [json.loads(line) for line in run.ledger_path.read_text().splitlines()]


def _underway(run: RunFolder) -> str:
    events = _events(run)
    ended = {event["trial"] for event in events if event["event"] == "end"}
    return next(event["trial"] for event in reversed(events) if event["event"] == "report" and event["trial"] not in ended)


def _save(run: RunFolder) -> Path:
    return checkpoint.save(run.trial_dir(_underway(run)), {"epoch": 2})


def _refused(run: RunFolder, events: list[Event], space: Space = SPACE) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        exactness.check_ledger(run, events)
        exactness.check(run, space, SEED, events)
    return caught.value.problems


def test_what_nobody_touched_goes_on(run):
    _save(run)
    assert exactness.check(run, SPACE, SEED, _events(run)) == []


def test_a_missing_state_is_made_again(run):
    (note,) = exactness.check(run, SPACE, SEED, _events(run))
    assert _underway(run) in note and "trained again" in note


def test_a_torn_state_is_named(run):
    path = _save(run)
    path.write_bytes(path.read_bytes()[:-200])
    (problem,) = _refused(run, _events(run))
    assert problem.startswith(f"{path}: cannot be read as a checkpoint")
    assert "restore it, or delete it" in problem


def _without_a_report(events: list[Event]) -> None:
    del events[next(place for place, event in enumerate(events) if event["event"] == "report" and event["epoch"] == 2)]


def _unannounced(events: list[Event]) -> None:
    del events[next(place for place, event in enumerate(events) if event["event"] == "trial" and event["number"] == 1)]


def _let_go_on(events: list[Event]) -> None:
    next(event for event in events if event["event"] == "report" and event["decision"] == "stop")["decision"] = "continue"


def _other_knobs(events: list[Event]) -> None:
    events[0]["values"]["augment.strength"] = 0.25


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_without_a_report, "follows epoch 1"),
        (_unannounced, "not announced"),
        (_let_go_on, "it is 'stop'"),
        (_other_knobs, "augment.strength"),
    ],
)
def test_an_edited_ledger_is_named(run, edit: Callable[[list[Event]], None], said: str):
    events = _events(run)
    edit(events)
    problems = _refused(run, events)
    assert problems[0].startswith(f"{run.ledger_path}: ")
    assert said in problems[0]
    assert "restore it, or start a new run" in problems[0]


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("scheduler", {"rungs": [0.4, 0.5]}),
        ("scheduler", {"reduction_factor": 6}),
        ("fixed", {"train.epochs": 12}),
        ("fixed", {"heatmap.loss": "mse"}),
    ],
)
def test_an_edited_plan_is_named(run, section, change):
    problems = _refused(run, _events(run), made_up_space(**{section: change}))
    assert all("plan.yaml" in problem for problem in problems)


def test_more_trials_are_no_edit(run):
    _save(run)
    assert exactness.check(run, made_up_space(budget={"trials": 50}), SEED, _events(run)) == []
