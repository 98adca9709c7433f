"""What each part of the training recipe brings on real films: a screening of all, then pairs of seeds for what looks clear.

CEPH_DATA_ROOT=DIR python benchmarks/recipe.py --spacing-mm 0.3 --stage screen      (32 runs, about an hour on two cores)
CEPH_DATA_ROOT=DIR python benchmarks/recipe.py --spacing-mm 0.3 --stage pairs       (five runs a technique)
CEPH_DATA_ROOT=DIR python benchmarks/recipe.py --spacing-mm 0.3 --stage score       (trains nothing: what is done after training)
CEPH_DATA_ROOT=DIR python benchmarks/recipe.py --spacing-mm 0.3 --stage whole       (whole recipes at 256 px, five runs each, half an hour)
CEPH_DATA_ROOT=DIR python benchmarks/recipe.py --spacing-mm 0.3 --stage tables      (makes the tables of what has run)

DIR holds isbi2015/.  Judged on held-out folds of the training films without those that test1 shows again; test1 is not looked at.
What has run is kept in .state/recipe/ and not run again.
"""

import json
import os
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import after_training
import torch
from measuring import RESULTS, ROOT, STATE, Row, arguments, publish
from screening import Design, Effect, paired
from techniques import ALONE, BASE, TECHNIQUES, WHOLE, Technique

from ceph_core import data as datasets
from ceph_core.config import Config, SourceConfig, apply
from ceph_core.data.films import TrainingData
from ceph_core.data.phantom import write
from ceph_core.training.snapshots import SNAPSHOT_FOLDER, Snapshots
from ceph_core.training.trainer import Training

PAGE = ROOT / "docs" / "recipe.md"
PAIRS = 5
SCREENING, PAIRED, NOTHING = "screening, % of MRE", "pairs, % of MRE", "–"
NUM_RUNS, EPOCHS = 32, 60
PAIRS_FILE = RESULTS / "recipe_pairs.json"
OFF = "off"


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        name: of its file.
        changes: to `BASE`, by dotted key.
        fold: that validates.
        keeps: whether its last weights and snapshots stay, for what is scored without training.
    """

    name: str
    changes: Mapping[str, Any]
    fold: int
    seed: int
    keeps: bool = False

    def config(self, quick: bool) -> Config:
        """The whole configuration."""
        length = {"train.epochs": 2, "data.image_size": 64, "heatmap.sigma_rel": 0.03} if quick else {"train.epochs": EPOCHS}
        return apply(Config(), {**BASE, **length, "train.seed": self.seed, "train.snapshots": 5 if self.keeps else 0, **self.changes})


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--spacing-mm", type=float, metavar="X", help="mm per pixel of the films, unless they are 1935 x 2400 px")
    parser.add_argument(
        "--stage", choices=("screen", "pairs", "score", "whole", "tables"), default="tables", help="what is run before the tables are made"
    )
    parser.add_argument(
        "--techniques", nargs="*", default=[], metavar="TEXT", help="only techniques or recipes whose name holds one of these"
    )
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="trainings at a time, of one thread each")
    parser.add_argument("--job", type=Path, metavar="FILE", help="run one training (what the processes do)")
    args = parser.parse_args()
    if args.quick:
        _quick(args)
        return
    folder = STATE / "recipe"
    if args.job:
        _train(Job(**json.loads(args.job.read_text(encoding="utf-8"))), _films(args), folder, quick=False)
        return
    if args.stage == "screen":
        _run(screening_jobs(_design(TECHNIQUES, NUM_RUNS), TECHNIQUES), folder, args)
    elif args.stage == "pairs":
        _run(pair_jobs(_wanted(folder, args.techniques)), folder, args)
    elif args.stage == "score":
        _score(_films(args), folder)
    elif args.stage == "whole":
        _run(whole_jobs(args.techniques or ()), folder, args)
    _publish(folder, NUM_RUNS, TECHNIQUES, quick=False)


def _design(techniques: Mapping[str, Technique], num_runs: int) -> Design:
    return Design(list(techniques), num_runs)


def screening_jobs(design: Design, techniques: Mapping[str, Technique]) -> list[Job]:
    """One a row of the design."""
    jobs = []
    for run in range(len(design.signs)):
        changes = {key: value for name in design.on(run) for key, value in techniques[name].changes.items()}
        jobs.append(Job(f"screen-{run:02d}", changes, int(design.block[run]), seed=100 + run))
    return jobs


def pair_jobs(names: Sequence[str]) -> list[Job]:
    """The base and each technique alone, by seed: seeds are folds in turn."""
    every: dict[str, Mapping[str, Any]] = {OFF: {}, **{name: (TECHNIQUES | ALONE)[name].changes for name in names}}
    return [
        Job(f"pair-{_slug(name)}-{seed}", changes, seed % 5, seed, keeps=name == OFF)
        for seed in range(PAIRS)
        for name, changes in every.items()
    ]


def whole_jobs(texts: Sequence[str] = ()) -> list[Job]:
    """Whole recipes, all or those named, by seed: seeds are folds in turn."""
    return [
        Job(f"whole-{_slug(name)}-{seed}", changes, seed % 5, seed, keeps=True)
        for seed in range(PAIRS)
        for name, changes in WHOLE.items()
        if not texts or any(text in name for text in texts)
    ]


def _wanted(folder: Path, texts: Sequence[str]) -> list[str]:
    """Techniques to look at in pairs: those named, or all that the screening found clear and all it had no place for."""
    if texts:
        return [name for name in (*TECHNIQUES, *ALONE) if any(text in name for text in texts)]
    screened = _screened(folder, NUM_RUNS, TECHNIQUES)
    return [*(effect.name for effect in screened if effect.is_clear), *ALONE]


def _run(jobs: Sequence[Job], folder: Path, args: Namespace) -> None:
    """Those that have not run yet, a few at a time, a process each: two of one thread train half as many films again as one of two."""
    left = [job for job in jobs if not (folder / f"{job.name}.json").exists() and job.name not in _pairs_before()]
    print(f"{len(jobs) - len(left)} of {len(jobs)} trainings are there", file=sys.stderr, flush=True)

    def one(job: Job) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            file.write(json.dumps(asdict(job)))
            file.flush()
            spacing = [] if args.spacing_mm is None else [f"--spacing-mm={args.spacing_mm}"]
            command = [sys.executable, __file__, "--job", file.name, *spacing]
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})

    with ThreadPoolExecutor(args.processes) as pool:
        for _ in pool.map(one, left):
            pass


def _score(films: TrainingData, folder: Path) -> None:
    """Every way to read the base's networks, each on its own fold."""
    for seed in range(PAIRS):
        own, file = folder / f"pair-{OFF}-{seed}", folder / f"score-{seed}.json"
        if own.is_dir() and not file.exists():
            found = after_training.errors_mm(own, films.with_fold(seed % 5))
            file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _scored(folder: Path) -> list[Row]:
    """What is done after training, over the same networks without it."""
    told = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("score-*.json"))]
    rows: list[Row] = []
    for name, claim in after_training.CLAIMS.items():
        on = {seed: found[name] for seed, found in enumerate(told) if name in found}
        if len(on) > 1:
            effect = paired(on, {seed: found[after_training.AS_TRAINED] for seed, found in enumerate(told)})
            cell = f"{effect.percent:+.1f} ± {effect.standard_error:.1f} ({len(on)})"
            rows.append({"after training": name, "the guide says": claim, "% of MRE": cell, "verdict": _verdict(effect, None)})
    return rows


def _compared(folder: Path, published: Sequence[Row]) -> list[Row]:
    """Whole recipes over those before them, read with their own decoders and views; as published where this machine has none."""
    before = {row["recipe"]: row for row in published}
    told: dict[str, dict[int, dict[str, Any]]] = {}
    rows: list[Row] = []
    for name in WHOLE:
        files = {seed: folder / f"whole-{_slug(name)}-{seed}.json" for seed in range(PAIRS)}
        by_seed = {seed: json.loads(file.read_text(encoding="utf-8")) for seed, file in files.items() if file.exists()}
        errors = {seed: each["read"]["mre_mm"] for seed, each in by_seed.items()}
        against = []
        for other, each in told.items():
            theirs = {seed: found["read"]["mre_mm"] for seed, found in each.items()}
            if (count := len(errors.keys() & theirs.keys())) > 1:
                effect = paired(errors, theirs)
                against.append(f"{effect.percent:+.1f} ± {effect.standard_error:.1f} ({count}) of {other}")
        told[name] = by_seed
        if len(errors) > 1 and (against or name not in before):
            rows.append(
                {
                    "recipe": name,
                    "MRE, mm": f"{mean(errors.values()):.3f}",
                    "SDR at 2 mm, %": f"{mean(each['read']['sdr_2mm'] for each in by_seed.values()):.1f}",
                    "one pass, MRE, mm": f"{mean(each['mre_mm'] for each in by_seed.values()):.3f}",
                    "% of MRE": "; ".join(against) or NOTHING,
                }
            )
        elif name in before:
            rows.append(before[name])
    return rows


def _films(args: Namespace) -> TrainingData:
    root = os.environ.get("CEPH_DATA_ROOT")
    if root is None:
        raise SystemExit("CEPH_DATA_ROOT: the folder that holds isbi2015/ is not named")
    return _open(SourceConfig(format="isbi2015", root=Path(root) / "isbi2015", spacing_mm=args.spacing_mm))


def _open(source: SourceConfig) -> TrainingData:
    cache = datasets.default_cache_dir()
    return TrainingData.of(datasets.read(source, cache), source, cache)


def _train(job: Job, films: TrainingData, folder: Path, quick: bool) -> None:
    torch.set_num_threads(1)
    config, data = job.config(quick), films.with_fold(job.fold)
    training = Training(config, data, device=torch.device("cpu"))
    own = folder / job.name
    snapshots = Snapshots(own / SNAPSHOT_FOLDER, config)
    curve, passes = [], 0
    for result in training:
        passes += len(data.train_ids)
        training.offer(snapshots, result)
        if result.validated:
            curve.append({key: value for key, value in result.figures().items() if isinstance(value, int | float)})
            print(
                f"{job.name}: epoch {result.epoch}, {result.val.mre_mm:.3f} mm, {result.films_per_s:.0f} films/s",
                file=sys.stderr,
                flush=True,
            )
    told = {**asdict(job), "passes": passes, "curve": curve, "mre_mm": curve[-1]["val_mre_mm"], "sdr_2mm": curve[-1]["val_sdr_2mm"]}
    if job.keeps:
        training.save(own)
        told["read"] = after_training.own_reading(own, data)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{job.name}.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    training.close()


def _screened(folder: Path, num_runs: int, techniques: Mapping[str, Technique]) -> list[Effect]:
    """Effects of the screening; none before all of it has run."""
    files = [folder / f"screen-{run:02d}.json" for run in range(num_runs)]
    if not all(file.exists() for file in files):
        return []
    errors = [_capped(json.loads(file.read_text(encoding="utf-8"))["mre_mm"]) for file in files]
    return _design(techniques, num_runs).effects(errors)


def _capped(error_mm: float) -> float:
    """A run that diverged counts as one that learned nothing."""
    return error_mm if error_mm == error_mm else 10.0


def _paired(folder: Path, techniques: Mapping[str, Technique]) -> dict[str, tuple[Effect, int]]:
    """Effect and number of pairs of every technique that was run in pairs."""

    def errors(name: str) -> dict[int, float]:
        names = {seed: f"pair-{_slug(name)}-{seed}" for seed in range(PAIRS)}
        return {seed: _capped(known[job]) for seed, job in names.items() if job in known}

    known = {**_pairs_before(), **_pairs_of(folder)}
    off = errors(OFF)
    found = {name: errors(name) for name in techniques}
    return {name: (paired(on, off), len(on.keys() & off.keys())) for name, on in found.items() if len(on.keys() & off.keys()) > 1}


def _pairs_of(folder: Path) -> dict[str, float]:
    """Validation MRE, mm, of every run of a pair that this machine has done."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8"))["mre_mm"] for file in sorted(folder.glob("pair-*.json"))}


def _pairs_before() -> dict[str, float]:
    """The same of what was published: half-done pairs go on elsewhere."""
    return json.loads(PAIRS_FILE.read_text(encoding="utf-8")) if PAIRS_FILE.exists() else {}


def _publish(folder: Path, num_runs: int, techniques: Mapping[str, Technique], quick: bool) -> None:
    every = techniques | ALONE
    screened = {effect.name: effect for effect in _screened(folder, num_runs, techniques)}
    pairs = _paired(folder, every)
    rows: list[Row] = []
    for name, technique in every.items():
        screen, (pair, count) = screened.get(name), pairs.get(name, (None, 0))
        rows.append(
            {
                "technique": name,
                "the guide or its source says": technique.claim,
                SCREENING: NOTHING if screen is None else f"{screen.percent:+.1f} ± {screen.standard_error:.1f}",
                PAIRED: NOTHING if pair is None else f"{pair.percent:+.1f} ± {pair.standard_error:.1f} ({count})",
                "verdict": _verdict(screen, pair) if pair is None or count == PAIRS else f"{PAIRS - count} pairs to go",
            }
        )
    title = f"Training: {num_runs} runs in one design, then pairs of seeds; negative: better; ± one standard error"
    published = {} if quick or not (file := RESULTS / "recipe.json").exists() else json.loads(file.read_text(encoding="utf-8"))["tables"]
    rows = [_kept(row, each) for row, each in zip(rows, _rows_before(published.get(title, []), rows), strict=True)]
    rows.sort(key=lambda row: float(row[SCREENING].split()[0]) if row[SCREENING] != NOTHING else 99.0)
    tables = {**published, title: rows}
    if scored := _scored(folder):
        tables["After training: the same networks, read in another way"] = scored
    whole = "Whole recipes at 256 px, 100 epochs, in held-out folds, each with its own decoder and views"
    if compared := _compared(folder, published.get(whole, [])):
        tables[whole] = compared
    publish("recipe", tables, quick, PAGE)
    if not quick:
        PAIRS_FILE.write_text(json.dumps({**_pairs_before(), **_pairs_of(folder)}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _rows_before(published: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    by_name = {row["technique"]: row for row in published}
    return [by_name.get(row["technique"], row) for row in rows]


def _kept(row: Row, before: Row) -> Row:
    """A row with the figures published before wherever this machine's `.state` has none."""
    found = {**row, **{column: before[column] for column in (SCREENING, PAIRED) if row[column] == NOTHING}}
    return {**found, "verdict": row["verdict"] if row[PAIRED] != NOTHING else before["verdict"] if found != row else row["verdict"]}


def _verdict(screen: Effect | None, pair: Effect | None) -> str:
    judged = pair if pair is not None else screen
    if judged is None:
        return "not run"
    if not judged.is_clear:
        return "no clear effect"
    return "helps" if judged.percent < 0 else "hurts"


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def _quick(args: Namespace) -> None:
    """Four techniques in eight runs of two epochs on a few drawn films, and one of them in pairs."""
    few = dict(list(TECHNIQUES.items())[:4])
    with tempfile.TemporaryDirectory() as name:
        write(Path(name) / "films", seed=0, num_train=16, num_test=2)
        films = _open(SourceConfig(root=Path(name) / "films"))
        folder = Path(name) / "state"
        jobs = [*screening_jobs(_design(few, 8), few), *(job for job in pair_jobs(list(few)[:1]) if job.seed < 2)]
        for job in jobs:
            _train(job, films, folder, quick=True)
        _score(films, folder)
        _publish(folder, 8, few, quick=True)


if __name__ == "__main__":
    main()
