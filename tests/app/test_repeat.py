"""The real driver over made-up trainings decides what the policy decides alone, again and again; failed trials do not stop it."""

import re

import pytest

from search import records
from tests.app.driving import driver, write_space
from tests.search.simulated import decided, made_up_space, search

FAIL = "raise:augment.strength>1.6"


def test_a_plan_and_its_seed_propose_the_same(tmp_path):
    """One worker, beyond the sampler's own start and through early stops; another seed proposes something else."""
    space = made_up_space(budget={"trials": 12})
    runs = [search(tmp_path / str(place), space, seed=seed)[1] for place, seed in enumerate((3, 3, 4))]
    proposed = [[event["values"] for event in events if event["event"] == "trial"] for events in runs]
    assert proposed[0] == proposed[1]
    assert len(proposed[0]) == 12 >= space.sampler.startup_trials + 5
    assert sum(event["event"] == "end" and event["status"] == "stopped" for event in runs[0]) >= 3
    assert decided(runs[0]) == decided(runs[1])
    assert proposed[0][0] == proposed[2][0] == space.baseline
    assert proposed[0][1:] != proposed[2][1:]


@pytest.mark.slow
def test_live_decides_as_simulated(tmp_path, films):
    """Ray, an actor reused and lost, a process in between: the same proposals, rungs and ends as in simulated time."""
    run, log = tmp_path / "run", tmp_path / "log"
    space = write_space(tmp_path)
    command = ["run_search.py", "--space", space, "--data", films, "--profile", "cpu", "--out", run, "--seed", "3"]
    with driver(*command, log=log, fail=FAIL) as live:
        live.wait_for(run, lambda events: any(event["event"] == "searched" for event in events))
        live.process.kill()
    events = [event for event in records.read_events(run) if event.get("role") != "confirm" and "-full" not in event.get("trial", "")]
    _, simulated = search(tmp_path / "simulated", made_up_space(), seed=3, fail=FAIL)
    assert decided(events) == decided(simulated)
    failed = [event for event in events if event["event"] == "end" and event["status"] == "failed"]
    assert failed
    for end in failed:
        assert end["reason"] == "ValueError: made to fail"
        assert re.search(r"made_up\.py.*made to fail", end["error"], re.DOTALL)
        assert "\x1b" not in end["error"]
        assert (run / "trials" / end["trial"] / "error.txt").read_text() == end["error"]


@pytest.mark.slow
def test_all_failing_is_a_failed_run(tmp_path, films):
    run, log = tmp_path / "run", tmp_path / "log"
    space = write_space(tmp_path, budget={"trials": 3}, resources={"max_concurrent": 2})
    with driver(
        "run_search.py", "--space", space, "--data", films, "--profile", "cpu", "--out", run, log=log, fail="nan:train.lr>0"
    ) as failing:
        assert failing.wait() == 1, failing.said()
    assert "failed: every trial failed" in failing.said()
    assert "Traceback" not in failing.said()
    loaded = records.load(run)
    assert loaded.status == "failed"
    assert (loaded.trials["status"] == "failed").all()
    assert len(loaded.trials) == 3
    assert (run / "report.html").exists()
    for trial in loaded.trials["trial"]:
        assert "diverged" in (run / "trials" / trial / "error.txt").read_text()
