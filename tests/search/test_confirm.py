import json
import math
from pathlib import Path

import pytest

from ceph_core.config import Config
from search.confirm import Confirmation
from search.promotion import Job
from search.records import Event, Ledger
from search.records.tables import trials_table
from tests.search.made_up import mre_mm, result_of
from tests.search.simulated import made_up_space

CONFIG = made_up_space().configure(made_up_space().baseline, seed=0)
JOBS = [Job(f"t000{number}-full", f"t000{number}", {"augment.strength": 1.0}, CONFIG, 3) for number in range(3)]


def _figures(config: Config, epoch: int, value_mm: float | None = None) -> dict:
    return result_of(config, epoch, mre_mm(config, epoch) if value_mm is None else value_mm).figures()


def _open(ledger: Ledger, jobs: list[Job] = JOBS, is_over=lambda: False, observers=()) -> Confirmation:
    return Confirmation(jobs, ledger, is_over, observers)


def _train(confirmation: Confirmation, job: Job, until: int = 9) -> None:
    for epoch in range((confirmation.reported[job.trial] or job.from_epoch) + 1, until + 1):
        if not confirmation.heard(job.trial, _figures(job.config, epoch)):
            break


def _ends(ledger: Ledger) -> dict[str, Event]:
    return {event["trial"]: event for event in ledger.events() if event["event"] == "end"}


def _epochs(ledger: Ledger, trial: str) -> list[int]:
    return [event["epoch"] for event in ledger.events() if event["event"] == "report" and event["trial"] == trial]


def test_jobs_run_to_their_end(tmp_path):
    heard = []
    with Ledger(tmp_path) as ledger:
        confirmation = _open(ledger, observers=[heard.append])
        while (job := confirmation.next()) is not None:
            _train(confirmation, job)
        assert {name: end["status"] for name, end in _ends(ledger).items()} == {job.trial: "completed" for job in JOBS}
        assert _epochs(ledger, "t0001-full") == [4, 5, 6, 7, 8, 9]
        announced = [event for event in ledger.events() if event["event"] == "trial"]
        assert [(event["role"], event["candidate"], event["number"]) for event in announced] == [
            ("confirm", f"t000{number}", number) for number in range(3)
        ]
        assert [event["event"] for event in heard] == [event["event"] for event in ledger.events()]


def test_the_deadline_stops_jobs_and_starts_none(tmp_path):
    clock = {"now": 0.0}
    with Ledger(tmp_path) as ledger:
        confirmation = _open(ledger, is_over=lambda: clock["now"] > 5)
        first, second = confirmation.next(), confirmation.next()
        assert confirmation.heard(first.trial, _figures(CONFIG, 4))
        clock["now"] = 6.0
        assert not confirmation.heard(first.trial, _figures(CONFIG, 5))
        assert not confirmation.heard(second.trial, _figures(CONFIG, 9)), "the last epoch completes, late or not"
        assert confirmation.next() is None
        ends = _ends(ledger)
        assert {name: end["status"] for name, end in ends.items()} == {
            first.trial: "stopped",
            second.trial: "completed",
            "t0002-full": "stopped",
        }
        assert "time for promotion is up" in ends[first.trial]["reason"]
        assert _epochs(ledger, "t0002-full") == []


def test_resume_goes_on(tmp_path):
    with Ledger(tmp_path) as ledger:
        confirmation = _open(ledger)
        _train(confirmation, confirmation.next())
        _train(confirmation, confirmation.next(), until=6)
    before = (tmp_path / "ledger.jsonl").read_text()
    with Ledger(tmp_path) as ledger:
        confirmation = _open(ledger)
        assert (tmp_path / "ledger.jsonl").read_text() == before, "nothing is announced twice"
        assert confirmation.reported == {"t0000-full": 9, "t0001-full": 6, "t0002-full": 0}
        job = confirmation.next()
        assert job.trial == "t0001-full"
        assert confirmation.heard(job.trial, _figures(CONFIG, 6))  # trained again: its state was a little behind
        _train(confirmation, job)
        _train(confirmation, confirmation.next())
        assert confirmation.next() is None
        assert _epochs(ledger, "t0001-full") == [4, 5, 6, 7, 8, 9]
        assert {end["status"] for end in _ends(ledger).values()} == {"completed"}


@pytest.mark.parametrize(("decision", "status"), [("done", "completed"), ("stop", "stopped"), ("fail", "failed")])
def test_an_end_that_was_not_written_is_written_on_resume(tmp_path, decision, status):
    """A killed driver had judged the last report; a training at its end must not be asked for one more epoch."""
    path = tmp_path / "ledger.jsonl"
    with Ledger(tmp_path) as ledger:
        confirmation = _open(ledger, JOBS[:1])
        _train(confirmation, confirmation.next())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines.pop()["event"] == "end"
    lines[-1]["decision"] = decision
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Ledger(tmp_path) as ledger:
        assert _open(ledger, JOBS[:1]).next() is None
        assert _ends(ledger)["t0000-full"]["status"] == status


def test_a_job_new_after_a_resume_gets_its_own_number(tmp_path):
    with Ledger(tmp_path) as ledger:
        _open(ledger, JOBS[:2])
    with Ledger(tmp_path) as ledger:
        _open(ledger, [JOBS[2], JOBS[0]])
        numbers = {event["trial"]: event["number"] for event in ledger.events() if event["event"] == "trial"}
    assert numbers == {"t0000-full": 0, "t0001-full": 1, "t0002-full": 2}


def test_failures_end_their_job_alone(tmp_path):
    with Ledger(tmp_path) as ledger:
        confirmation = _open(ledger)
        diverged, died, sound = confirmation.next(), confirmation.next(), confirmation.next()
        assert not confirmation.heard(diverged.trial, _figures(CONFIG, 4, math.nan))
        confirmation.died(died.trial, "Traceback (most recent call last):\nValueError: x")
        _train(confirmation, sound)
        ends = _ends(ledger)
    assert [ends[job.trial]["status"] for job in (diverged, died, sound)] == ["failed", "failed", "completed"]
    assert ends[died.trial]["reason"] == "ValueError: x"
    assert ends[died.trial]["error"].startswith("Traceback")


def test_what_the_clock_had_stopped_goes_on_when_the_run_is_extended(tmp_path):
    clock = {"now": 0.0}

    def opened(ledger: Ledger) -> Confirmation:
        return _open(ledger, is_over=lambda: clock["now"] > 5)

    with Ledger(tmp_path) as ledger:
        confirmation = opened(ledger)
        first, second = confirmation.next(), confirmation.next()
        confirmation.heard(second.trial, _figures(CONFIG, 4, math.nan))
        clock["now"] = 6.0
        confirmation.heard(first.trial, _figures(CONFIG, 4))
        assert confirmation.next() is None
        assert {name: end["status"] for name, end in _ends(ledger).items()} == {
            "t0000-full": "stopped", "t0001-full": "failed", "t0002-full": "stopped",
        }  # fmt: skip
    with Ledger(tmp_path) as ledger:
        assert opened(ledger).next() is None, "a resume alone brings no time"
        ledger.append_extended(10, 2.0)
    clock["now"] = 0.0
    with Ledger(tmp_path) as ledger:
        opened(ledger)  # killed at once
        assert trials_table(list(ledger.events())).set_index("trial")["status"].to_dict() == {
            "t0000-full": "running", "t0001-full": "failed", "t0002-full": "running",
        }  # fmt: skip
    with Ledger(tmp_path) as ledger:
        confirmation = opened(ledger)
        while (job := confirmation.next()) is not None:
            _train(confirmation, job)
        assert _epochs(ledger, "t0000-full") == [4, 5, 6, 7, 8, 9] == _epochs(ledger, "t0002-full")
        assert {name: end["status"] for name, end in _ends(ledger).items()} == {
            "t0000-full": "completed", "t0001-full": "failed", "t0002-full": "completed",
        }  # fmt: skip
        assert sum(event["event"] == "reopened" for event in ledger.events()) == 2


def test_no_jobs(tmp_path: Path):
    with Ledger(tmp_path) as ledger:
        assert _open(ledger, []).next() is None


def test_a_fresh_training_without_the_time_for_its_end_does_not_begin(tmp_path):
    """Half a training is no member; one that another had begun is worth its last minutes."""
    jobs = [JOBS[0], Job("t0001-seed1", "t0001", {}, CONFIG, 0, is_fresh=True), Job("t0002-seed1-fold1", "t0002", {}, CONFIG, 0, 1, True)]
    with Ledger(tmp_path) as ledger:
        confirmation = Confirmation(jobs, ledger, lambda: False, has_time=lambda job, reported: job.trial == "t0002-seed1-fold1")
        assert [confirmation.next().trial for _ in range(2)] == ["t0000-full", "t0002-seed1-fold1"]
        assert confirmation.next() is None
        end = _ends(ledger)["t0001-seed1"]
        assert end["status"] == "stopped" and "does not suffice for a whole training" in end["reason"]
        announced = {event["trial"]: (event["fold"], event["seed"]) for event in ledger.events() if event["event"] == "trial"}
        assert announced["t0002-seed1-fold1"] == (1, CONFIG.train.seed)
