"""Trials that failed through no fault of their own go on, in the search as in promotion, and a resumed driver counts on."""

import random
from collections.abc import Callable
from typing import Protocol

import pytest

from search.confirm import Confirmation
from search.policy import Policy
from search.promotion import Job
from search.records import Event, Ledger
from search.records.tables import trials_table
from search.retries import MOST_LOSSES
from search.space import Space
from tests.search.made_up import mre_mm, result_of
from tests.search.simulated import NO_LIMIT, Clock, decided, made_up_space, search

GONE = "The actor died.\nThe actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"
MEMORY = "Traceback (most recent call last):\n  x\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
OWN = "Traceback (most recent call last):\n  x\nValueError: made to fail"


class Judge(Protocol):
    """Policy and Confirmation, as far as both do the same."""

    def next(self) -> tuple[str, int, bool] | None:
        """Trial, epochs reported, whether alone."""

    def report(self, trial: str, epoch: int) -> None: ...
    def lost(self, trial: str, text: str) -> None: ...
    def error(self, trial: str, text: str) -> None: ...


class Searching:
    def __init__(self, ledger: Ledger, space: Space, workers: int) -> None:
        self.policy = Policy(space, ledger, 3, workers, NO_LIMIT, Clock())

    def next(self) -> tuple[str, int, bool] | None:
        given = self.policy.next()
        return None if given is None else (given.trial, given.reported, given.alone)

    def report(self, trial: str, epoch: int) -> None:
        config = self.policy.trials[trial].config
        self.policy.report(trial, result_of(config, epoch, mre_mm(config, epoch)).figures())

    def lost(self, trial: str, text: str) -> None:
        self.policy.lost(trial, text)

    def error(self, trial: str, text: str) -> None:
        self.policy.error(trial, text)


class Promoting:
    def __init__(self, ledger: Ledger, space: Space, workers: int) -> None:
        self.config = space.configure(space.baseline, seed=0)
        jobs = [Job(f"t000{number}-full", f"t000{number}", {}, self.config, 0) for number in range(2)]
        crowded = 0 < space.resources.gpus_per_trial < 1 and workers > 1
        self.confirmation = Confirmation(jobs, ledger, lambda: False, shares_device=crowded)

    def next(self) -> tuple[str, int, bool] | None:
        job = self.confirmation.next()
        if job is None:
            return None
        return job.trial, self.confirmation.reported[job.trial], self.confirmation.is_alone(job.trial)

    def report(self, trial: str, epoch: int) -> None:
        self.confirmation.heard(trial, result_of(self.config, epoch, mre_mm(self.config, epoch)).figures())

    def lost(self, trial: str, text: str) -> None:
        self.confirmation.lost(trial, text)

    def error(self, trial: str, text: str) -> None:
        self.confirmation.died(trial, text)


Open = Callable[..., Judge]


@pytest.fixture(params=[Searching, Promoting], ids=["search", "promotion"])
def opened(request: pytest.FixtureRequest) -> Open:
    def make(ledger: Ledger, gpus: float | str = 0, workers: int = 2) -> Judge:
        space = made_up_space(resources={"gpus_per_trial": gpus, "max_concurrent": workers}, budget={"trials": 2})
        return request.param(ledger, space, workers)

    return make


def _of(ledger: Ledger, kind: str) -> list[Event]:
    return [event for event in ledger.events() if event["event"] == kind]


def test_a_lost_trial_goes_on(tmp_path, opened):
    with Ledger(tmp_path) as ledger:
        judge = opened(ledger)
        (first, *_), (second, *_) = judge.next(), judge.next()
        judge.report(first, 1)
        judge.report(first, 2)
        assert judge.next() is None
        judge.lost(first, GONE)
        judge.lost(first, GONE)  # said twice of one attempt
        assert judge.next() == (first, 2, False)
        assert judge.next() is None
        (retry,) = _of(ledger, "retry")
        assert (retry["trial"], retry["cause"]) == (first, "lost")
        assert retry["reason"] == "The actor is dead because its worker process has died"
        assert not _of(ledger, "end")
        judge.report(second, 1)


def test_what_takes_its_worker_down_again_and_again_fails(tmp_path, opened):
    """Only a new epoch counts as getting on, and a resumed driver counts on."""
    with Ledger(tmp_path) as ledger:
        judge = opened(ledger)
        first, *_ = judge.next()
        judge.report(first, 1)
        for _ in range(MOST_LOSSES):
            judge.lost(first, GONE)
            assert judge.next() is not None
        judge.report(first, 1)  # trained again
        judge.report(first, 2)
        for _ in range(MOST_LOSSES - 1):
            judge.lost(first, GONE)
            judge.next()
    with Ledger(tmp_path) as ledger:
        judge = opened(ledger)
        assert judge.next() == (first, 2, False)
        judge.lost(first, GONE)
        while (given := judge.next()) is not None and given[0] != first:
            pass
        assert given == (first, 2, False)
        judge.report(first, 2)
        judge.lost(first, GONE)
        (end,) = _of(ledger, "end")
        assert (end["trial"], end["status"], end["infeasible"]) == (first, "failed", False)
        assert (
            end["reason"] == "its worker was lost 4 times without an epoch in between, the last time: " + _of(ledger, "retry")[0]["reason"]
        )
        assert end["error"] == GONE
        judge.lost(first, GONE)
        assert len(_of(ledger, "end")) == 1


def test_crowded_out_of_memory_goes_on_alone_once(tmp_path, opened):
    with Ledger(tmp_path) as ledger:
        judge = opened(ledger, "1/2")
        first, *_ = judge.next()
        judge.report(first, 1)
        judge.error(first, MEMORY)
        assert not _of(ledger, "end")
    with Ledger(tmp_path) as ledger:
        judge = opened(ledger, "1/2")
        assert judge.next() == (first, 1, True)
        judge.lost(first, GONE)
        while (given := judge.next()) is not None and given[0] != first:
            pass
        assert given == (first, 1, True), "still alone after its worker was lost"
        judge.error(first, MEMORY)
        (end,) = _of(ledger, "end")
        assert (end["trial"], end["status"], end["error"]) == (first, "failed", MEMORY)


@pytest.mark.parametrize(("gpus", "workers"), [(0, 2), (1, 2), ("1/2", 1)], ids=["cpu", "whole GPU", "one worker"])
def test_who_was_alone_gets_no_second_attempt(tmp_path, opened, gpus, workers):
    with Ledger(tmp_path) as ledger:
        judge = opened(ledger, gpus, workers)
        first, *_ = judge.next()
        judge.error(first, MEMORY)
        assert not _of(ledger, "retry")
        assert _of(ledger, "end")[0]["trial"] == first


def test_an_error_of_its_own_gets_no_second_attempt(tmp_path, opened):
    with Ledger(tmp_path) as ledger:
        judge = opened(ledger, "1/2")
        first, *_ = judge.next()
        judge.error(first, OWN)
        assert not _of(ledger, "retry")
        assert _of(ledger, "end")[0]["reason"] == "ValueError: made to fail"


def test_only_what_failed_alone_teaches_what_fits(tmp_path):
    with Ledger(tmp_path) as ledger:
        searching = Searching(ledger, made_up_space(resources={"gpus_per_trial": "1/2", "max_concurrent": 2}), 2)
        policy, (first, *_) = searching.policy, searching.next()
        config = policy.trials[first].config
        policy.error(first, MEMORY)
        assert policy.room.fits(config) and policy.sampler.trials[0].outcome is None
        assert searching.next() == (first, 0, True)
        policy.error(first, MEMORY)
        assert not policy.room.fits(config)
        assert policy.sampler.trials[0].outcome.kind == "infeasible"
        assert _of(ledger, "end")[0]["infeasible"]


def test_losses_change_no_decision(tmp_path):
    """One worker that is lost every few epochs: trials lose what they had not saved, and the search comes out the same."""
    space, draw = made_up_space(budget={"trials": 16}), random.Random(0)
    with Ledger(tmp_path) as ledger:
        policy = Policy(space, ledger, 3, 1, NO_LIMIT, Clock())
        while (given := policy.next()) is not None:
            epoch = draw.randint(0, given.reported)  # its state may be behind
            while policy.is_live(given.trial):
                if epoch > given.reported and draw.random() < 0.3:
                    policy.lost(given.trial, GONE)
                    break
                epoch += 1
                policy.report(given.trial, result_of(given.config, epoch, mre_mm(given.config, epoch)).figures())
        events = list(ledger.events())
    assert sum(event["event"] == "retry" for event in events) > 5
    unbroken = search(tmp_path / "unbroken", space)[1]
    assert decided(events) == decided(unbroken)
    plain = [event for event in events if event["event"] != "retry"]
    with_retries, without = trials_table(events), trials_table(plain)
    assert (with_retries.pop("retries") != "").sum() > 2 and (without.pop("retries") == "").all()
    assert with_retries.equals(without), "a table is the same with and without second attempts, but for what it says of them"


def test_time_up_ends_a_trial_that_was_lost(tmp_path):
    now = 0.0
    with Ledger(tmp_path) as ledger:
        policy = Policy(made_up_space(), ledger, 3, 1, NO_LIMIT, lambda: now)
        given = policy.next()
        policy.lost(given.trial, GONE)
        policy.stop("enough")
        assert policy.next() is None
        assert _of(ledger, "end")[0]["reason"] == "enough"
