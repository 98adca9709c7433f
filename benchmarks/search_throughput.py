"""Epochs an hour of `run_search.py`, over the very same trials by stock Ray Tune (benchmarks/stock_tune.py).

Both are processes of their own; their time is the whole time, from the start of the process to the end of the last trial: imports, Ray's
start, reading films, every trial's start and end.  Drawn films of 800 x 640 px, `hrnet_w18_small`, 1 CPU a trial, as many trials at a time
as there are CPUs, at most two.  Film numbers are chosen at the start so that an epoch takes about one and about ten seconds here.

What was measured is kept in .state/search/; `--pieces N` measures N more and stops, so that a long benchmark can be cut.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from measuring import ROOT, STATE, arguments, publish, ratio, spread

from ceph_core import data as datasets
from ceph_core.config import Config, SourceConfig, apply
from ceph_core.data.films import TrainingData
from ceph_core.data.phantom.folder import write
from ceph_core.data.splits import assign
from ceph_core.training.trainer import Training
from search.records import Event, read_events

PATIENCE_S = 900
VALIDATION_SHARE = 0.15


@dataclass(frozen=True)
class Setting:
    """Epochs of one length.

    Attributes:
        epoch_s: wanted seconds an epoch.
        size: long side of the input, px.
        epochs: of a whole trial.
        rungs: shares of them.
        trials: of a search.
    """

    name: str
    epoch_s: float
    size: int
    epochs: int
    rungs: tuple[float, ...]
    trials: int


SETTINGS = (
    Setting("1-second epochs, at most 6 a trial", 1.0, 128, 6, (0.2, 0.5), 36),
    Setting("10-second epochs, at most 6 a trial", 10.0, 256, 6, (0.2, 0.5), 12),
)
QUICK = (Setting("quick", 0.1, 64, 4, (0.5,), 2),)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pieces", type=int, default=0, metavar="N", help="measure N more searches or stock runs and stop; 0: all")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="searches and their stock counterparts of each setting")
    args = parser.parse_args()
    if args.quick:
        with tempfile.TemporaryDirectory() as folder:
            measure(QUICK, Path(folder), 1, pieces=0)
            publish("search", tables(QUICK, Path(folder), 1), quick=True)
        return
    state = STATE / "search"
    if measure(SETTINGS, state, args.rounds, args.pieces):
        publish("search", tables(SETTINGS, state, args.rounds), quick=False)


def measure(settings: tuple[Setting, ...], state: Path, rounds: int, pieces: int) -> bool:
    """Measure what is missing; whether nothing is any more."""
    state.mkdir(parents=True, exist_ok=True)
    done = 0
    for setting in settings:
        films = state / f"films-{setting.size}"
        num_train = num_films(setting, state, films)
        for number in range(rounds):
            run = state / f"run-{setting.size}-{number}"
            for kind, run_piece in (("ours", our_search), ("stock", stock_search)):
                answer = state / f"{kind}-{setting.size}-{number}.json"
                if answer.exists():
                    continue
                if pieces and done == pieces:
                    return False
                answer.write_text(json.dumps(run_piece(setting, run, films)))
                done += 1
                told = json.loads(answer.read_text())
                say(f"{setting.name} ({num_train} films), round {number + 1}, {kind}: {told['epochs']} epochs in {told['seconds']:.1f} s")
    return True


def num_films(setting: Setting, state: Path, films: Path) -> int:
    """Training films that take so long an epoch here; drawn if need be."""
    answer = state / f"films-{setting.size}.json"
    if not answer.exists():
        write(films, 0, 20, 2)
        torch.set_num_threads(1)
        source = SourceConfig(format="phantom", root=films)
        dataset = datasets.read(source, state)
        data = TrainingData(dataset, assign(dataset, source), state)
        config = apply(Config(), {**fixed(setting), "train.epochs": 3, "train.batch_size": 4})
        seconds = [result.seconds for result in Training(config, data, None, torch.device("cpu"))]
        a_film = statistics.median(seconds) / len(data.train_ids)
        wanted = max(8, round(setting.epoch_s / a_film))
        write(films, 0, max(20, round(wanted / (1 - VALIDATION_SHARE))), 2)
        answer.write_text(json.dumps(wanted))
    return int(json.loads(answer.read_text()))


def fixed(setting: Setting) -> dict[str, Any]:
    return {
        "model.name": "hrnet_w18_small", "train.epochs": setting.epochs, "data.image_size": setting.size, "heatmap.loss": "mse",
        "train.lr": 2e-3,
    }  # fmt: skip


def our_search(setting: Setting, run: Path, films: Path) -> dict[str, Any]:
    """`run_search.py` until its last search trial has ended; what would come after is interrupted."""
    shutil.rmtree(run, ignore_errors=True)
    space = {
        "fixed": fixed(setting),
        "search": {
            "heatmap.sigma_rel": {"float": [0.01, 0.05], "log": True},
            "augment.strength": {"float": [0, 2]},
            "train.batch_size": {"int": [2, 6]},
        },
        "start_from": [{"heatmap.sigma_rel": 0.02, "augment.strength": 1.0, "train.batch_size": 4}],
        "sampler": {"name": "tpe", "startup_trials": 8},
        "scheduler": {"rungs": list(setting.rungs), "reduction_factor": 3},
        "resources": {"cpus_per_trial": 1, "gpus_per_trial": 0, "max_concurrent": 2},
        "budget": {"trials": setting.trials},
    }
    path = run.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(space, sort_keys=False))
    command = [sys.executable, "run_search.py", "--space", path, "--profile", "cpu", "--data", films, "--format", "phantom", "--out", run]
    began = time.time()
    with run.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True, env=environment())
        try:
            while not is_over(events := read_events(run)):
                assert process.poll() is None, f"the search ended early: {Path(log.name).read_text()[-2000:]}"
                assert time.time() - began < PATIENCE_S, f"the search does not end, see {log.name}"
                time.sleep(0.2)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
    return shares(of_the_search(events), began)


def is_over(events: list[Event]) -> bool:
    kinds = [event["event"] for event in of_the_search(events)]
    return "searched" in kinds and kinds.count("end") == kinds.count("trial")


def of_the_search(events: list[Event]) -> list[Event]:
    """Without the confirmations that promotion may have begun already."""
    confirmed = {event["trial"] for event in events if event["event"] == "trial" and event["role"] != "search"}
    return [event for event in events if event.get("trial") not in confirmed]


def shares(events: list[Event], began: float) -> dict[str, Any]:
    """Seconds since the process began, epochs, their length, and shares of the places' time in which one was being trained or validated."""
    places = next(event["workers"] for event in events if event["event"] == "run")
    reports = [event for event in events if event["event"] == "report"]
    given = [event["time"] for event in events if event["event"] == "trial"]
    ends = [event["time"] for event in events if event["event"] == "end"]

    def computing(first: float, last: float) -> float:
        spent = sum(max(0.0, min(last, report["time"]) - max(first, report["time"] - report["seconds"])) for report in reports)
        return spent / (places * (last - first))

    first_epoch = min(report["time"] - report["seconds"] for report in reports)
    return {
        "seconds": max(ends) - began,
        "trials": len(given),
        "epochs": len(reports),
        "epoch_s": statistics.median(report["seconds"] for report in reports),
        "computing": computing(min(given), max(given)),
        "computing_to_end": computing(min(given), max(ends)),
        "computing_once_started": computing(first_epoch, max(given)),
    }


def stock_search(setting: Setting, run: Path, films: Path) -> dict[str, Any]:
    """The trials of the search by benchmarks/stock_tune.py."""
    with tempfile.TemporaryDirectory() as storage, run.with_suffix(".stock.log").open("wb") as log:
        began = time.time()
        command = [sys.executable, str(ROOT / "benchmarks" / "stock_tune.py"), run, storage]
        answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, env=environment(), text=True)
        assert answer.returncode == 0, f"stock Tune failed: {answer.stdout[-2000:]}{Path(log.name).read_text()[-2000:]}"
        inside = json.loads(answer.stdout.splitlines()[-1])
        return {"epochs": inside["epochs"], "seconds": inside["ended"] - began}  # as ours: Ray's end does not count


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_ALBUMENTATIONS_UPDATE": "1"}


def tables(settings: tuple[Setting, ...], state: Path, rounds: int) -> dict[str, list[dict[str, Any]]]:
    throughput, busy = [], []
    for setting in settings:
        ours, stock = (
            [json.loads((state / f"{kind}-{setting.size}-{number}.json").read_text()) for number in range(rounds)]
            for kind in ("ours", "stock")
        )
        rates = [[3600 * one["epochs"] / one["seconds"] for one in each] for each in (ours, stock)]
        throughput.append(
            {
                "setting": setting.name,
                "epoch, s": spread([one["epoch_s"] for one in ours]),
                "trials": setting.trials,
                "epochs": spread([one["epochs"] for one in ours]),
                "run_search.py, epochs an hour": spread(rates[0]),
                "stock Tune, epochs an hour": spread(rates[1]),
                "ratio": ratio(*rates),
            }
        )
        busy.append(
            {
                "setting": setting.name,
                "first to last hand-out": spread([one["computing"] for one in ours]),
                "first hand-out to the end": spread([one["computing_to_end"] for one in ours]),
                "first epoch to last hand-out": spread([one["computing_once_started"] for one in ours]),
            }
        )
    return {
        "Epochs an hour, whole processes": throughput,
        "Share of the places' time in which an epoch is trained or validated (run_search.py)": busy,
    }


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
