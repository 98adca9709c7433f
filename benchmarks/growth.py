"""What a trial costs the driver, and what the driver remembers, at 10, 100 and 1,000 trials.

Made-up curves through the real policy, ledger, study, TensorBoard, Prometheus, disk limit, tables and terminal, in simulated time: two
places, one-second epochs, ten ticks a second, twenty epochs a trial of which the rungs let most have two or five. Every search is a
process of its own. What a trial itself writes (a small state, its reports) is written too, for the disk's sake, and not counted.

Then the real `run_search.py` over the same trials whose epochs take no time at all: everything a trial costs with Ray's part in it.
"""

import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import ROOT, arguments, publish, spread
from rich.console import Console

from ceph_core.training.checkpoint import STATE_FILE
from search.bookkeeping import Bookkeeping
from search.cost import Timetable
from search.live import LiveView
from search.records import Event, Ledger, RunFolder, create, read_events
from tests.app.driving import driver, write_space
from tests.search.simulated import Clock, made_up_space, simulate

SIZES, QUICK_SIZES = (10, 100, 1000), (5, 10)
ROUNDS = 3
PARTS = ("proposals", "decisions", "ledger", "study", "TensorBoard", "Prometheus", "disk limit", "tables", "terminal")
SPACE: dict[str, dict[str, Any]] = {
    "fixed": {"train.epochs": 20},
    "sampler": {"startup_trials": 10},
    "scheduler": {"rungs": [0.1, 0.25, 0.5], "reduction_factor": 3},
    "resources": {"max_concurrent": 2},
    "promotion": {"candidates": 4, "max_members": 3},
}
STATE_BYTES = 1000


class Meter:
    """Wall seconds by part; a part called within another counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            started = time.perf_counter()
            self._inner.append(0.0)
            try:
                return function(*args, **named)
            finally:
                took = time.perf_counter() - started
                self.seconds[part] += took - self._inner.pop()
                self._inner[-1] += took

        return call

    def watch(self, owner: object, name: str, part: str) -> None:
        setattr(owner, name, self.timed(part, getattr(owner, name)))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--one", type=int, metavar="N", help="one search of N trials in this process, its figures as JSON on stdout")
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(one_search(args.one)))
        return
    sizes, rounds = (QUICK_SIZES, 1) if args.quick else (SIZES, ROUNDS)
    measured: dict[int, list[dict[str, Any]]] = {size: [] for size in sizes}
    for number in range(rounds):
        for size in sizes:
            measured[size].append(in_own_process(size))
            print(f"round {number + 1}/{rounds}: {size} trials, {measured[size][-1]['wall_ms']:.1f} ms a trial", file=sys.stderr)
    through_ray = [ray_search(size) for size in (QUICK_SIZES[:1] if args.quick else SIZES)]
    publish("growth", {**tables(measured), "Through Ray: epochs that take no time, two places": through_ray}, args.quick)


def in_own_process(size: int) -> dict[str, Any]:
    answer = subprocess.run([sys.executable, __file__, "--one", str(size)], stdout=subprocess.PIPE, check=True, text=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def tables(measured: dict[int, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    def column(size: int, key: str) -> Any:
        return spread([one[key] for one in measured[size]])

    costs = [
        {
            "trials": size,
            "driver, ms a trial": column(size, "wall_ms"),
            "the last tenth of them": column(size, "late_ms"),
            "CPU, ms a trial": column(size, "cpu_ms"),
            "kB on disk a trial": column(size, "disk_kb"),
            "driver memory, MB": column(size, "rss_mb"),
            "of which the search": column(size, "grown_mb"),
            "opening the run again, s": column(size, "open_s"),
        }
        for size in measured
    ]
    parts = [{"part, ms a trial": part, **{f"{size} trials": column(size, part) for size in measured}} for part in PARTS]
    return {"A trial's cost to the driver, by the number of trials": costs, "Where it goes": parts}


def one_search(size: int) -> dict[str, Any]:
    """One whole search and its reopening."""
    with tempfile.TemporaryDirectory() as folder:
        run = create(Path(folder) / "run", {})
        space = made_up_space(budget={"trials": size}, **SPACE)
        meter, clock = Meter(), Clock()
        with Path("/dev/null").open("w") as nowhere, Ledger(run.path) as ledger:
            view = LiveView(console=Console(file=nowhere, force_terminal=True, width=160), clock=clock)
            view.elapsed_s = clock
            books = Bookkeeping(run, space, 0, 2, Timetable(1e9, 0.35), clock, ledger, view)
            attach(meter, books, ledger, view)
            view.watch(books.policy)
            gc.collect()
            before_mb = rss_mb()
            trial_files = TrialFiles(run)
            books.policy._observers = (trial_files.on_event, *books.policy._observers)
            started, cpu_started = time.perf_counter(), time.process_time()
            simulate(books.policy, clock=clock, on_tick=books.tick)
            wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
            view.close()
            books.close()
            gc.collect()
            grown_mb, now_mb = rss_mb() - before_mb, rss_mb()
        started = time.perf_counter()
        with Path("/dev/null").open("w") as nowhere, Ledger(run.path) as ledger:
            Bookkeeping(run, space, 0, 2, Timetable(1e9, 0.35), clock, ledger, LiveView(console=Console(file=nowhere)))
            open_s = time.perf_counter() - started
        disk = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file() and "trials" not in path.parts)
        late = trial_files.began[-max(1, size // 10) - 1 :]
        return {
            "wall_ms": 1e3 * (wall_s - trial_files.seconds) / size,
            "late_ms": 1e3 * ((late[-1][0] - late[0][0]) - (late[-1][1] - late[0][1])) / (len(late) - 1),
            "cpu_ms": 1e3 * cpu_s / size,
            "disk_kb": disk / 1e3 / size,
            "rss_mb": now_mb,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
            "grown_mb": grown_mb,
            "open_s": open_s,
            **{part: 1e3 * meter.seconds[part] / size for part in PARTS},
        }


def ray_search(size: int) -> dict[str, Any]:
    """The real driver, from the first trial's end to the last one's."""
    with tempfile.TemporaryDirectory() as folder:
        space = write_space(Path(folder), budget={"trials": size}, **SPACE)
        run = Path(folder) / "run"
        with driver("run_search.py", "--space", space, "--profile", "cpu", "--out", run, log=Path(folder) / "log") as live:
            while num_ended(run) < size:
                assert live.process.poll() is None, live.said()
                time.sleep(0.5)
            status = Path(f"/proc/{live.process.pid}/status").read_text()
            memory_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        ends = [event["time"] for event in read_events(run) if event["event"] == "end"][:size]
        late = ends[-max(2, size // 10) :]
        return {
            "trials": size,
            "wall, ms a trial": 1e3 * (ends[-1] - ends[0]) / (size - 1),
            "the last tenth of them": 1e3 * (late[-1] - late[0]) / (len(late) - 1),
            "driver memory, MB": memory_kb / 1e3,
        }


def num_ended(run: Path) -> int:
    """Trials that have ended, without parsing the ledger: the driver is being timed."""
    ledger = run / "ledger.jsonl"
    return ledger.read_bytes().count(b'{"event": "end"') if ledger.exists() else 0


class TrialFiles:
    """What the trials themselves write, and when each began."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self.seconds = 0.0
        self.began: list[tuple[float, float]] = []

    def on_event(self, event: Event) -> None:
        started = time.perf_counter()
        if event["event"] == "trial":
            self.began.append((started, self.seconds))
            folder = self._run.trial_dir(event["trial"])
            folder.mkdir(parents=True)
            (folder / STATE_FILE).write_bytes(bytes(STATE_BYTES))
            (folder / "reports.jsonl").write_bytes(bytes(STATE_BYTES))
        self.seconds += time.perf_counter() - started


def attach(meter: Meter, books: Bookkeeping, ledger: Ledger, view: LiveView) -> None:
    """Time each part where it is called."""
    for owner, name, part in (
        (books.policy, "next", "decisions"),
        (books.policy, "report", "decisions"),
        (books.policy.sampler, "ask", "proposals"),
        (ledger, "append", "ledger"),
        (books._mirror, "update", "study"),
        (books._disk, "tidy", "disk limit"),
        (books, "write_tables", "tables"),
        (view, "tick", "terminal"),
    ):
        meter.watch(owner, name, part)
    observers = zip(books.policy._observers, ("terminal", "TensorBoard", "decisions", "study", "Prometheus"), strict=True)
    books.policy._observers = tuple(meter.timed(part, observer) for observer, part in observers)


def rss_mb() -> float:
    """What this process holds in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


if __name__ == "__main__":
    main()
