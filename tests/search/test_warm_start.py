"""Earlier runs teach the sampler of a new one; a run that was searched to its end can be extended."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from ceph_core.errors import InputError
from search import records, warm_start
from search.driver import Extension, _extended
from search.history import Outcome, Point, Trial
from search.policy import Policy
from search.records import Ledger, RunFolder, read_earlier, write_earlier
from search.replay import Clock
from search.sampler import Sampler
from search.space import Space
from tests.search.simulated import NO_LIMIT, decided, made_up_space, search, simulate

FILMS = "0123abcd"


def run_of(folder: Path, space: Space, **how: Any) -> Path:
    """A searched run folder."""
    search(folder, space, **how)
    plan = {
        "space": space.to_dict(),
        "seed": 3,
        "source": {},
        "hours": None,
        "data": {"name": "drawn", "root": "/films", "fingerprint": FILMS},
    }
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")
    return folder


def test_every_comparable_trial_teaches(tmp_path: Path) -> None:
    space = made_up_space()
    run = run_of(tmp_path / "first", space, seed=3)
    found = warm_start.read([run], made_up_space(sampler={"startup_trials": 2}), FILMS)
    past = records.past_trials(records.history(run))
    assert [(each.values, each.curve, each.outcome) for each in found.trials] == [(each.values, each.curve, each.outcome) for each in past]
    assert found.trials[0].name == "first/t0000"
    assert all(each.seconds == pytest.approx(9.0) for each in found.trials), "nine epochs of a second each, however early it was stopped"
    assert found.notes == (f"--warm-start {run}: 10 of 10 trials teach the sampler",)


def test_what_another_space_fixes_or_never_proposes_does_not(tmp_path: Path) -> None:
    run = run_of(tmp_path / "first", made_up_space())
    narrow = made_up_space()
    tree = narrow.to_dict()
    tree["search"]["heatmap.sigma_rel"] = {"float": [0.045, 0.09], "log": True}
    inside = [trial for trial in records.past_trials(records.history(run)) if trial.values["heatmap.sigma_rel"] >= 0.045]
    assert 0 < len(inside) < 10
    found = warm_start.read([run], Space.from_dict(tree), FILMS)
    assert [each.values for each in found.trials] == [each.values for each in inside]
    with pytest.raises(InputError, match="none of its 10 trials is one that this space could propose"):
        warm_start.read([run], made_up_space(fixed={"train.epochs": 12}), FILMS)


def test_a_knob_that_was_fixed_is_read_off_the_training(tmp_path: Path) -> None:
    tree = made_up_space().to_dict()
    del tree["search"]["train.batch_size"]
    tree["fixed"]["train.batch_size"] = 3
    tree["start_from"] = [{key: value for key, value in tree["start_from"][0].items() if key != "train.batch_size"}]
    run = run_of(tmp_path / "first", Space.from_dict(tree))
    found = warm_start.read([run], made_up_space(), FILMS)
    assert len(found.trials) == 10 and {each.values["train.batch_size"] for each in found.trials} == {3}


def test_other_films_and_no_run_are_refused_together(tmp_path: Path) -> None:
    run = run_of(tmp_path / "first", made_up_space())
    with pytest.raises(InputError) as refused:
        warm_start.read([run, tmp_path / "nothing"], made_up_space(), "other")
    assert len(refused.value.problems) == 2
    assert "are not this run's" in refused.value.problems[0] and "not a run" in refused.value.problems[1]


def test_they_are_kept_in_the_run_s_own_folder(tmp_path: Path) -> None:
    trials = (
        Trial(0, {"a": 1, "b": "x"}, {1: Point(3.0, 4), 4: Point(2.0, 4)}, Outcome("complete", 2.0), "first/t0000", seconds=12.5),
        Trial(1, {"a": 2, "b": "y"}, {1: Point(math.nan, 4)}, Outcome("infeasible"), "first/t0001"),
    )
    folder = RunFolder(tmp_path)
    assert read_earlier(folder) == ()
    write_earlier(folder, trials)
    assert read_earlier(folder) == trials
    folder.earlier_path.write_text("[{}]")
    with pytest.raises(InputError, match="cannot be read"):
        read_earlier(folder)


@pytest.mark.parametrize("name", ["curve_gp", "tpe", "gp"])
def test_a_taught_sampler_models_at_once_and_tries_the_best_again(name: str, tmp_path: Path) -> None:
    space = made_up_space(budget={"trials": 30})
    run = run_of(tmp_path / "first", space)
    known = warm_start.read([run], space, FILMS).trials
    assert known[0].values == space.baseline
    best = min((each for each in known if each.outcome and each.outcome.kind == "complete"), key=lambda each: each.outcome.value_mm)
    taught = Sampler(space.knobs, space.start_from, name, startup_trials=4, seed=5, earlier=known)  # type: ignore[arg-type]
    untaught = Sampler(space.knobs, space.start_from, name, startup_trials=4, seed=5)  # type: ignore[arg-type]
    asked, other = ([sampler.ask(number) for number in range(4)] for sampler in (taught, untaught))
    assert asked[0] == other[0] == space.baseline
    assert asked[1] == best.values
    assert asked[2:] != other[2:]
    assert taught.num_trials == 4 and [trial.number for trial in taught.trials] == [0, 1, 2, 3]


def test_a_resumed_run_is_as_taught_as_before(tmp_path: Path) -> None:
    space = made_up_space()
    known = warm_start.read([run_of(tmp_path / "first", space)], space, FILMS).trials

    def run(folder: Path, *stops: int | None) -> list[tuple[Any, ...]]:
        folder.mkdir()
        for stop in stops:
            with Ledger(folder) as ledger:
                policy = Policy(space, ledger, 8, 1, NO_LIMIT, Clock(), earlier=known)
                try:
                    simulate(policy, stop_after=stop)
                except Exception as error:
                    assert type(error).__name__ == "Killed"
                events = list(ledger.events())
        return decided(events)

    assert run(tmp_path / "whole", None) == run(tmp_path / "broken", 9, 11, None)


def test_an_extended_search_goes_on_as_if_it_had_never_ended(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    search(folder, made_up_space(budget={"trials": 6}))
    with Ledger(folder) as ledger:
        assert Policy(made_up_space(budget={"trials": 10}), ledger, 3, 1, NO_LIMIT, Clock()).next() is None
        ledger.append_extended(10, None)
        policy = Policy(made_up_space(budget={"trials": 10}), ledger, 3, 1, NO_LIMIT, Clock())
        simulate(policy)
        assert policy.is_searched
        extended = decided(list(ledger.events()))
    _, events = search(tmp_path / "longer", made_up_space(budget={"trials": 10}))
    assert extended == decided(events)
    with Ledger(folder) as ledger:
        assert Policy(made_up_space(budget={"trials": 10}), ledger, 3, 1, NO_LIMIT, Clock()).next() is None


def test_an_extension_must_extend(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", made_up_space(budget={"trials": 6}))
    space, before = made_up_space(budget={"trials": 6}), records.load(run)
    larger, plan = _extended(space, before, Extension(trials=9))
    assert larger.budget.trials == 9 and plan["space"]["budget"]["trials"] == 9 and plan["hours"] is None
    larger, plan = _extended(space, before, Extension(hours=5.0))
    assert larger.budget.trials == 100_000 and plan["hours"] == larger.budget.hours == 5.0
    with pytest.raises(InputError, match="has 6 trials already"):
        _extended(space, before, Extension(trials=6))
    with pytest.raises(InputError, match="hours count from its beginning"):
        _extended(space, before.__class__(**{**vars(before), "seconds": 7200.0}), Extension(hours=1.5))
