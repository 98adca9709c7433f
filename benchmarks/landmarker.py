"""Test errors of `python -m ceph_core train` beside the peer landmarker 0.4.1 after the same minutes on the same cores, in turn.

CEPH_DATA_ROOT=DIR python benchmarks/landmarker.py --spacing-mm 0.3 --peer-python VENV/bin/python          (about an hour)

DIR holds isbi2015/; --spacing-mm is for films that are not 1935 x 2400 px.  VENV is an environment of the peer's own, since it pins
scipy: `python -m venv VENV && VENV/bin/pip install landmarker==0.4.1`.  Films whose radiograph test1 shows again are out of both
trainings, and all others are in both: neither keeps any for validation.  The peer's minutes are its training alone, ours hold reading
films and choosing the number of epochs too; wall minutes are those of each process from its start, for the peer with its predictions.
Both are scored here, by the same code on the same points.  Results are kept in .state/landmarker/, and what is there is not run again.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import yaml
from measuring import ROOT, STATE, arguments, publish
from numpy.typing import NDArray

from ceph_core import data as datasets
from ceph_core.config import Config, SourceConfig
from ceph_core.config.profiles import profile_changes
from ceph_core.data.films import TrainingData
from ceph_core.data.phantom import write
from ceph_core.data.records import CephRecord
from ceph_core.inference.evaluate import Scores, score
from ceph_core.inference.predictor import Predictor
from ceph_core.metrics import paired_test
from ceph_core.training.feedback import Feedback
from ceph_core.training.plan import plan

OURS = tuple(f"{key}={value}" for key, value in profile_changes("cpu").items() if key != "train.epochs")
"""The cpu profile; --minutes chooses the number of epochs."""

THREADS = 2
LOOK_S = 20
"""Between two looks at the machine's load."""


@dataclass(frozen=True)
class Films:
    """What both learn from and are judged on."""

    source: SourceConfig
    data: TrainingData

    @classmethod
    def of(cls, source: SourceConfig) -> "Films":
        cache = datasets.default_cache_dir()
        return cls(source, TrainingData.of(datasets.read(source, cache), source, cache))

    def records(self, ids: tuple[str, ...]) -> list[CephRecord]:
        return [record for record in self.data.dataset.records if record.film_id in set(ids)]

    @property
    def train(self) -> list[CephRecord]:
        """Whatever is not test and not shown again by it."""
        return self.records((*self.data.train_ids, *self.data.validation_ids))

    @property
    def test(self) -> list[CephRecord]:
        return self.records(self.data.test_ids)


@dataclass(frozen=True)
class Task:
    """One training of one contestant."""

    contestant: str
    minutes: float
    seed: int
    settings: tuple[str, ...]

    def place(self, state: Path, suffix: str = "") -> Path:
        """Where its results lie; other settings have another place."""
        digest = hashlib.sha256(repr(self.settings).encode()).hexdigest()[:8]
        return state / f"{self.contestant}-{self.minutes:g}-{self.seed}-{digest}{suffix}"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--peer-python", type=Path, metavar="PATH", help="the Python of an environment with landmarker")
    parser.add_argument("--minutes", type=float, nargs="+", default=[9, 20], metavar="M", help="trainings of each length")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N", help="trainings of each length and contestant")
    parser.add_argument("--spacing-mm", type=float, metavar="X", help="mm per original pixel, where films are not 1935 x 2400 px")
    args = parser.parse_args()
    if args.quick:
        with tempfile.TemporaryDirectory() as folder:
            films = Path(folder) / "films"
            write(films, seed=0, num_train=10, num_test=3)
            small = (*OURS, "data.image_size=64", "heatmap.sigma_rel=0.04")
            source = SourceConfig(root=films, validation_share=0)
            compare(Namespace(**vars(args) | {"minutes": [0.4], "seeds": [0]}), source, small, Path(folder) / "state")
        return
    if not args.peer_python:
        parser.error("--peer-python: the Python of an environment with landmarker is needed; pip install landmarker==0.4.1 into a new one")
    if "CEPH_DATA_ROOT" not in os.environ:
        parser.error("CEPH_DATA_ROOT must name the folder that holds isbi2015/")
    source = SourceConfig(root=Path(os.environ["CEPH_DATA_ROOT"]).absolute() / "isbi2015", spacing_mm=args.spacing_mm, validation_share=0)
    compare(args, source, OURS, STATE / "landmarker")


def compare(args: Namespace, source: SourceConfig, ours: tuple[str, ...], state: Path) -> None:
    """Run what is missing and publish all of it."""
    state.mkdir(parents=True, exist_ok=True)
    films = Films.of(source)
    say(f"{len(films.train)} films to learn from, {len(films.test)} to be judged on")
    rounds = [(minutes, seed) for minutes in args.minutes for seed in args.seeds]
    rows: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for number, (minutes, seed) in enumerate(rounds):
        tasks = [Task("ours", minutes, seed, ours), Task("landmarker", minutes, seed, ())]
        asked = [task for task in tasks if task.contestant == "ours" or args.peer_python]
        for task in asked if number % 2 == 0 else reversed(asked):
            if not (answer := task.place(state, ".json")).exists():
                figures = train_ours(task, films, state) if task.contestant == "ours" else train_peer(task, films, state, args.peer_python)
                answer.write_text(json.dumps(figures))
        scores = {task.contestant: score(points_of(task, state), films.test) for task in asked}
        rows += [row(task, scores.get(task.contestant), state) for task in tasks]
        if len(scores) == 2:
            pairs.append(pair(minutes, seed, scores["ours"], scores["landmarker"]))
    tables = {f"Errors on {len(films.test)} test films after the same minutes on {THREADS} threads": rows}
    if pairs:
        tables["Ours against landmarker, film by film"] = pairs
    publish("landmarker", tables, args.quick)


def train_ours(task: Task, films: Films, state: Path) -> dict[str, Any]:
    """A process of `train`; its member's points are predicted here."""
    place = task.place(state)
    shutil.rmtree(place, ignore_errors=True)  # a part of a run, whose clock is gone
    source = films.source
    command = [sys.executable, "-m", "ceph_core", "train", "--data", source.root, "--validation-share", source.validation_share]
    command += ["--minutes", task.minutes, "--out", place]
    command += ["--spacing-mm", source.spacing_mm] if source.spacing_mm else []
    command += [f"--set={setting}" for setting in (*task.settings, f"train.seed={task.seed}")]
    figures, _ = watched(command, {"PYTHONPATH": str(ROOT), "NO_ALBUMENTATIONS_UPDATE": "1"}, task.place(state, ".log"))
    config = Config.model_validate(yaml.safe_load((place / "plan.yaml").read_text())["config"])
    feedback = Feedback(films.data.train_ids, len(films.data.dataset.protocol))
    passes = sum(len(plan(config, epoch, feedback).film_ids) for epoch in range(1, config.train.epochs + 1))
    found = Predictor.load(place / "member").predict_files([record.image for record in films.test], lambda done, of: None)
    np.savez(task.place(state, ".npz"), points=np.stack([prediction.points_px for _, prediction in found]))
    return {**figures, "film_passes": passes}


def train_peer(task: Task, films: Films, state: Path, python: Path) -> dict[str, Any]:
    """A process of benchmarks/peer_landmarker.py, which also predicts."""
    job = {
        "minutes": task.minutes, "seed": task.seed, "threads": THREADS,
        **{name: [{"image": str(each.image), "points": each.landmarks_px.tolist()} for each in records]
           for name, records in (("train", films.train), ("test", films.test))},
    }  # fmt: skip
    task.place(state, ".job").write_text(json.dumps(job))
    # Isolated: neither our packages nor this folder, whose `landmarker` is this file, may stand in the peer's way.
    command = [python, "-I", ROOT / "benchmarks" / "peer_landmarker.py", task.place(state, ".job"), task.place(state, ".npz")]
    figures, written = watched(command, {}, task.place(state, ".log"))
    return {**figures, **json.loads(written.splitlines()[-1])}


def watched(command: list[Any], environment: dict[str, str], log: Path) -> tuple[dict[str, float], str]:
    """Run a process on `THREADS` threads: its wall minutes and the machine's mean load meanwhile, and what it wrote to stdout."""
    say(" ".join(map(str, command)))
    began, loads = time.perf_counter(), []
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), **environment}
    with log.open("w", encoding="utf-8") as errors, tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        process = subprocess.Popen([str(part) for part in command], cwd=ROOT, env=environment, stdout=output, stderr=errors)
        try:
            while process.poll() is None:
                try:
                    process.wait(LOOK_S)
                except subprocess.TimeoutExpired:
                    loads.append(os.getloadavg()[0])
        finally:
            process.kill()
            process.wait()
        seconds = time.perf_counter() - began
        output.seek(0)
        written = output.read()
    if process.returncode:
        raise SystemExit(f"{command[0]} failed, see {log}:\n{log.read_text()[-2000:]}")
    return {"wall_minutes": seconds / 60, "load": mean(loads or [os.getloadavg()[0]])}, written


def points_of(task: Task, state: Path) -> NDArray[np.float64]:
    """(N, K, 2) original px."""
    with np.load(task.place(state, ".npz")) as kept:
        return np.asarray(kept["points"], dtype=np.float64)


def row(task: Task, scores: Scores | None, state: Path) -> dict[str, Any]:
    """One training as the table shows it."""
    named = {"minutes": task.minutes, "contestant": task.contestant, "seed": task.seed}
    if scores is None:
        return {**named, "film passes": "not asked for: no --peer-python"}
    kept = json.loads(task.place(state, ".json").read_text())
    low, high = scores.interval_mm
    return {
        **named,
        "film passes": kept["film_passes"],
        "MRE, mm [95 %]": f"{scores.summary.mre_mm:.2f} [{low:.2f}, {high:.2f}]",
        "SDR at 2 mm, %": f"{scores.summary.sdr_2mm:.1f}",
        "SDR at 4 mm, %": f"{scores.summary.sdr_4mm:.1f}",
        "wall minutes": f"{kept['wall_minutes']:.1f}",
        f"load average ({THREADS}: alone)": f"{kept['load']:.1f}",
    }


def pair(minutes: float, seed: int, ours: Scores, peer: Scores) -> dict[str, Any]:
    """The difference of the two on the same films; below 0 ours is better."""
    found = paired_test(ours.errors_mm, peer.errors_mm)
    return {
        "minutes": minutes,
        "seed": seed,
        "ours - landmarker, mm [95 %]": f"{found.difference_mm:.2f} [{found.low_mm:.2f}, {found.high_mm:.2f}]",
        "p (Wilcoxon)": f"{found.p_value:.2g}",
    }


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
