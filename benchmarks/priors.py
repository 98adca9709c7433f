"""What priors of a space file are worth: searches with good, weak and wrong ones compared with a search without, on recorded curves.

python benchmarks/priors.py                (resumable; about a second a search)
python benchmarks/priors.py --half 0       (the trainings that weights were chosen on; the default reports the other half)
python benchmarks/priors.py --table        (makes the tables of what has run)

Needs `pip install scikit-learn`.  The films of search_quality.py, in simulated time; regret as there.  Every knob has a prior:

- good: about the best recorded training, each mode missed by a tenth of its range (standard deviation), drawn again for each search;
- middling: about one of the second to fifth best, which are no better than the start point that every search tries first;
- weak: about the middle of each range, as wide as can be said; categoricals have none;
- wrong: about the corner of the space whose training ends worst.
"""

import copy
import itertools
import json
import multiprocessing
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import curve_tasks
import measuring
import numpy as np
from measuring import ROOT, STATE

from search.cube import place_in, point_at
from search.replay import Curves, replay
from search.replay.summary import interval, unit_seconds
from search.space import Knob
from search.space.schema import Spec

PAGE = ROOT / "docs" / "search.md"
PRIORS = ("none", "good", "middling", "weak", "wrong")
BUDGETS = (4.0, 8.0, 15.0)
WORKERS = (2, 4)
SEEDS = 100
POLICY = 1
"""Raised when priors, or what proposes by them, change."""
_WIDTH, _MISS, _NEAR_BEST = 0.2, 0.1, 4


@dataclass(frozen=True)
class Job:
    """One search."""

    prior: str
    workers: int
    seed: int
    half: int
    is_drawn: bool = False

    @property
    def family(self) -> str:
        """Where the curves come from."""
        return "drawn" if self.is_drawn else "films"

    @property
    def task(self) -> str:
        """The curves: a seed's own."""
        names = curve_tasks.names(self.family, self.half)
        return names[self.seed % len(names)]


@cache
def unit_s(task: str) -> float:
    """Seconds of a training."""
    return unit_seconds(curve_tasks.task(task))


@cache
def worst_corner(task: str) -> dict[str, Any]:
    """The corner of the space, choices included, whose training ends worst."""
    curves = curve_tasks.task(task)
    sides = [[(place + 0.5) / len(knob.choices) for place in range(len(knob.choices))] or [0.0, 1 - 1e-9] for knob in curves.space.knobs]
    corners = [point_at(curves.space.knobs, shares) for shares in itertools.product(*sides)]
    return max(corners, key=lambda corner: float(curves.at(corner).values[-1]))


@cache
def best_points(task: str) -> list[dict[str, Any]]:
    """The best five of the configurations that were recorded, the best first."""
    curves = curve_tasks.task(task)
    points = curve_tasks.drawn().points if task.startswith("drawn") else curve_tasks.recorded_films(0).points
    ranked = np.argsort([curves.at(point).values[-1] for point in points], kind="stable")
    return [dict(points[place]) for place in ranked[: 1 + _NEAR_BEST]]


def centre_of(job: Job, knobs: Sequence[Knob]) -> dict[str, Any]:
    """What a search's prior expects to be best."""
    if job.prior == "wrong":
        return worst_corner(job.task)
    if job.prior == "middling":
        return best_points(job.task)[1 + job.seed // len(curve_tasks.SURROGATES) % _NEAR_BEST]
    if job.prior == "weak":
        return point_at(knobs, [0.5] * len(knobs))
    best = best_points(job.task)[0]
    misses = np.random.default_rng([job.seed, 5]).normal(0, _MISS, len(knobs)) * [not knob.choices for knob in knobs]
    return point_at(knobs, np.clip(place_in(knobs, best) + misses, 0, 1 - 1e-9).tolist())


def priors(job: Job, knobs: Sequence[Knob]) -> dict[str, dict[str, Any]]:
    """What a space file would say, by knob."""
    if job.prior == "none":
        return {}
    centre = centre_of(job, knobs)
    if job.prior == "weak":
        return {knob.key: {"mode": centre[knob.key], "width": 1.0} for knob in knobs if not knob.choices}
    return {
        knob.key: {"prefer": [centre[knob.key]]} if knob.choices else {"mode": centre[knob.key], "width": _WIDTH}
        for knob in knobs
        if knob.key in centre
    }


def with_priors(curves: Curves, given: Mapping[str, Mapping[str, Any]]) -> Curves:
    """The same curves, whose space has priors."""
    tree = curves.space.to_dict()
    tree["search"] = {key: {**entry, "prior": given[key]} if key in given else entry for key, entry in tree["search"].items()}
    tree["budget"]["trials"] = 100_000
    spec = Spec.model_validate(tree)
    changed = copy.copy(curves)
    changed.space = type(curves.space).model_construct(**{name: getattr(spec, name) for name in Spec.model_fields})
    return changed


def searched(job: Job) -> dict[str, Any]:
    """What a search had found at each budget."""
    began = time.perf_counter()
    curves = curve_tasks.task(job.task)
    wanted = with_priors(curves, priors(job, curves.space.knobs))
    found = replay(wanted, seed=job.seed, workers=job.workers, until_s=BUDGETS[-1] * unit_s(job.task) / job.workers)
    best = [found.best_at(budget * unit_s(job.task) / job.workers + 1e-9) for budget in BUDGETS]
    regrets = [(each - curves.best) / curves.scale for each in best]
    return {**asdict(job), "regret": regrets, "trials": len(found.policy.trials), "seconds": time.perf_counter() - began}


def jobs(args: Namespace) -> Iterator[Job]:
    """Everything asked for, seed by seed, so that whatever has run is paired."""
    for seed in range(args.seeds):
        for workers in args.workers:
            for prior in PRIORS:
                yield Job(prior, workers, seed, args.half, args.quick)


def place_of(job: Job, state: Path) -> Path:
    """Where a search's figures lie."""
    policy = f"{curve_tasks.POLICY}-{POLICY}"
    return state / f"{PRIORS.index(job.prior)}-{job.workers}-{job.seed}-{job.half}-{policy}.json"


def work(given: tuple[Job, Path]) -> None:
    """One search, kept."""
    job, state = given
    os.nice(5)
    place_of(job, state).write_text(json.dumps(searched(job)), encoding="utf-8")


def main() -> None:
    parser = measuring.arguments(__doc__)
    parser.add_argument("--half", type=int, choices=(0, 1), default=1, help="of the trainings: 0: weights are chosen on it; 1: reported")
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS), metavar="N", help="simulated workers")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help="searches of each")
    parser.add_argument("--table", action="store_true", help="run nothing")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.workers, args.half = 2, [2], 0
    state = STATE / ("priors_quick" if args.quick else "priors")
    state.mkdir(parents=True, exist_ok=True)
    every = list(jobs(args))
    left = [] if args.table else [job for job in every if not place_of(job, state).exists()]
    if left:
        run(left, state)
    found = [json.loads(place.read_text(encoding="utf-8")) for job in every if (place := place_of(job, state)).exists()]
    measuring.publish("priors", tables(found), args.quick or args.half == 0, PAGE)


def run(left: Sequence[Job], state: Path) -> None:
    """These searches, on all cores."""
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        began = time.monotonic()
        for done, _ in enumerate(pool.imap_unordered(work, [(job, state) for job in left]), start=1):
            if done % 50 == 0 or done == len(left):
                each = (time.monotonic() - began) / done
                print(f"{done} of {len(left)} searches, about {each * (len(left) - done) / 60:.0f} min left", file=sys.stderr, flush=True)


def tables(found: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """A table per number of workers, a row per prior: mean regret, and its difference from the same seeds' without priors."""
    result: dict[str, list[dict[str, Any]]] = {}
    for workers in sorted({each["workers"] for each in found}):
        own = {(each["prior"], each["seed"]): each for each in found if each["workers"] == workers}
        rows = []
        for prior in PRIORS:
            seeds = sorted(seed for name, seed in own if name == prior and ("none", seed) in own)
            regrets = np.array([own[prior, seed]["regret"] for seed in seeds])
            without = np.array([own["none", seed]["regret"] for seed in seeds])
            cells = {}
            for place, budget in enumerate(BUDGETS):
                apart = regrets[:, place] - without[:, place]
                cells[f"{budget:g} trainings"] = interval(regrets[:, place])
                cells[f"difference at {budget:g}"] = "" if prior == "none" else interval(apart)
            trials = f"{np.mean([own[prior, seed]['trials'] for seed in seeds]):.0f}"
            rows.append({"prior": prior, **cells, "trials": trials, "seeds": str(len(seeds))})
        result[f"Priors of every knob, {workers} workers: mean regret ± 95 %"] = rows
    return result


if __name__ == "__main__":
    main()
