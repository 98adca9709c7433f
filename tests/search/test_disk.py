import random
from contextlib import suppress
from pathlib import Path

import pytest

from ceph_core.training.checkpoint import STATE_FILE
from search.disk import Disk
from search.policy import Policy
from search.records import Event, Ledger, RunFolder, create
from tests.search.simulated import NO_LIMIT, Clock, Killed, made_up_space, simulate

STATE_BYTES = 10_000


def _searched(folder: Path, ledger: Ledger, values_mm: list[float | None]) -> Policy:
    """A policy with these trials ended (None: failed), and one running; each has a state on disk."""
    policy = Policy(made_up_space(scheduler={"rungs": []}), ledger, 0, 1, NO_LIMIT)
    for value in [*values_mm, 99.0]:
        trial = policy.next().trial
        epochs = 1 if value == 99.0 else 9
        if value is None:
            policy.error(trial, "ValueError: x")
        else:
            policy.report(trial, {"epoch": epochs, "val_mre_mm": value, "image_size": 64, "seconds": 1.0})
        state = RunFolder(folder).trial_dir(trial) / STATE_FILE
        state.parent.mkdir(parents=True)
        state.write_bytes(bytes(STATE_BYTES))
    return policy


def _kept(run: RunFolder) -> list[str]:
    return sorted(path.parent.name for path in run.path.glob(f"trials/*/{STATE_FILE}"))


def test_the_worst_go_first(tmp_path):
    run, said = create(tmp_path / "run", {}), []
    with Ledger(run.path) as ledger:
        policy = _searched(run.path, ledger, [9.0, 3.0, None, 8.0, 7.0, 2.0])
        other = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file()) - 7 * STATE_BYTES
        disk = Disk(run, policy, (other + 5.5 * STATE_BYTES) / 1e9, said.append)
        assert disk.tidy() == ["t0002", "t0003"]
        assert disk.tidy() == []
    assert _kept(run) == ["t0000", "t0001", "t0004", "t0005", "t0006"]
    assert len(said) == 1
    assert "t0002, t0003" in said[0]


def test_what_is_needed_stays_and_that_is_said_once(tmp_path):
    """The baseline (worst of all here), both candidates and the running trial."""
    run, said = create(tmp_path / "run", {}), []
    with Ledger(run.path) as ledger:
        policy = _searched(run.path, ledger, [90.0, 3.0, 4.0, 2.0])
        disk = Disk(run, policy, 1e-9, said.append)
        assert disk.tidy() == ["t0002"]
        assert disk.tidy() == []
    assert _kept(run) == ["t0000", "t0001", "t0003", "t0004"]
    assert len(said) == 2
    assert "nothing more that may be removed" in said[1]


def test_files_may_vanish_while_they_are_counted(tmp_path, monkeypatch):
    """Actors write, rename and remove while the driver looks."""
    run = create(tmp_path / "run", {})
    lstat = Path.lstat

    def vanished(path: Path):
        if path.name == STATE_FILE:
            raise FileNotFoundError(path)
        return lstat(path)

    with Ledger(run.path) as ledger:
        policy = _searched(run.path, ledger, [2.0])
        monkeypatch.setattr(Path, "lstat", vanished)
        assert Disk(run, policy, 1.0, print).tidy() == []


@pytest.mark.parametrize("limit_bytes", [10**9, 60_000])
def test_what_is_counted_equals_a_walk(tmp_path, limit_bytes):
    """At every end, over a resume, while the trial that ended last still writes; with checkpoints being removed and without."""
    run = create(tmp_path / "run", {})
    space = made_up_space(budget={"trials": 30})

    def begin(ledger: Ledger, stop_after: int | None) -> None:
        rng = random.Random(0)
        ended: list[str] = []

        def on_event(event: Event) -> None:
            folder, board = run.trial_dir(event["trial"]), run.tensorboard_dir(event["trial"])
            for place in (folder, board):
                place.mkdir(parents=True, exist_ok=True)
                (place / f"{event['event']}{event.get('epoch', '')}").write_bytes(bytes(rng.randrange(100)))
            (folder / STATE_FILE).write_bytes(bytes(rng.randrange(STATE_BYTES)))
            if event["event"] == "end":
                ended.append(event["trial"])
                (run.trial_dir(ended[-2 if len(ended) > 1 else -1]) / "late").write_bytes(bytes(500))
                disk.tidy()
                walked = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
                assert disk._sizes.total(policy.trials, policy.running) == walked

        policy = Policy(space, ledger, 0, 2, NO_LIMIT, Clock(), [on_event])
        disk = Disk(run, policy, limit_bytes / 1e9, lambda said: None)
        with suppress(Killed):
            simulate(policy, stop_after=stop_after)

    for stop_after in (40, None):
        with Ledger(run.path) as ledger:
            begin(ledger, stop_after)
    assert len(list(run.path.glob("trials/*"))) == 30
    assert (len(_kept(run)) == 30) == (limit_bytes == 10**9)
