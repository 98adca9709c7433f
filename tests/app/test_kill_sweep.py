"""Drivers, trials and nodes are killed at random, and the run comes out as if nothing had happened."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search import records
from search.policy import Policy
from search.records import Event
from search.replay.run import MemoryLedger
from search.rungs import Action, Rungs
from search.space import Space
from search.tune.trial import read_reports
from tests.app.driving import PATIENCE_S, Driver, assert_sound, driver, reports, write_space
from tests.app.nodes import Nodes, cluster, kill_actor
from tests.search.simulated import NO_LIMIT, Clock, decided, made_up_space, search

pytestmark = pytest.mark.slow

SEED, EPOCH_S = 3, 0.12
KILLS = {1: {"driver": 3, "actor": 4, "node": 2}, 2: {"driver": 4, "actor": 5, "node": 4}}
"""By workers and target; 22 in all."""
SPACES = {
    1: {"budget": {"trials": 18}, "resources": {"max_concurrent": 1}},
    2: {"budget": {"trials": 30}, "resources": {"max_concurrent": 2}, "sampler": {"name": "curve_gp"}},
}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with cluster(tmp_path_factory.mktemp("nodes"), 2, epoch_s=EPOCH_S) as made:
        yield made


@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", [1, 2])
def test_kills_change_nothing(tmp_path, films, nodes, workers):
    run = tmp_path / "run"
    space = write_space(tmp_path, **SPACES[workers])
    start = [
        "run_search.py",
        "--space",
        space,
        "--data",
        films,
        "--profile",
        "cpu",
        "--out",
        run,
        "--seed",
        SEED,
        "--address",
        nodes.address,
    ]
    targets = [target for target, times in KILLS[workers].items() for _ in range(times)]
    random.Random(workers).shuffle(targets)
    killed = _sweep(run, tmp_path / "log", start, targets, nodes, random.Random(workers))
    assert killed == KILLS[workers]

    events = records.read_events(run)
    assert_sound(run)
    assert not [event for event in events if event["event"] == "end" and event["status"] == "failed"]
    assert any(event["event"] == "retry" and event["cause"] == "lost" for event in events)
    _assert_trials_kept_their_reports(run, events)
    _assert_study_is_closed(run, SPACES[workers]["budget"]["trials"])
    searched = [event for event in events if event.get("role") != "confirm" and "-full" not in event.get("trial", "")]
    plan = made_up_space(**SPACES[workers])
    _assert_rungs_agree(searched, plan)
    _assert_proposals_follow(searched, plan, workers)
    if workers == 1:
        assert decided(searched) == decided(search(tmp_path / "unbroken", plan, seed=SEED)[1])


def _sweep(run: Path, log: Path, command: list[object], targets: list[str], nodes: Nodes, draw: random.Random) -> dict[str, int]:
    """Kill one target after another while the run goes on, then let it finish; kills by target."""
    killed: Counter[str] = Counter()
    acknowledged: list[Event] = []
    with ExitStack() as stack:
        live = stack.enter_context(driver(*command, log=log))
        for target in targets:
            wanted = len(reports(acknowledged)) + draw.randint(2, 6)
            live.wait_for(run, lambda events, wanted=wanted: len(reports(events)) >= wanted)
            time.sleep(draw.uniform(0, 3 * EPOCH_S))
            before = records.read_events(run)
            if target == "driver":
                live.process.kill()
                live.process.wait()
                live = stack.enter_context(driver("run_search.py", "--resume", run, log=log))
            elif target == "actor":
                kill_actor(_some_trial(nodes, live, draw))
            else:
                nodes.kill(draw.randrange(len(nodes.raylets)))
            killed[target] += 1
            now = records.read_events(run)
            assert before[: len(acknowledged)] == acknowledged and now[: len(before)] == before, f"the ledger changed at a kill of {target}"
            acknowledged = before
        assert live.wait() == 0, live.said()
    assert records.read_events(run)[: len(acknowledged)] == acknowledged
    return dict(killed)


def _some_trial(nodes: Nodes, live: Driver, draw: random.Random) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while not (trials := sorted(nodes.trials())):
        assert live.process.poll() is None and time.monotonic() < deadline, live.said()
        time.sleep(0.05)
    return draw.choice(trials)


def _assert_trials_kept_their_reports(run: Path, events: list[Event]) -> None:
    """What the ledger has of a trial lies with the trial too, from its first epoch on, and says the same."""
    ledger = {(event["trial"], event["epoch"]): event["val_mre_mm"] for event in events if event["event"] == "report"}
    for trial in {trial for trial, _ in ledger}:
        epochs = [epoch for name, epoch in ledger if name == trial]
        own = read_reports(records.RunFolder(run).trial_dir(trial))
        first = 1 if not trial.endswith("-full") else epochs[0]
        assert epochs == list(range(first, epochs[-1] + 1)), f"{trial} has gaps"
        if trial.endswith("-full"):
            candidate = [epoch for name, epoch in ledger if name == trial.removesuffix("-full")]
            assert epochs[0] == candidate[-1] + 1, f"{trial} does not follow its candidate"
        assert {epoch: own[epoch]["val_mre_mm"] for epoch in own if (trial, epoch) in ledger} == {
            epoch: value for (name, epoch), value in ledger.items() if name == trial
        }


def _assert_study_is_closed(run: Path, num_trials: int) -> None:
    storage = JournalStorage(JournalFileBackend(str(run / "study.journal")))
    study = optuna.load_study(study_name=run.name, storage=storage)
    assert len(study.trials) == num_trials
    assert all(trial.state.is_finished() for trial in study.trials)


def _assert_rungs_agree(events: list[Event], plan: Space) -> None:
    """The ledger's reports and ends, in its order, are decided as they were."""
    rungs = Rungs(plan.scheduler.rungs, plan.scheduler.reduction_factor)
    total = plan.base_config().train.epochs
    for event in events:
        if event["event"] == "end":
            rungs.ended(event["trial"])
        if event["event"] == "report":
            protected = event["trial"] == "t0000"
            decision = rungs.report(event["trial"], event["epoch"], total, event["val_mre_mm"], protected, event["validated"])
            is_done = event["epoch"] == total and decision.action is Action.CONTINUE
            assert (decision.rung, "done" if is_done else decision.action.value) == (event["rung"], event["decision"]), event


def _assert_proposals_follow(events: list[Event], plan: Space, workers: int) -> None:
    """Each proposal is what a driver makes that knows what it says to have known of the ledger, and nothing else."""
    of_trials = [event for event in events if "trial" in event]
    for event in of_trials:
        if event["event"] == "trial":
            known = MemoryLedger()
            for earlier in of_trials[: event["asked_after"]]:
                known.append(earlier)
            policy = Policy(plan, known, SEED, workers, NO_LIMIT, Clock())
            assert len(list(known.events())) == event["asked_after"], "an end was still to be written when this was proposed"
            assert policy.sampler.ask(event["number"]) == event["values"], event["trial"]
