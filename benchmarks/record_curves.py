"""Learning curves of the cpu profile's search space on real films, to be searched again in simulated time.

CEPH_DATA_ROOT=DIR python benchmarks/record_curves.py --spacing-mm 0.3       (resumable; a minute a training and core)

DIR holds isbi2015/.  Configurations are spread evenly over benchmarks/curves/space.yaml (cpu profile), the baseline first; each is trained
by each seed (the baseline by more, see pipelines.py) on the training films and validated after every epoch, as a search would.  What is
kept: benchmarks/curves/isbi2015.parquet, a row a training and epoch; isbi2015_errors.npz, what each network's points are off by, in mm,
on validation and test films (no film, no landmark).  Doubles of test films are out of training.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import pandas as pd
import torch
from measuring import ROOT, STATE
from numpy.typing import NDArray

from ceph_core import data as datasets
from ceph_core.config import SourceConfig
from ceph_core.config.keys import apply
from ceph_core.data.films import TrainingData
from ceph_core.inference.member import make_member
from ceph_core.inference.outputs import film_outputs
from ceph_core.inference.tta import common_of
from ceph_core.training.trainer import Training
from search.sampler import Sampler
from search.space import Space, load

KEPT = ROOT / "benchmarks" / "curves"
SPACE = KEPT / "space.yaml"


def configurations(space: Space, number: int) -> list[dict[str, Any]]:
    """The baseline and points of one Sobol sequence over the space."""
    sampler = Sampler(space.knobs, space.start_from, "qmc", seed=0)
    return [sampler.ask(place) for place in range(number)]


def residuals_mm(training: Training, data: TrainingData, film_ids: tuple[str, ...]) -> NDArray[np.float16]:
    """(N, K, 2) of a trained network's points, read as its configuration says."""
    config = training.config
    opened = data.open(config.data.image_size)
    rows = opened.rows(film_ids)
    close = data.close_canvas(config.data.image_size, config.data.zoom)
    member = make_member(config, opened.canvas, training.learner.ema.net, len(data.dataset.protocol), close=close)
    outputs = film_outputs(member, data, film_ids, tta=common_of([config]))
    return ((outputs.points_px - opened.landmarks_px[rows]) * opened.spacing_mm[rows][:, None]).astype(np.float16)


def record(place: int, seed: int, source: SourceConfig, folder: Path, changes: Mapping[str, Any] | None = None) -> None:
    """Train one configuration, with changed keys, and keep what it showed."""
    torch.set_num_threads(1)
    space = load(SPACE, "cpu")
    values = configurations(space, place + 1)[place]
    config = apply(space.configure(values, seed=seed), changes or {})
    cache = datasets.default_cache_dir()
    data = TrainingData.of(datasets.read(source, cache), source, cache)
    training = Training(config, data, device=torch.device("cpu"))
    rows = []
    for result in training:
        rows.append(
            {
                "config": place, "seed": seed, "epoch": result.epoch, "value": result.val.mre_mm, "seconds": result.seconds,
                "image_size": result.image_size, "peak_memory_mb": result.peak_memory_mb, "films_per_s": result.films_per_s,
                **values,
            }
        )  # fmt: skip
    name = f"{place:03d}-{seed}"
    np.savez_compressed(
        folder / f"{name}.npz",
        validation=residuals_mm(training, data, data.validation_ids), test=residuals_mm(training, data, data.test_ids),
    )  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")


def gather(folder: Path) -> pd.DataFrame:
    """Put what is there, and what was kept before, into the two files; the table."""
    KEPT.mkdir(exist_ok=True)
    table_file, errors_file = KEPT / "isbi2015.parquet", KEPT / "isbi2015_errors.npz"
    rows = [row for file in sorted(folder.glob("*.json")) for row in json.loads(file.read_text(encoding="utf-8"))]
    tables = [pd.read_parquet(table_file)] if table_file.exists() else []
    table = pd.concat([*tables, pd.DataFrame(rows)], ignore_index=True).drop_duplicates(["config", "seed", "epoch"], keep="last")
    table = table.sort_values(["seed", "config", "epoch"]).reset_index(drop=True)
    errors: dict[str, Any] = {}
    if errors_file.exists():
        with np.load(errors_file) as kept:
            errors = dict(kept)
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as found:
            errors |= {f"{file.stem}/{split}": found[split] for split in ("validation", "test")}
    table.to_parquet(table_file, index=False, compression="zstd")
    np.savez_compressed(errors_file, **errors)
    return table


def main() -> None:
    parser = measuring.arguments(__doc__)
    parser.add_argument("--spacing-mm", type=float, metavar="X", help="mm per pixel of the films, unless they are 1935 x 2400 px")
    parser.add_argument("--configs", type=int, default=64, metavar="N", help="configurations, the baseline among them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], metavar="N", help="trainings of each, one seed after the other")
    parser.add_argument("--baseline-seeds", type=int, default=14, metavar="N", help="trainings of the baseline, by seeds from 0")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="trainings at a time, of one thread each")
    parser.add_argument("--minutes", type=float, default=float("inf"), metavar="M", help="begin no training after so long")
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if "CEPH_DATA_ROOT" not in os.environ:
        parser.error("CEPH_DATA_ROOT must name the folder that holds isbi2015/")
    source = SourceConfig(root=Path(os.environ["CEPH_DATA_ROOT"]).absolute() / "isbi2015", spacing_mm=args.spacing_mm)
    folder = STATE / "curves"
    folder.mkdir(parents=True, exist_ok=True)
    if args.one:
        record(*args.one, source, folder)
        return
    run_missing(args, folder)
    table = gather(folder)
    print(table.groupby("seed")["config"].nunique().rename("configurations").to_string())


def run_missing(args: Namespace, folder: Path) -> None:
    """Those that are neither kept nor in the state, in order, a process each."""
    kept = KEPT / "isbi2015.parquet"
    done = set(map(tuple, pd.read_parquet(kept)[["config", "seed"]].drop_duplicates().to_numpy().tolist())) if kept.exists() else set()
    jobs = [(place, seed) for seed in args.seeds for place in range(args.configs)]
    jobs += [(0, seed) for seed in range(args.baseline_seeds) if (0, seed) not in jobs]
    left = [job for job in jobs if job not in done and not (folder / f"{job[0]:03d}-{job[1]}.json").exists()]
    print(f"{len(jobs) - len(left)} of {len(jobs)} trainings are there", file=sys.stderr, flush=True)
    began = time.monotonic()

    def one(job: tuple[int, int]) -> None:
        if time.monotonic() - began > args.minutes * 60:
            return
        spacing = [] if args.spacing_mm is None else [f"--spacing-mm={args.spacing_mm}"]
        command = [sys.executable, __file__, "--one", *map(str, job), *spacing]
        started = time.monotonic()
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
        print(f"configuration {job[0]}, seed {job[1]}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(args.processes) as pool:
        list(pool.map(one, left))


if __name__ == "__main__":
    main()
