"""A Ray cluster of a head that trains nothing and some nodes, in a process of its own: nodes lose power and are replaced.

As a script: prints a JSON line with the address and the nodes' raylets at the start, and again for every `replace N` on its stdin.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.app.driving import ROOT, session_of

TRIAL = "LandmarkTrial"
_FAST_DEATHS = {"health_check_initial_delay_ms": 3000, "health_check_period_ms": 1000, "health_check_failure_threshold": 5}


class Nodes:
    """The cluster as a test sees it.

    Args:
        folder: where each node has a working folder and a film cache of its own.
        num: nodes.
        cpus, gpus: of each; the GPUs exist for Ray's scheduling alone.
        epoch_s, fail: of made-up trainings on them.
    """

    def __init__(self, folder: Path, num: int, cpus: int = 1, gpus: int = 0, epoch_s: float = 0.0, fail: str = "") -> None:
        self._session = Path(tempfile.mkdtemp(prefix="ray-"))  # short: Ray's sockets lie in it
        env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_TMPDIR": str(self._session), "RAY_raylet_start_wait_time_s": "120"}
        env |= {"MADE_UP_EPOCH_S": str(epoch_s), "MADE_UP_FAIL": fail, "CUDA_VISIBLE_DEVICES": ",".join(map(str, range(gpus)))}
        with (folder / "nodes.log").open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.app.nodes", str(folder), str(num), str(cpus), str(gpus)],
                cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True,
            )  # fmt: skip
        self._hear()

    def kill(self, node: int) -> None:
        """The node loses power: its raylet and all workers end at once.  Another takes its place."""
        for pid in _family(self.raylets[node]):
            _kill(pid)
        assert self._process.stdin is not None
        print(f"replace {node}", file=self._process.stdin, flush=True)
        self._hear()

    def trials(self) -> dict[int, int]:
        """Living trial actors: process id to node."""
        names = session_of(self._process.pid)
        return {
            pid: node for node, raylet in enumerate(self.raylets) for pid in _family(raylet) if TRIAL in names.get(pid, "")
        }  # fmt: skip

    def close(self) -> None:
        """End everything that was started."""
        for pid in [*session_of(self._process.pid), self._process.pid]:
            _kill(pid)
        self._process.communicate()
        shutil.rmtree(self._session, ignore_errors=True)

    def _hear(self) -> None:
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.address, self.raylets = str(told["address"]), list(told["raylets"])


@contextmanager
def cluster(folder: Path, num: int, **how: Any) -> Iterator[Nodes]:
    """Nodes that leave no process behind."""
    nodes = Nodes(folder, num, **how)
    try:
        yield nodes
    finally:
        nodes.close()


def kill_actor(pid: int) -> None:
    """One trial's process ends at once."""
    _kill(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _family(leader: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            parent = int(entry.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    family = [leader]
    for pid in family:
        family += children.get(pid, [])
    return family


def _add(made: Any, folder: Path, node: int, cpus: int, gpus: int) -> Any:
    """A node with working, temporary and cache folders of its own."""
    name = f"node{node}-{time.monotonic_ns()}"
    own, temporary = folder / name, Path(os.environ["RAY_TMPDIR"]) / name
    own.mkdir()
    temporary.mkdir()
    os.chdir(own)
    variables = {"CEPH_CACHE_DIR": str(own / "cache"), "TMPDIR": str(temporary)}
    return made.add_node(num_cpus=cpus, num_gpus=gpus, temp_dir=str(temporary), env_vars=variables)


def _serve(folder: Path, num: int, cpus: int, gpus: int) -> None:
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, "include_dashboard": False, "_system_config": _FAST_DEATHS}
    )
    nodes = [_add(made, folder, node, cpus, gpus) for node in range(num)]
    while True:
        raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
        print(json.dumps({"address": made.address, "raylets": raylets}), flush=True)
        command = sys.stdin.readline()
        if not command:
            return
        place = int(command.split()[1])
        made.worker_nodes.discard(nodes[place])
        nodes[place] = _add(made, folder, place, cpus, gpus)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), *map(int, sys.argv[2:]))
