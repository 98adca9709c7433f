"""A proposal may be asked for before there is a place: it stays a function of the ledger, and a free place does not wait."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from search.ask_ahead import SLOW_S, AskAhead
from search.policy import Policy
from search.question import Proposal
from search.records import Event, Ledger
from search.sampler import Sampler
from search.space import Space
from tests.search.simulated import NO_LIMIT, Clock, decided, made_up_space, search

PATIENCE_S = 10.0
REPORT = {"epoch": 1, "val_mre_mm": 5.0, "image_size": 64, "seconds": 1.0}


def asked_again(folder: Path, space: Space, events: list[Event], number: int) -> dict:
    """What a policy that knows of these events alone proposes for a trial."""
    folder.mkdir()
    (folder / "ledger.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    with Ledger(folder) as ledger:
        return Policy(space, ledger, 3, 3, NO_LIMIT, Clock()).sampler.ask(number)


@pytest.mark.parametrize("sampler", ["tpe", "curve_gp"])
def test_what_a_trial_tries_follows_from_the_history_that_its_event_names(tmp_path, sampler):
    """Of a search killed and resumed, too."""
    space = made_up_space(sampler={"name": sampler}, budget={"trials": 14})
    search(tmp_path / "run", space, workers=3, ask_ahead=True, stop_after=25)
    _, events = search(tmp_path / "run", space, workers=3, ask_ahead=True)
    announced = [(place, event) for place, event in enumerate(events) if event["event"] == "trial"]
    assert len(announced) == 14
    assert sum(event["asked_after"] < place for place, event in announced) >= 5
    for _, event in announced:
        known = events[: event["asked_after"]]
        assert asked_again(tmp_path / event["trial"], space, known, event["number"]) == event["values"]


def test_a_single_worker_never_asks_ahead(tmp_path):
    space = made_up_space(budget={"trials": 8})
    plain, ahead = (search(tmp_path / name, space, ask_ahead=name == "ahead")[1] for name in ("plain", "ahead"))
    assert decided(plain) == decided(ahead)
    assert all(event["asked_after"] == place for place, event in enumerate(ahead) if event["event"] == "trial")


def test_an_answer_that_no_longer_fits_is_not_tried(tmp_path):
    """What the device cannot hold was learned after the question."""
    space = made_up_space(sampler={"name": "random"}, search={"train.batch_size": {"int": [2, 40]}})
    with Ledger(tmp_path) as ledger:
        policy = Policy(space, ledger, 3, 2, NO_LIMIT)
        policy.next(), policy.next()
        large = {**policy.trials["t0001"].values, "train.batch_size": 40}
        policy.offer(Proposal(2, policy.num_events, large))
        policy.error("t0001", "torch.OutOfMemoryError: CUDA out of memory")
        policy.room.failed(space.configure({**large, "train.batch_size": 39}, 0), "out of memory")
        assert policy.trials[policy.next().trial].values["train.batch_size"] < 39
        policy.offer(Proposal(2, policy.num_events, large))
        assert not policy.has_offer, "it was for a trial that has begun since"


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """A policy whose proposals wait for a word, and are counted; its clock says that each took a second."""
    made = Slow(Ledger(tmp_path), made_up_space(sampler={"name": "curve_gp", "startup_trials": 1}, budget={"trials": 100}))
    propose = Sampler._propose

    def counted(sampler: Sampler, number: int) -> dict:
        made.asked.append(number)
        assert made.go.wait(PATIENCE_S)
        made.clock.now += 10 * SLOW_S
        return propose(sampler, number)

    monkeypatch.setattr(Sampler, "_propose", counted)
    yield made
    made.go.set()
    made.asking.close()
    made.ledger.close()


class Slow:
    """See the fixture."""

    def __init__(self, ledger: Ledger, space: Space) -> None:
        self.ledger, self.clock, self.go, self.asked = ledger, Clock(), threading.Event(), []
        self.policy = Policy(space, ledger, 3, 2, NO_LIMIT, self.clock)
        self.asking = AskAhead(self.policy, "auto", self.clock)
        self.go.set()

    def begin(self) -> list[str]:
        """Both places are taken; the second proposal was slow."""
        return [self.asking.next().trial, self.asking.next().trial]

    def tick_until(self, happened: Callable[[], bool]) -> None:
        """Let time pass."""
        deadline = time.monotonic() + PATIENCE_S
        while not happened():
            assert time.monotonic() < deadline, "waited in vain"
            self.asking.tick()
            time.sleep(0.001)


def test_a_slow_proposal_is_there_when_a_place_is(slow):
    _, second = slow.begin()
    slow.tick_until(lambda: slow.policy.has_offer)
    slow.policy.error(second, "ValueError: x")
    before = list(slow.asked)
    assert slow.asking.next().number == 2
    assert slow.asked == before == [1, 2], "a free place asked anew"


def test_a_proposal_under_way_is_waited_for_and_not_made_twice(slow):
    _, second = slow.begin()
    slow.go.clear()
    slow.asking.tick()
    slow.policy.error(second, "ValueError: x")
    threading.Timer(0.05, slow.go.set).start()
    assert slow.asking.next().number == 2
    assert slow.asked == [1, 2]


def test_it_is_asked_again_as_reports_come_but_seldom(slow):
    first, _ = slow.begin()
    slow.tick_until(lambda: slow.policy.has_offer)
    slow.policy.report(first, REPORT)
    slow.asking.tick()
    assert slow.asked == [1, 2], "a second's work is repeated within ten"
    slow.clock.now += 100.0
    slow.tick_until(lambda: slow.asked == [1, 2, 2])


def test_trials_that_take_much_longer_are_worth_the_wait(slow):
    """A proposal takes a second, a trial has its place for a minute or for two seconds."""
    for between_s, is_ahead in ((60.0, False), (1.0, True)):
        live = slow.begin() if not slow.policy.trials else list(slow.policy.running)
        for _ in range(20):
            slow.clock.now += between_s / slow.policy.workers
            slow.policy.error(live.pop(0), "ValueError: x")
            live.append(slow.asking.next().trial)
        number = slow.policy.next_number
        slow.asking.tick()
        if is_ahead:
            slow.tick_until(lambda: slow.policy.has_offer)
        assert (number in slow.asked) == is_ahead


@pytest.mark.parametrize(("sampler", "wanted"), [("random", "auto"), ("tpe", "auto"), ("curve_gp", False)])
def test_a_quick_sampler_is_not_asked_ahead(tmp_path, sampler, wanted):
    with Ledger(tmp_path) as ledger:
        policy = Policy(made_up_space(sampler={"name": sampler}), ledger, 3, 2, NO_LIMIT)
        asking = AskAhead(policy, wanted)
        asking.next(), asking.next()
        asking.tick()
        asking.close()
        asking.tick()
        assert not policy.has_offer
