"""The real `run_search.py` in a process of its own, over made-up trainings: started, watched through its ledger, ended by signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from search.records import Event, read_events
from tests.search.made_up import SPACE

ROOT = Path(__file__).parents[2]
PATIENCE_S = 240.0
MADE_UP = "tests.search.made_up:build"


def write_space(folder: Path, **changes: object) -> Path:
    """The made-up space, sections replaced or extended by `changes`."""
    tree = {**SPACE}
    for section, change in changes.items():
        tree[section] = {**SPACE.get(section, {}), **change} if isinstance(change, dict) else change
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


class Driver:
    """A driver and all it started: its own session, so that a signal reaches what a terminal's would, and nothing else."""

    def __init__(self, *command: object, log: Path, epoch_s: float = 0.0, fail: str = "", training: str = MADE_UP) -> None:
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "CEPH_SEARCH_TRAINING": training,
            "OMP_NUM_THREADS": "1",
            "MADE_UP_EPOCH_S": str(epoch_s),
            "MADE_UP_FAIL": fail,
        }
        self._log = log
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, command)],
                cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True,
            )  # fmt: skip

    def wait(self) -> int:
        """Exit code; then `out` is what went to stdout."""
        self.out = self.process.communicate(timeout=PATIENCE_S)[0].decode()
        return self.process.returncode

    def wait_for(self, run: Path, happened: Callable[[list[Event]], bool]) -> None:
        """Until the ledger says so."""
        deadline = time.monotonic() + PATIENCE_S
        while not happened(read_events(run)):
            assert self.process.poll() is None, f"the driver ended early ({self.process.returncode}):\n{self.said()}"
            assert time.monotonic() < deadline, f"waited in vain:\n{self.said()}"
            time.sleep(0.02)

    def signal(self, number: int, group: bool = False) -> None:
        """To the driver alone, or as a terminal does to its whole group."""
        (os.killpg if group else os.kill)(self.process.pid, number)

    def said(self) -> str:
        """Everything on stderr, of drivers before it in the same log too."""
        return self._log.read_text()


@contextmanager
def driver(*command: object, log: Path, epoch_s: float = 0.0, fail: str = "", training: str = MADE_UP) -> Iterator[Driver]:
    """A driver that leaves no process behind, Ray's included; without a name in `training` it trains real networks."""
    made = Driver(*command, log=log, epoch_s=epoch_s, fail=fail, training=training)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.process.communicate()
        for pid in session_of(made.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def session_of(leader: int) -> dict[int, str]:
    """Living processes of a session and their command lines, from /proc; none where there is no /proc."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = entry.joinpath("stat").read_text().rpartition(")")[2].split()[:4]
            command = entry.joinpath("cmdline").read_text().replace("\0", " ")
        except (OSError, ValueError):
            continue
        if int(session) == leader and state != "Z":
            found[int(entry.name)] = command
    return found


def reports(events: list[Event]) -> list[tuple[str, int]]:
    """(trial, epoch) of every report, in order."""
    return [(event["trial"], event["epoch"]) for event in events if event["event"] == "report"]


def assert_sound(run: Path) -> None:
    """Nothing recorded twice, every epoch there, every trial ended, once more if it was reopened: what any finished run must show."""
    events = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    assert max(Counter(reports(events)).values()) == 1
    announced = [event["trial"] for event in events if event["event"] == "trial"]
    ended = Counter(event["trial"] for event in events if event["event"] == "end")
    ended.subtract(event["trial"] for event in events if event["event"] == "reopened")
    assert sorted(announced) == sorted(ended), "a trial was left open"
    assert max(ended.values()) == 1
    for trial in announced:
        epochs = [epoch for name, epoch in reports(events) if name == trial]
        first = epochs[0] if epochs else 1
        assert epochs == list(range(first, first + len(epochs))), f"{trial} reports {epochs}"
    assert events[-1]["event"] == "finished"
    assert events[-1]["status"] == "finished"
