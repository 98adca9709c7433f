"""One live run of each way that pipelines.py replays: real trainings, the same clock for all, judged on test1.

CEPH_DATA_ROOT=DIR python benchmarks/live_pipelines.py --spacing-mm 0.3     (resumable, way by way; nothing else should run meanwhile)

DIR holds isbi2015/.  A way has the wall time of each of the replays' `--budgets` on two workers, with what `FINISH_S` keeps for the export.
A single run says little: the replays' spread says how little.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import curve_tasks
import measuring
import numpy as np
from measuring import ROOT, STATE
from pipelines import BUDGETS, OTHERS, OURS, PAGE, WORKERS
from record_curves import record

from ceph_core.config import SourceConfig
from search.cost import FINISH_S
from search.replay.summary import unit_seconds

FIRST_SEED = 1000
"""Of the baseline's trainings: none of those that were recorded."""
FOLDERS = dict(zip((next(iter(OURS)), *OTHERS), ("ours", "random", "baseline", "one"), strict=True))
Figures = dict[str, Any]


def searched(args: Namespace, total_s: float, run: Path, settings: list[str]) -> Figures:
    """A whole `run_search.py`, and what its ensemble did on test1."""
    command = ["run_search.py", "--profile", "cpu", "--seed", str(args.seed), "--out", str(run)]
    if args.quick:
        command += ["--space", "spaces/smoke.yaml", "--trials=2"]
        settings = [*settings, "fixed.train.epochs=3", "promotion.seeds=0"]
    else:
        command += ["--space", "spaces/sigma_aug.yaml", "--data", str(films_of(args).root), *spacing(args)]
        command += ["--trials=1000", f"--hours={total_s / 3600}"]
    began = time.monotonic()
    python([*command, *(part for each in settings for part in ("--set", each))])
    took_s = time.monotonic() - began
    begun = sum(json.loads(line)["event"] == "trial" for line in (run / "ledger.jsonl").read_text(encoding="utf-8").splitlines())
    manifest = json.loads((run / "ensemble" / "manifest.json").read_text(encoding="utf-8"))
    test_mm = manifest["figures"]["test"]["ensemble"]["mre_mm"]
    return {"test_mm": test_mm, "trained": begun, "members": len(manifest["members"]), "wall_s": took_s}


def baseline(args: Namespace, total_s: float, folder: Path, most: int) -> Figures:
    """The baseline's setting by one seed after the other, as many as end in time up to `most`, and the mean of their points."""
    folder.mkdir(parents=True)
    began, longest_s, ended = time.monotonic(), 0.0, list[int]()

    def one(seed: int) -> None:
        nonlocal longest_s
        started = time.monotonic()
        if started - began + longest_s > total_s - FINISH_S:
            return
        python([__file__, "--one", str(seed), "--folder", str(folder), *spacing(args), *(["--quick"] if args.quick else [])])
        longest_s = max(longest_s, time.monotonic() - started)
        if time.monotonic() - began <= total_s - FINISH_S:
            ended.append(seed)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, range(FIRST_SEED, FIRST_SEED + most)))
    if not ended:
        raise SystemExit(f"no training of the baseline ends within {total_s - FINISH_S:.0f} s; give more --budgets")
    errors = [np.load(folder / f"000-{seed}.npz")["test"].astype(np.float64) for seed in sorted(ended)]
    mean = float(np.linalg.norm(np.mean(errors, axis=0), axis=-1).mean())
    return {"test_mm": mean, "trained": len(ended), "members": len(ended), "wall_s": time.monotonic() - began}


def python(command: list[str]) -> None:
    """A process of one thread a training; what it says goes to stderr."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT, env=environment, stdout=sys.stderr)


def films_of(args: Namespace) -> SourceConfig:
    """The films of ISBI 2015, or drawn ones for the short form."""
    root = None if args.quick else Path(os.environ["CEPH_DATA_ROOT"]).absolute() / "isbi2015"
    return SourceConfig(root=root, spacing_mm=args.spacing_mm)


def spacing(args: Namespace) -> list[str]:
    """The flag, if it was given."""
    return [] if args.spacing_mm is None else [f"--spacing-mm={args.spacing_mm}"]


def ways(args: Namespace, total_s: float) -> dict[str, Callable[[Path], Figures]]:
    """What is run, by the names of the replays."""
    # No rungs, nothing trained anew, and no more time kept than the export needs.
    random = ["sampler.name=random", "scheduler.rungs=[]", "promotion.candidates=100", "promotion.seeds=0"]
    random.append(f"promotion.share={FINISH_S / total_s}")
    most = 1 if args.quick else 100
    return {
        next(iter(OURS)): lambda folder: searched(args, total_s, folder, []),
        OTHERS[0]: lambda folder: searched(args, total_s, folder, random),
        OTHERS[1]: lambda folder: baseline(args, total_s, folder, most),
        OTHERS[2]: lambda folder: baseline(args, total_s, folder, 1),
    }


def main() -> None:
    parser = measuring.arguments(__doc__)
    parser.add_argument("--spacing-mm", type=float, metavar="X", help="mm per pixel of the films, unless they are 1935 x 2400 px")
    parser.add_argument(
        "--budgets", type=float, nargs="+", default=list(BUDGETS), metavar="N", help="trainings to the end that the time buys"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the searches")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.quick and "CEPH_DATA_ROOT" not in os.environ:
        parser.error("CEPH_DATA_ROOT must name the folder that holds isbi2015/")
    if args.one is not None:
        record(0, args.one, films_of(args), args.folder, {"train.epochs": 1} if args.quick else None)
        return
    tables = dict(lived(args, trainings) for trainings in (args.budgets[:1] if args.quick else args.budgets))
    measuring.publish("live_pipelines", tables, args.quick, PAGE)


def lived(args: Namespace, trainings: float) -> tuple[str, list[dict[str, Any]]]:
    """All ways with the time of so many trainings, those left that have not run: a title and a row a way."""
    total_s = trainings * unit_seconds(curve_tasks.recorded_films(0)) / WORKERS + FINISH_S
    state = STATE / ("live_pipelines_quick" if args.quick else f"live_pipelines_{trainings:g}_{args.seed}")
    if args.quick:
        shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, run in ways(args, total_s).items():
        kept = state / f"{FOLDERS[name]}.json"
        if not kept.exists():
            print(f"{name}: {total_s / 60:.1f} min", file=sys.stderr, flush=True)
            folder = state / FOLDERS[name]
            shutil.rmtree(folder, ignore_errors=True)  # one that was cut short has used its clock
            kept.write_text(json.dumps(run(folder)), encoding="utf-8")
        found = json.loads(kept.read_text(encoding="utf-8"))
        rows.append(
            {
                "way": name, "test1 MRE, mm": f"{found['test_mm']:.3f}", "members": found["members"], "trainings begun": found["trained"],
                "wall time, min": f"{found['wall_s'] / 60:.1f}",
            }
        )  # fmt: skip
    return f"One live run of each at the time of {trainings:g} trainings, {total_s / 60:.1f} min", rows


if __name__ == "__main__":
    main()
