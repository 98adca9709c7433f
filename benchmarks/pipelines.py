"""What a whole run is worth: search, promotion and ensemble replayed over recorded trainings, beside simpler ways to spend the time.

python benchmarks/pipelines.py                 (resumable; about a second a replay and core)
python benchmarks/pipelines.py --table         (makes the table of what has run)

Needs what record_curves.py keeps: curves, and what every trained network errs by on validation films and on test1.  Each replay draws
which of a configuration's recorded seeds the search sees; the others are the fresh ones that promotion trains.  All ways have the same
simulated workers and end at the same second, with what `FINISH_S` keeps for the export:

- ours: the policy of a live run, its promotion's trainings in the order of a live run, its selection;
- random search that stops nothing, and the same selection among all it has trained;
- the baseline's setting, trained again and again by other seeds, and the mean of all;
- one network of the baseline, for orientation.
"""

import heapq
import json
import math
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
from numpy.typing import NDArray

from ceph_core.codec import HeatmapCodec
from ceph_core.geometry import Canvas
from ceph_core.inference.frames import Frame
from ceph_core.inference.outputs import MemberOutputs
from ceph_core.inference.selection import Candidate, Selection, greedy_select
from search.cost import FINISH_S, Timetable
from search.promotion import Job, jobs_for
from search.replay import Curve, Recorded, replay
from search.replay.curves import table_space

PAGE = ROOT / "docs" / "search.md"
BUDGETS, WORKERS = (8.0, 15.0), 2
REPLAYS = 1000
OURS: dict[str, dict[str, Any]] = {
    "ours (the default)": {},
    "ours, no fresh seeds": {"promotion": {"seeds": 0}},
    "ours, one fresh seed": {"promotion": {"seeds": 1}},
}
OTHERS = ("random search, no stopping", "the baseline's seeds, averaged", "one baseline network")
Errors = NDArray[np.float64]
Network = tuple[int, int]
"""A recorded training: configuration and seed."""


@dataclass(frozen=True)
class Run:
    """One replay."""

    method: str
    budget: float
    seed: int
    is_drawn: bool = False


@dataclass(frozen=True, eq=False)
class Films:
    """Residuals, (N, K, 2) mm, of every recorded network on validation and test films."""

    validation: Mapping[Network, Errors]
    test: Mapping[Network, Errors]


@cache
def films(is_drawn: bool) -> Films:
    """All that was recorded, or made up for the short form."""
    if is_drawn:
        return _drawn_films()
    with np.load(ROOT / "benchmarks" / "curves" / "isbi2015_errors.npz") as kept:
        found = {name: kept[name].astype(np.float64) for name in kept.files}

    def of(split: str) -> dict[Network, Errors]:
        return {(int(name[:3]), int(name[4:].split("/")[0])): each for name, each in found.items() if name.endswith(split)}

    return Films(of("validation"), of("test"))


@cache
def curves(seed: int, is_drawn: bool) -> Recorded:
    """Every configuration's training by one of the recorded seeds."""
    return _drawn_curves(seed) if is_drawn else curve_tasks.recorded_films(seed)


def _drawn_curves(seed: int) -> Recorded:
    """Made-up trainings, which differ between seeds by a few percent."""
    made, random = curve_tasks.drawn(), np.random.default_rng([seed, 1])
    noisy = [Curve.of(curve.values * random.normal(1, 0.03), 10 * curve.seconds) for curve in made.curves]
    space = table_space({key: curve_tasks.KNOBS[key] for key in made.points[0]}, curve_tasks.EPOCHS, made.points[0])
    return Recorded(space, made.points, noisy)


def _drawn_films() -> Films:
    """Made-up residuals on a few films: half of them the configuration's, half the seed's."""
    ends = [float(curve.values[-1]) for curve in curve_tasks.drawn().curves]

    def of(split: int) -> dict[Network, Errors]:
        every = {(config, seed) for config in range(len(ends)) for seed in range(2)} | {(0, seed) for seed in range(40)}
        alike = np.random.default_rng(split).normal(0, 1, (8, 5, 2))
        return {(config, seed): ends[config] * (alike + np.random.default_rng([split, config, seed]).normal(0, 1, alike.shape))
                for config, seed in every}  # fmt: skip

    return Films(of(0), of(1))


def done(run: Run) -> dict[str, Any]:
    """What a replay delivers."""
    began = time.perf_counter()
    random = np.random.default_rng([run.seed, 7])
    recorded = films(run.is_drawn)
    seeds = sorted({seed for _, seed in recorded.validation})
    whole = [seed for seed in seeds if len({config for config, other in recorded.validation if other == seed}) > 1]
    num_configs = len(curves(whole[0], run.is_drawn).curves)
    searched = random.choice(whole, num_configs)  # the seed that the search sees, a configuration
    first = curves(whole[0], run.is_drawn)
    drawn = Recorded(first.space, first.points, [curves(int(seed), run.is_drawn).curves[place] for place, seed in enumerate(searched)])
    seconds = [float(np.mean([curves(seed, run.is_drawn).curves[place].seconds.sum() for seed in whole])) for place in range(num_configs)]
    total_s = run.budget * float(np.mean(seconds)) / WORKERS + FINISH_S
    fresh = {place: [int(seed) for seed in random.permutation(seeds) if seed != searched[place] and (place, int(seed)) in recorded.test]
             for place in range(num_configs)}  # fmt: skip
    if run.method in OURS:
        members, selection, trained = of_ours(run, drawn, searched, fresh, seconds, total_s)
    elif run.method == OTHERS[0]:
        members, selection, trained = of_random(run, drawn, searched, total_s)
    else:
        number = 1 if run.method == OTHERS[2] else int(run.budget * float(np.mean(seconds)) // seconds[0])
        own = random.permutation([seed for config, seed in recorded.test if config == 0])
        networks = [(0, int(seed)) for seed in own[:number]]
        if len(networks) < number:
            raise SystemExit(f"{number} seeds of the baseline fit into {run.budget:g} trainings, {len(networks)} were recorded")
        members, selection, trained = Candidates(networks, "test", recorded).mean(), None, number
    return {
        **asdict(run), "test_mm": members, "expected_mm": math.nan if selection is None else selection.expected.mre_mm,
        "chosen_mm": math.nan if selection is None else selection.score_mm,
        "members": math.nan if selection is None else len(selection.members),
        "trained": trained, "seconds": time.perf_counter() - began,
    }  # fmt: skip


class Candidates:
    """Networks as selection sees them: points that lie off zero by their errors, in mm."""

    def __init__(self, networks: Sequence[Network], split: str, recorded: Films) -> None:
        self._errors = [getattr(recorded, split)[network] for network in networks]

    def mean(self) -> float:
        """MRE of their mean points, mm."""
        return float(np.linalg.norm(np.mean(self._errors, axis=0), axis=-1).mean())

    def select(self, max_members: int) -> Selection:
        """As promotion does, by points alone: confidences and heatmaps were not recorded."""
        count, landmarks = self._errors[0].shape[:2]
        frame, affines = Frame(Canvas(64, 64), HeatmapCodec(1, "mse", 2.0)), np.zeros((count, 2, 3))
        sure = np.ones((count, landmarks), np.float32)
        pool = [Candidate(MemberOutputs(points, sure), frame, affines) for points in self._errors]
        return greedy_select(pool, np.zeros_like(self._errors[0]), np.ones((count, 2)), max_members)


Delivered = tuple[float, Selection | None, int]
"""Test MRE, how it was chosen, trainings begun."""


def selected(networks: Sequence[Network], max_members: int, trained: int, recorded: Films) -> Delivered:
    """The ensemble of these networks, on test films."""
    selection = Candidates(networks, "validation", recorded).select(max_members)
    return Candidates([networks[pick] for pick in selection.picks], "test", recorded).mean(), selection, trained


def of_ours(
    run: Run, drawn: Recorded, searched: NDArray[np.int64], fresh: Mapping[int, Sequence[int]], seconds: Sequence[float], total_s: float
) -> Delivered:
    """Search, promotion's trainings as far as the clock lets them, selection."""
    task = curve_tasks.searched_by(drawn, OURS[run.method])
    found = replay(task, seed=run.seed, workers=WORKERS, timetable=Timetable(total_s, task.space.promotion.share))
    policy = found.policy
    place = {state.trial: drawn.nearest(state.values) for state in policy.candidates()}
    networks = {
        (config, int(searched[config])) for state in policy.candidates() if state.status == "completed" for config in [place[state.trial]]
    }
    jobs = jobs_for(policy)

    def needs_s(job: Job) -> float:
        config = place[job.candidate]
        return seconds[config] if job.is_fresh else float(drawn.curves[config].seconds[job.from_epoch :].sum())

    for job in ended(jobs, needs_s, found.ended_s, total_s - FINISH_S):
        config = place[job.candidate]
        if not job.is_fresh:
            networks.add((config, int(searched[config])))
        elif (number := job.config.train.seed - policy.seed) <= len(fresh[config]):
            networks.add((config, fresh[config][number - 1]))
    return selected(sorted(networks), task.space.promotion.most_picks, len(policy.trials) + len(jobs), films(run.is_drawn))


def ended(jobs: Sequence[Job], needs_s: Any, from_s: float, until_s: float) -> Iterator[Job]:
    """Those that reach their end on the workers; a fresh one that would not is not begun."""
    free = [from_s] * WORKERS
    for job in jobs:
        begins = heapq.heappop(free)
        ends = begins + needs_s(job)
        if ends <= until_s:
            yield job
        heapq.heappush(free, ends if ends <= until_s else begins if job.is_fresh else until_s)


def of_random(run: Run, drawn: Recorded, searched: NDArray[np.int64], total_s: float) -> Delivered:
    """All that were trained to their end are the pool."""
    task = curve_tasks.searched_by(drawn, {"sampler": {"name": "random"}, "scheduler": {"rungs": []}})
    found = replay(task, seed=run.seed, workers=WORKERS, until_s=total_s - FINISH_S)
    completed = [state for state in found.policy.trials.values() if state.status == "completed"]
    networks = sorted({(config, int(searched[config])) for state in completed for config in [drawn.nearest(state.values)]})
    return selected(networks, task.space.promotion.most_picks, len(completed), films(run.is_drawn))


def place_of(run: Run, state: Path) -> Path:
    """Where a replay's figures lie."""
    policy = f"-{curve_tasks.POLICY}" if run.method in OURS else ""
    return state / f"{run.method.replace(' ', '_').replace(',', '')}-{run.budget:g}-{run.seed}{policy}.json"


def work(given: tuple[Run, Path]) -> None:
    """One replay, kept."""
    run, state = given
    os.nice(5)
    place_of(run, state).write_text(json.dumps(done(run)), encoding="utf-8")


def main() -> None:
    parser = measuring.arguments(__doc__)
    parser.add_argument("--replays", type=int, default=REPLAYS, metavar="N", help="of each way and budget")
    parser.add_argument(
        "--budgets", type=float, nargs="+", default=list(BUDGETS), metavar="N", help="trainings to the end that the time buys"
    )
    parser.add_argument("--methods", nargs="*", default=[], metavar="TEXT", help="only those whose name holds one of these")
    parser.add_argument("--table", action="store_true", help="run nothing")
    args = parser.parse_args()
    if args.quick:
        args.replays, args.budgets = 4, [8.0]
    state = STATE / ("pipelines_quick" if args.quick else "pipelines")
    state.mkdir(parents=True, exist_ok=True)
    every = list(runs(args))
    left = [] if args.table else [run for run in every if not place_of(run, state).exists()]
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        began = time.monotonic()
        for number, _ in enumerate(pool.imap_unordered(work, [(run, state) for run in left]), start=1):
            if number % 100 == 0 or number == len(left):
                each = (time.monotonic() - began) / number
                print(
                    f"{number} of {len(left)} replays, about {each * (len(left) - number) / 60:.0f} min left", file=sys.stderr, flush=True
                )
    found = [json.loads(place.read_text(encoding="utf-8")) for run in every if (place := place_of(run, state)).exists()]
    measuring.publish("pipelines", tables(found), args.quick, PAGE)


def runs(args: Namespace) -> Iterator[Run]:
    """Everything asked for, seed by seed."""
    for seed in range(args.replays):
        for budget in args.budgets:
            for name in (*OURS, *OTHERS):
                if not args.methods or any(text in name for text in args.methods):
                    yield Run(name, budget, seed, args.quick)


def tables(found: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """A table a budget, a row a way."""
    result: dict[str, list[dict[str, Any]]] = {}
    for budget in sorted({each["budget"] for each in found}):
        rows = []
        for name in (*OURS, *OTHERS):
            own = [each for each in found if (each["budget"], each["method"]) == (budget, name)]
            if own:
                test = np.array([each["test_mm"] for each in own])
                rows.append(
                    {
                        "way": name,
                        "test1 MRE, mm": f"{test.mean():.3f} ± {1.96 * test.std(ddof=1) / math.sqrt(len(test)):.3f}",
                        "5th to 95th percentile": "{:.3f} to {:.3f}".format(*np.percentile(test, [5, 95])),
                        "chosen with, mm": _mean(own, "chosen_mm"),
                        "expected, mm": _mean(own, "expected_mm"),
                        "members": _mean(own, "members", 1),
                        "trainings begun": _mean(own, "trained", 0),
                        "replays": str(len(own)),
                    }
                )
        result[f"The time of {budget:g} trainings, {WORKERS} workers: mean over replays ± 95 %"] = rows
    return result


def _mean(own: Sequence[dict[str, Any]], key: str, digits: int = 3) -> str:
    figures = np.array([each[key] for each in own], dtype=float)
    return "–" if np.isnan(figures).all() else f"{np.nanmean(figures):.{digits}f}"


if __name__ == "__main__":
    main()
