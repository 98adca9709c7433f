"""Trainings of several lengths in held-out folds: what decides the recipe, and what the final stage plans by.

CEPH_DATA_ROOT=DIR python benchmarks/record_long.py --spacing-mm 0.3                (resumable; 3 to 15 minutes a training and core)
CEPH_DATA_ROOT=DIR python benchmarks/record_long.py --table                         (makes the table of what is kept)

DIR holds isbi2015/.  Each setting is what the cpu profile ships, but for what its name says, trained for each of its lengths on four fifths
of the training films and judged on the fifth, read with the profile's own views.  Doubles of test1 are out, and test1 decides nothing.
Augmentation at 20 epochs is that of a search's trial, at more epochs what `search.candidates.longer` makes of it.  Kept: the learning curve
and the points' errors, in benchmarks/curves/isbi2015_long.npz.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import torch
from measuring import ROOT, STATE
from record_curves import KEPT, residuals_mm

from ceph_core import data as datasets
from ceph_core.config import Config, SourceConfig, apply
from ceph_core.config.profiles import profile
from ceph_core.data.films import TrainingData
from ceph_core.training.trainer import Training
from search.candidates import longer

PAGE = ROOT / "docs" / "recipe.md"
FILE = KEPT / "isbi2015_long.npz"
CROSS_ENTROPY = {"heatmap.loss": "cross_entropy", "heatmap.sigma_rel": 0.007}
ADAPTIVE_WING = {"heatmap.loss": "adaptive_wing", "heatmap.sigma_rel": 0.010}
SETTINGS: dict[str, Mapping[str, Any]] = {
    "one pass": {**CROSS_ENTROPY, "data.zoom": 1.0},
    "two passes": {**CROSS_ENTROPY, "data.zoom": 1.5},
    "two passes, adaptive wing": {**ADAPTIVE_WING, "data.zoom": 1.5},
}
SHORT, STRENGTH = 20, 0.6
"""Epochs of a search's trial, and the strength of its augmentation."""


@dataclass(frozen=True)
class Job:
    """One training; `fold` validates."""

    setting: str
    epochs: int
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """Stem of the names of its files."""
        return f"{self.setting.replace(', ', '-').replace(' ', '-')}-{self.epochs}-{self.fold}-{self.seed}"

    def config(self, quick: bool) -> Config:
        """The whole training."""
        short = apply(profile("cpu"), {"augment.recipe": "measured", "augment.strength": STRENGTH, "train.epochs": SHORT, **_unset})
        made = longer(apply(short, {**SETTINGS[self.setting], "train.seed": self.seed}), self.epochs)
        return apply(made, {"train.epochs": 1, "data.image_size": 96, "heatmap.sigma_rel": 0.03}) if quick else made


_unset = dict.fromkeys(("augment.elastic", "augment.gamma", "augment.cutout_p"))


def record(job: Job, source: SourceConfig, folder: Path, quick: bool) -> None:
    """Train, and keep what it showed."""
    torch.set_num_threads(1)
    cache = datasets.default_cache_dir()
    data = TrainingData.of(datasets.read(source, cache), source, cache).with_fold(job.fold)
    training = Training(job.config(quick), data, device=torch.device("cpu"))
    began = time.process_time()
    curve = [(result.epoch, result.val.mre_mm, result.seconds) for result in training if result.validated]
    np.savez_compressed(
        folder / f"{job.name}.npz", curve=np.array(curve), cpu_s=time.process_time() - began, strength=training.config.augment.strength,
        validation=residuals_mm(training, data, data.validation_ids), test=residuals_mm(training, data, data.test_ids),
    )  # fmt: skip


def gather(folder: Path) -> dict[str, Any]:
    """All that is kept, with what this machine has trained since."""
    found: dict[str, Any] = {}
    if FILE.exists():
        with np.load(FILE) as kept:
            found = dict(kept)
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as own:
            found |= {f"{file.stem}/{key}": own[key] for key in own.files}
    return found


def rows(found: Mapping[str, Any]) -> Iterator[measuring.Row]:
    """A row for each setting and length."""
    names = sorted({key.split("/")[0] for key in found})
    for setting in SETTINGS:
        for epochs in sorted({int(name.split("-")[-3]) for name in names}):
            own = [name for name in names if name.startswith(Job(setting, epochs, 0, 0).name[: -len("0-0")])]
            if own:
                errors = [np.linalg.norm(found[f"{name}/validation"].astype(float), axis=-1) for name in own]
                yield {
                    "setting": setting,
                    "epochs": str(epochs),
                    "held-out MRE, mm": ", ".join(f"{each.mean():.3f}" for each in errors),
                    "SDR at 2 mm, %": ", ".join(f"{100 * (each <= 2).mean():.1f}" for each in errors),
                    "strength": ", ".join(f"{float(found[f'{name}/strength']):.2f}" for name in own),
                    "fold, seed": ", ".join(" ".join(name.split("-")[-2:]) for name in own),
                    "core minutes": ", ".join(f"{float(found[f'{name}/cpu_s']) / 60:.1f}" for name in own),
                }


def main() -> None:
    parser = measuring.arguments(__doc__)
    parser.add_argument("--spacing-mm", type=float, metavar="X", help="mm per pixel of the films, unless they are 1935 x 2400 px")
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS), metavar="NAME", help="which of them")
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 50, 100], metavar="N", help="epochs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], metavar="N", help="a seed's fold is the seed modulo 5")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="trainings at a time, of one thread each")
    parser.add_argument("--table", action="store_true", help="train nothing")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.quick and not args.table and "CEPH_DATA_ROOT" not in os.environ:
        parser.error("CEPH_DATA_ROOT must name the folder that holds isbi2015/")
    folder = STATE / ("long_quick" if args.quick else "long")
    folder.mkdir(parents=True, exist_ok=True)
    if args.one:
        record(Job(args.one[0], *map(int, args.one[1:])), source(args), folder, args.quick)
        return
    if args.quick:
        args.settings, args.lengths, args.seeds = args.settings[1:2], [20], [0]
        (folder / f"{Job(args.settings[0], 20, 0, 0).name}.npz").unlink(missing_ok=True)
    if not args.table:
        run_missing(args, folder)
    found = gather(folder)
    if not args.quick:
        np.savez_compressed(FILE, **found)
    measuring.publish("record_long", {"Held-out folds, one figure for each training": list(rows(found))}, args.quick, PAGE)


def source(args: Namespace) -> SourceConfig:
    """The films of ISBI 2015, or drawn ones for the short form."""
    root = None if args.quick else Path(os.environ["CEPH_DATA_ROOT"]).absolute() / "isbi2015"
    return SourceConfig(root=root, spacing_mm=args.spacing_mm)


def run_missing(args: Namespace, folder: Path) -> None:
    """Those that are neither kept nor in the state, in order, a process each."""
    kept = {key.split("/")[0] for key in gather(folder)} if not args.quick else set()
    jobs = [Job(setting, epochs, seed % 5, seed) for seed in args.seeds for epochs in args.lengths for setting in args.settings]

    def one(job: Job) -> None:
        parts = [job.setting, *map(str, (job.epochs, job.fold, job.seed))]
        given = [*(["--quick"] if args.quick else []), *([] if args.spacing_mm is None else [f"--spacing-mm={args.spacing_mm}"])]
        started = time.monotonic()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, __file__, *given, "--one", *parts], check=True, env=environment)
        print(json.dumps({**vars(job), "seconds": round(time.monotonic() - started)}), file=sys.stderr, flush=True)

    with ThreadPoolExecutor(args.processes) as pool:
        list(pool.map(one, [job for job in jobs if job.name not in kept]))


if __name__ == "__main__":
    main()
