"""Whole live runs by the clock on real films: is searching the best thing that anybody can do with the time?

CEPH_DATA_ROOT=DIR python benchmarks/live_pipelines.py --spacing-mm 0.3 --minutes 30 --seeds 0 1 2    (nothing else should run meanwhile)
CEPH_DATA_ROOT=DIR python benchmarks/live_pipelines.py --table                                         (makes the tables of what has run)

DIR holds isbi2015/.  Every way has the same wall time on the same cores and is judged on test1, doubles out of training:

- ours: `run_search.py` as it is, from the films to the exported ensemble;
- the recipe's seeds, averaged: `python -m ceph_core train --profile cpu --validation-share 0` by one seed after the other, two at a time,
  as many as end in time, and the mean of their points;
- random search that stops nothing, with the same final stage; and ours without the final stage.

What has run is kept in .state/live_pipelines/ and not run again; a run that was cut short starts over.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import measuring
import numpy as np
from measuring import ROOT, STATE
from numpy.typing import NDArray

from ceph_core import data as datasets
from ceph_core.config import SourceConfig
from ceph_core.data.films import TrainingData
from ceph_core.inference.member import load_member
from ceph_core.inference.outputs import film_outputs
from ceph_core.inference.tta import common_of
from search import records

PAGE = ROOT / "docs" / "search.md"
WORKERS = 2
OURS, RECIPE = "ours", "the recipe's seeds, averaged"
OTHERS = {
    "random search, the same final stage": ["sampler.name=random", "scheduler.rungs=[]"],
    "ours without the final stage": ["promotion.final.networks=0", "promotion.share=0.5", "promotion.seeds=2"],
}
FINISH_S = 20.0
"""Kept by the recipe's way for reading the test films."""
_DRAWS = 2000
Errors = NDArray[np.float64]


def searched(args: Namespace, minutes: float, seed: int, folder: Path, settings: Sequence[str]) -> dict[str, Any]:
    """A whole `run_search.py`: how many networks it exported, and its ensemble's errors on test1."""
    run = folder / "run"
    command = ["run_search.py", "--profile", "cpu", "--seed", str(seed), "--out", str(run)]
    if args.quick:
        command += ["--space", "spaces/smoke.yaml", "--trials", "2"]
        settings = [*settings, "fixed.train.epochs=2", "scheduler.rungs=[0.5]", "promotion.seeds=0"]
        settings += ["promotion.final.epochs=2", "promotion.final.networks=1"]
    else:
        command += ["--space", "spaces/sigma_aug.yaml", "--data", str(source(args).root), *spacing(args), f"--hours={minutes / 60}"]
    python([*command, *(part for each in settings for part in ("--set", each))])
    loaded = records.load(run)
    np.savez_compressed(folder / "errors.npz", errors=errors_of(loaded))
    shutil.rmtree(run / "trials", ignore_errors=True)
    final = (loaded.promotion or {}).get("final")
    shown = f"{len(loaded.manifest['members'])}" + (f" x {final['epochs']} epochs" if final else "") if loaded.manifest else "–"
    return {"networks": shown, "trials": int((loaded.trials["role"] == "search").sum())}


def errors_of(run: records.Run) -> Errors:
    """(N, K) mm of a run's ensemble on the locked films."""
    test = run.predictions[run.predictions["role"] == "test"]
    spacing = run.splits.set_index("film")[["spacing_x_mm", "spacing_y_mm"]]
    points = [
        test[test["model"] == name].set_index(["film", "landmark"])[["x_px", "y_px"]] for name in (records.ENSEMBLE, records.REFERENCE)
    ]
    apart = (points[0] - points[1].reindex(points[0].index)).to_numpy() * spacing.loc[points[0].index.get_level_values("film")].to_numpy()
    found: Errors = np.linalg.norm(apart, axis=1).reshape(test["film"].nunique(), -1)
    return found


def recipe(args: Namespace, minutes: float, seed: int, folder: Path) -> dict[str, Any]:
    """The recipe by seeds of its own, as many as end in time, and the mean of their points on test1."""
    began, longest_s, ended = time.monotonic(), 0.0, list[int]()
    total_s = minutes * 60 - FINISH_S

    def one(number: int) -> None:
        nonlocal longest_s
        started = time.monotonic()
        if started - began + longest_s > total_s:
            return
        command = ["-m", "ceph_core", "train", "--profile", "cpu", "--validation-share", "0", "--out", str(folder / str(number))]
        command += ["--set", f"train.seed={1000 * (seed + 1) + number}"]
        quick = ["--epochs", "1", "--image_size", "96", "96", "--set", "heatmap.sigma_rel=0.02"]
        command += quick if args.quick else ["--data", str(source(args).root), *spacing(args)]
        python(command)
        longest_s = max(longest_s, time.monotonic() - started)
        if args.quick or time.monotonic() - began <= total_s:
            ended.append(number)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, range(1 if args.quick else 1000)))
    if not ended:
        raise SystemExit(f"no training of the recipe ends within {minutes:g} minutes; give more --minutes")
    cache = datasets.default_cache_dir()
    data = TrainingData.of(datasets.read(source(args), cache), source(args), cache)
    members = [load_member(folder / str(number) / "member") for number in sorted(ended)]
    points = np.mean([film_outputs(each, data, data.test_ids, tta=common_of([each.config])).points_px for each in members], axis=0)
    by_id = data.dataset.by_id()
    reference = np.stack([by_id[film].landmarks_px for film in data.test_ids])
    spacing_mm = np.array([by_id[film].spacing_mm for film in data.test_ids])
    np.savez_compressed(folder / "errors.npz", errors=np.linalg.norm((points - reference) * spacing_mm[:, None], axis=-1))
    return {"networks": f"{len(members)} x {members[0].config.train.epochs} epochs", "trials": 0}


def python(command: list[str]) -> None:
    """A process of one thread a training; what it says goes to stderr."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT, env=environment, stdout=sys.stderr)


def source(args: Namespace) -> SourceConfig:
    """The films of ISBI 2015, or drawn ones for the short form."""
    root = None if args.quick else Path(os.environ["CEPH_DATA_ROOT"]).absolute() / "isbi2015"
    return SourceConfig(root=root, spacing_mm=args.spacing_mm)


def spacing(args: Namespace) -> list[str]:
    """The flag, if it was given."""
    return [] if args.spacing_mm is None else [f"--spacing-mm={args.spacing_mm}"]


def ways() -> dict[str, Callable[[Namespace, float, int, Path], dict[str, Any]]]:
    """What is run, by name."""

    def search_with(settings: Sequence[str]) -> Callable[[Namespace, float, int, Path], dict[str, Any]]:
        return lambda args, minutes, seed, folder: searched(args, minutes, seed, folder, settings)

    return {OURS: search_with([]), RECIPE: recipe, **{name: search_with(settings) for name, settings in OTHERS.items()}}


def main() -> None:
    parser = measuring.arguments(__doc__)
    parser.add_argument("--spacing-mm", type=float, metavar="X", help="mm per pixel of the films, unless they are 1935 x 2400 px")
    parser.add_argument("--minutes", type=float, nargs="+", default=[30.0], metavar="M", help="wall time of each way")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N", help="one run of each way by each")
    parser.add_argument(
        "--ways", nargs="*", default=[], metavar="TEXT", help="those whose name holds one of these (none given: ours and the recipe)"
    )
    parser.add_argument("--table", action="store_true", help="run nothing")
    args = parser.parse_args()
    if not args.quick and not args.table and "CEPH_DATA_ROOT" not in os.environ:
        parser.error("CEPH_DATA_ROOT must name the folder that holds isbi2015/")
    state = STATE / ("live_pipelines_quick" if args.quick else "live_pipelines")
    if args.quick:
        shutil.rmtree(state, ignore_errors=True)
    for minutes in [] if args.table else args.minutes:
        for seed in args.seeds:
            for name, run in ways().items():
                if any(text in name for text in args.ways) or (not args.ways and name in (OURS, RECIPE)):
                    lived(args, name, run, minutes, seed, state)
    measuring.publish("live_pipelines", tables(state), args.quick, PAGE)


def lived(args: Namespace, name: str, run: Callable[..., dict[str, Any]], minutes: float, seed: int, state: Path) -> None:
    """One run of a way, unless it has been."""
    folder = state / f"{name.replace(' ', '_')}-{minutes:g}-{seed}"
    if (folder / "figures.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"{name}, seed {seed}: {minutes:g} min", file=sys.stderr, flush=True)
    began = time.monotonic()
    figures = {"way": name, "minutes": minutes, "seed": seed, **run(args, minutes, seed, folder)}
    figures["wall_s"] = time.monotonic() - began
    (folder / "figures.json").write_text(json.dumps(figures), encoding="utf-8")


def tables(state: Path) -> dict[str, list[dict[str, Any]]]:
    """A table for each budget, a row for each way; paired with the recipe over films and seeds."""
    kept = [(json.loads(file.read_text(encoding="utf-8")), file.parent) for file in sorted(state.glob("*/figures.json"))]
    result: dict[str, list[dict[str, Any]]] = {}
    for minutes in sorted({figures["minutes"] for figures, _ in kept}):
        rows = []
        errors: dict[str, list[Errors]] = {}
        for name in ways():
            own = [(figures, folder) for figures, folder in kept if (figures["minutes"], figures["way"]) == (minutes, name)]
            if not own:
                continue
            errors[name] = [np.load(folder / "errors.npz")["errors"] for _, folder in own]
            rows.append(
                {
                    "way": name,
                    "runs": str(len(own)),
                    "test1 MRE, mm": ", ".join(f"{each.mean():.3f}" for each in errors[name]),
                    "SDR at 2 mm, %": ", ".join(f"{100 * (each <= 2).mean():.1f}" for each in errors[name]),
                    "networks": ", ".join(figures["networks"] for figures, _ in own),
                    "trials": ", ".join(str(figures["trials"]) for figures, _ in own),
                    "wall time, min": ", ".join(f"{figures['wall_s'] / 60:.1f}" for figures, _ in own),
                    "MRE less the recipe's, mm [95 %]": "–" if name == RECIPE else "",
                }
            )
        for row in rows:
            if row["way"] != RECIPE and RECIPE in errors:
                mean, low, high = paired(errors[row["way"]], errors[RECIPE])
                row["MRE less the recipe's, mm [95 %]"] = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
        result[f"{minutes:g} minutes of {WORKERS} cores, one figure for each run; intervals: films and runs drawn again"] = rows
    return result


def paired(ours: Sequence[Errors], theirs: Sequence[Errors]) -> tuple[float, float, float]:
    """Mean difference of the MRE and its 95 % interval, the films drawn again for both, the runs for each."""
    random = np.random.default_rng(0)
    by_film = [np.stack([each.mean(axis=1) for each in runs]) for runs in (ours, theirs)]  # (runs, N)
    draws = []
    for _ in range(_DRAWS):
        films = random.integers(0, by_film[0].shape[1], by_film[0].shape[1])
        means = [runs[random.integers(0, len(runs), len(runs))][:, films].mean() for runs in by_film]
        draws.append(means[0] - means[1])
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(by_film[0].mean() - by_film[1].mean()), float(low), float(high)


if __name__ == "__main__":
    main()
