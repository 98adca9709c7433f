"""Trials that take no time: what lies between the end of one and the next one's first step, and what the driver remembers of each.

Made-up trainings of at most six epochs, one CPU each, two at a time.  Ours is the whole `run_search.py`: ledger, study, TensorBoard,
tables, terminal.  Stock Ray Tune is OptunaSearch (TPE) with AsyncHyperBandScheduler and reused actors over the same trainings: a class
Trainable that saves its state at the end, Tune's own loggers on.  Contestants take turns, each in a process of its own.

Every step says when it began and ended; the n-th end of a trial makes the place for the n-th trial after the first two.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import ROOT, arguments, publish, ratio, spread

from tests.app.driving import driver, write_space
from tests.search.made_up import SPACE, STAMPS_VARIABLE, MadeUp
from tests.search.simulated import made_up_space

PLACES, EPOCHS = 2, 6
RUNGS, FACTOR, STARTUP = [0.1, 0.5], 3, 10
LEFT_OUT = 10
"""Trials at the beginning, while actors import what they need."""
MEMORY_FROM = 200
"""Trials after which memory is counted: what is loaded once has been."""
PATIENCE_S = 1800.0


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--trials", type=int, default=300, metavar="N", help="of a search that is timed")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="searches of each contestant")
    parser.add_argument("--memory-trials", type=int, default=2000, metavar="N", help="of the search whose driver's memory is read; 0: none")
    parser.add_argument("--stock", action="store_true", help="be stock Ray Tune (how this script calls itself)")
    args = parser.parse_args()
    if args.stock:
        stock(args.trials)
        return
    if args.quick:
        args.trials, args.rounds, args.memory_trials = 16, 1, 0
    publish("short_trials", measured(args), args.quick)


def measured(args: Namespace) -> dict[str, list[dict[str, Any]]]:
    """The tables."""
    contestants: dict[str, Callable[[], dict[str, Any]]] = {
        "run_search.py, random": lambda: ours("random", args.trials),
        "run_search.py, tpe": lambda: ours("tpe", args.trials),
        "stock Tune, TPE": lambda: stock_in_own_process(args.trials),
    }
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    for number in range(args.rounds):
        for name in list(contestants) if number % 2 == 0 else reversed(list(contestants)):
            found[name].append(contestants[name]())
            told = found[name][-1]
            print(f"round {number + 1}/{args.rounds}: {name}: {told['trial_ms']:.0f} ms a trial", file=sys.stderr)
    stock_ms = [each["trial_ms"] for each in found["stock Tune, TPE"]]
    rows = []
    for name, each in found.items():
        gaps = np.concatenate([one["gaps"] for one in each])
        own_ms = [one["trial_ms"] for one in each]
        rows.append(
            {
                "search": name,
                "trials": args.trials,
                "epochs a trial": float(np.mean([one["epochs"] for one in each])),
                "from a trial's end to the next one's first step, s": float(np.median(gaps)),
                "nine in ten within, s": float(np.quantile(gaps, 0.9)),
                "wall, ms a trial": spread(own_ms),
                "stock's time / this": ratio(stock_ms, own_ms),
            }
        )
    tables = {f"Trials that take no time, {PLACES} places": rows}
    if args.memory_trials:
        tables["What the driver remembers"] = [memory(name, args.memory_trials) for name in ("random", "tpe")]
    return tables


def ours(sampler: str, trials: int) -> dict[str, Any]:
    """The real driver over made-up trainings."""
    with tempfile.TemporaryDirectory() as folder:
        stamps = Path(folder) / "stamps"
        run_ours(Path(folder), sampler, trials, stamps)
        return figures(stamps)


def memory(sampler: str, trials: int) -> dict[str, Any]:
    """How a driver grows."""
    with tempfile.TemporaryDirectory() as folder:
        seen = np.array(run_ours(Path(folder), sampler, trials, Path(folder) / "stamps"))
    seen = seen[seen[:, 0] >= min(MEMORY_FROM, trials // 4)]
    a_trial_kb = float(np.polyfit(seen[:, 0], seen[:, 1], 1)[0])
    return {"search": f"run_search.py, {sampler}", "trials": trials, "kB a trial": a_trial_kb, "at the end, MB": float(seen[-1, 1] / 1e3)}


def run_ours(folder: Path, sampler: str, trials: int, stamps: Path) -> list[tuple[int, int]]:
    """One search; (trials ended, resident kB of the driver) as it went."""
    space = write_space(
        folder, fixed={"train.epochs": EPOCHS}, sampler={"name": sampler, "startup_trials": STARTUP},
        scheduler={"rungs": RUNGS, "reduction_factor": FACTOR}, resources={"max_concurrent": PLACES}, budget={"trials": trials},
    )  # fmt: skip
    run, seen = folder / "run", []
    stamps.mkdir()
    os.environ[STAMPS_VARIABLE] = str(stamps)
    try:
        with driver("run_search.py", "--space", space, "--profile", "cpu", "--out", run, log=folder / "log") as live:
            began = time.monotonic()
            while (ended := num_ended(run)) < trials:
                assert live.process.poll() is None and time.monotonic() - began < PATIENCE_S, live.said()
                seen.append((ended, resident_kb(live.process.pid)))
                time.sleep(1.0)
            seen.append((ended, resident_kb(live.process.pid)))
    finally:
        del os.environ[STAMPS_VARIABLE]
    return seen


def num_ended(run: Path) -> int:
    """Trials that have ended, without parsing the ledger: the driver is being timed."""
    ledger = run / "ledger.jsonl"
    return ledger.read_bytes().count(b'{"event": "end"') if ledger.exists() else 0


def resident_kb(pid: int) -> int:
    """What a process holds in memory now."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def figures(stamps: Path) -> dict[str, Any]:
    """Gaps in seconds, and wall milliseconds a trial, from what every step said."""
    steps = [json.loads(line) for file in stamps.iterdir() for line in file.read_text(encoding="utf-8").splitlines()]
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for trial, began, ended in sorted(steps, key=lambda step: step[1]):
        first.setdefault(trial, began)
        last[trial] = ended
    starts, ends = sorted(first.values()), sorted(last.values())
    gaps = np.array(starts[PLACES:]) - np.array(ends[: len(starts) - PLACES])
    counted = slice(LEFT_OUT, None) if len(gaps) > 2 * LEFT_OUT else slice(None)
    return {
        "gaps": gaps[counted].tolist(),
        "trial_ms": 1e3 * (ends[-1] - ends[LEFT_OUT]) / (len(ends) - LEFT_OUT - 1),
        "epochs": len(steps) / len(ends),
    }


def stock_in_own_process(trials: int) -> dict[str, Any]:
    """Stock Ray Tune over the same space."""
    with tempfile.TemporaryDirectory() as folder:
        stamps = Path(folder)
        command = [sys.executable, __file__, "--stock", "--trials", str(trials)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), STAMPS_VARIABLE: folder}
        answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr[-2000:]
        return figures(stamps)


def stock(trials: int) -> None:
    """As a user of Ray Tune who knows its settings would search."""
    import ray
    import torch
    from ray import tune
    from ray.tune.schedulers import AsyncHyperBandScheduler
    from ray.tune.search.optuna import OptunaSearch

    class Stock(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self._training = MadeUp(made_up_space(fixed={"train.epochs": EPOCHS}).configure(config, seed=0), None)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            result = next(self._training)
            return {**result.figures(), "done": result.epoch == EPOCHS}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            torch.save(self._training.state(), Path(checkpoint_dir) / "state.pt")

    draw = {
        "heatmap.sigma_rel": tune.loguniform(0.02, 0.09), "augment.strength": tune.uniform(0, 2), "train.batch_size": tune.randint(2, 5),
        "train.lr": tune.loguniform(1e-4, 1e-2),
    }  # fmt: skip
    assert draw.keys() == SPACE["search"].keys()
    ray.init(num_cpus=PLACES, log_to_driver=False)
    with tempfile.TemporaryDirectory() as storage:
        tune.Tuner(
            tune.with_resources(Stock, {"cpu": 1}),
            param_space=draw,
            tune_config=tune.TuneConfig(
                metric="val_mre_mm", mode="min", num_samples=trials, max_concurrent_trials=PLACES, reuse_actors=True,
                search_alg=OptunaSearch(seed=0), scheduler=AsyncHyperBandScheduler(max_t=EPOCHS, grace_period=1, reduction_factor=FACTOR),
            ),
            run_config=tune.RunConfig(storage_path=storage, verbose=0, checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True)),
        ).fit()  # fmt: skip
    ray.shutdown()


if __name__ == "__main__":
    main()
