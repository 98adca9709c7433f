"""A run survives whatever ends its driver: kill -9 at any moment, Ctrl-C, a scheduler's SIGTERM."""

import random
import re
import signal
import time
from functools import partial
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search import records
from search.cost import FINISH_S
from search.tune.trial import read_reports
from tests.app.driving import assert_sound, driver, reports, session_of, write_space

pytestmark = pytest.mark.slow

NUM_TRIALS = 6
MANY_TRIALS = 40


def _command(folder: Path, films: Path, run: Path, num_trials: int, **changes) -> list[object]:
    space = write_space(folder, budget={"trials": num_trials}, **changes)
    return ["run_search.py", "--space", space, "--data", films, "--profile", "cpu", "--out", run, "--seed", "3"]


def _study(run: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=run.name, storage=JournalStorage(JournalFileBackend(str(run / "study.journal")))).trials


def _has_come(events: list[records.Event], num_events: int, kind: str) -> bool:
    return len(events) >= num_events and (not kind or any(event["event"] == kind for event in events))


def test_kill_at_any_moment(tmp_path, films):
    run, log = tmp_path / "run", tmp_path / "log"
    command = _command(tmp_path, films, run, NUM_TRIALS, resources={"max_concurrent": 2})
    draw = random.Random(11)
    before: list[records.Event] = []
    # As the first trial starts; in the middle of the search; as promotion trains a candidate on or has just begun to answer.
    moments = ((2, ""), (18, ""), (0, "searched"))
    for num_events, kind in moments:
        with driver(*command, log=log, epoch_s=0.1) as killed:
            killed.wait_for(run, partial(_has_come, num_events=len(before) + num_events, kind=kind))
            time.sleep(draw.uniform(0.0, 0.6))
            killed.signal(signal.SIGKILL)
            killed.process.wait()
            kept = records.read_events(run)
            assert kept[: len(before)] == before, "a resumed driver changed what an earlier one wrote"
            before = kept
            command = ["run_search.py", "--resume", run]
            # Trials share their driver's fate, within the time that the next one takes to come up.
            deadline = time.monotonic() + 6
            while any("LandmarkTrial" in name for name in session_of(killed.process.pid).values()):
                assert time.monotonic() < deadline
                time.sleep(0.1)
    with driver(*command, log=log) as last:
        assert last.wait() == 0, last.said()
        assert last.out.strip() == str(run / "report.html")
        time.sleep(0.5)
        assert session_of(last.process.pid) == {}
    events = records.read_events(run)
    assert events[: len(before)] == before, "nothing that was in the ledger is lost"
    assert_sound(run)
    loaded = records.load(run)
    assert loaded.status == "finished"
    searched = loaded.trials[loaded.trials["role"] == "search"]
    assert len(searched) == NUM_TRIALS
    assert (run / "ensemble" / "ensemble.onnx").exists()
    study = _study(run)
    assert [trial.user_attrs["trial"] for trial in study] == list(searched["trial"])
    assert [trial.user_attrs["baseline"] for trial in study] == [True] + [False] * (NUM_TRIALS - 1)
    assert all(trial.state.is_finished() for trial in study)
    for trial in study:
        told = searched.set_index("trial").loc[trial.user_attrs["trial"]]
        assert len(trial.intermediate_values) == told["epochs_done"]


def test_ctrl_c_then_resume_then_sigterm_then_promote(tmp_path, films):
    """Ctrl-C and a scheduler's SIGTERM save everything; `python -m search promote` ends the search where it stands."""
    run, log = tmp_path / "run", tmp_path / "log"
    with driver(*_command(tmp_path, films, run, MANY_TRIALS), log=log, epoch_s=1.0) as interrupted:
        interrupted.wait_for(run, lambda events: len(reports(events)) > 1)
        with driver("-m", "search", "promote", run, log=tmp_path / "refused") as refused:
            assert refused.wait() == 2, refused.said()
            assert "another driver is running" in refused.said()
        interrupted.signal(signal.SIGINT, group=True)
        assert interrupted.wait() == 130
        assert interrupted.out == ""
    assert records.load(run).status == "interrupted"
    (told,) = re.findall(r"python run_search\.py --resume (\S+)", log.read_text())
    assert told == str(run)
    first = records.read_events(run)

    with driver("run_search.py", "--resume", told, log=log, epoch_s=0.1) as terminated:
        terminated.wait_for(run, lambda events: len(reports(events)) > len(reports(first)) + 12)
        terminated.signal(signal.SIGTERM)
        assert terminated.wait() == 130, terminated.said()
    second = records.read_events(run)
    assert second[: len(first)] == first
    assert not any(event["event"] == "end" and event["status"] == "failed" for event in second)
    for folder in (run / "trials").iterdir():  # what an interrupted trial had learned was saved: nothing was trained twice
        lines = [line for line in (folder / "reports.jsonl").read_text().splitlines() if line]
        assert len(lines) == len(read_reports(folder))
    num_before = len(records.load(run).trials)
    assert num_before < MANY_TRIALS

    with driver("-m", "search", "promote", run, log=log) as promoted:
        assert promoted.wait() == 0, promoted.said()
    assert_sound(run)
    loaded = records.load(run)
    assert (loaded.trials["role"] == "search").sum() == num_before
    assert loaded.promotion is not None
    assert loaded.promotion["candidates"][0] == "t0000"
    assert set(loaded.promotion["members"]) <= set(loaded.promotion["candidates"]) <= set(loaded.trials["trial"])


def test_a_finished_run_is_extended_and_teaches_another(tmp_path, films):
    """More trials for a run that was done: it searches on, promotes again; and a new run begins with what it knows."""
    run, log = tmp_path / "run", tmp_path / "log"
    with driver(*_command(tmp_path, films, run, NUM_TRIALS), log=log) as first:
        assert first.wait() == 0, first.said()
    before = records.read_events(run)
    with driver("run_search.py", "--resume", run, "--trials", NUM_TRIALS + 3, log=log) as more:
        assert more.wait() == 0, more.said()
    events = records.read_events(run)
    assert events[: len(before)] == before
    assert_sound(run)
    searched = [event["trial"] for event in events if event["event"] == "trial" and event["role"] == "search"]
    assert searched == [f"t{number:04d}" for number in range(NUM_TRIALS + 3)]
    assert [event["event"] for event in events].count("finished") == 2
    assert records.load(run).plan["space"]["budget"]["trials"] == NUM_TRIALS + 3
    taught = tmp_path / "taught"
    with driver(*_command(tmp_path, films, taught, NUM_TRIALS), "--warm-start", run, log=log) as new:
        assert new.wait() == 0, new.said()
    assert f"{NUM_TRIALS + 3} of {NUM_TRIALS + 3} trials teach the sampler" in new.said()
    plan = records.load(taught).plan
    assert plan["warm_start"] == [str(run)] and len(records.read_earlier(records.load(taught).folder)) == NUM_TRIALS + 3
    values = [[event["values"] for event in records.read_events(folder) if event["event"] == "trial"][:3] for folder in (run, taught)]
    assert values[0][0] == values[1][0] and values[0][1:] != values[1][1:]


def test_hours_more_let_the_clock_s_trainings_go_on(tmp_path, films):
    """What confirmed the candidates and was cut by the clock is trained to its end once the run has more time."""
    run, log = tmp_path / "run", tmp_path / "log"
    hours = (FINISH_S + 60) / 3600  # 20 epochs one after the other, and a training has nine
    with driver(*_command(tmp_path, films, run, MANY_TRIALS), "--hours", hours, log=log, epoch_s=3.0) as first:
        assert first.wait() == 0, first.said()
    cut = _stopped_jobs(run)
    assert cut, first.said()
    num_trials = (records.load(run).trials["role"] == "search").sum()
    with driver("run_search.py", "--resume", run, "--trials", num_trials + 1, "--hours", 1, log=log) as more:
        assert more.wait() == 0, more.said()
    assert_sound(run)
    assert not _stopped_jobs(run)
    reopened = {event["trial"] for event in records.read_events(run) if event["event"] == "reopened"}
    assert reopened and reopened <= cut
    trials = records.load(run).trials.set_index("trial")
    assert (trials.loc[sorted(reopened), "status"] == "completed").all()


def _stopped_jobs(run: Path) -> set[str]:
    """Trials that were to confirm a candidate of the last promotion and did not reach their end."""
    loaded = records.load(run)
    assert loaded.promotion is not None
    jobs = loaded.trials[(loaded.trials["role"] == "confirm") & (loaded.trials["status"] == "stopped")]
    return set(jobs[jobs["candidate"].isin(loaded.promotion["candidates"])]["trial"])
