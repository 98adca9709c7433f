"""How good a search is when its time is up: ours beside others, on real learning curves in simulated time.

python benchmarks/search_quality.py                (resumable; hours, most of it in the slower peers' models)
python benchmarks/search_quality.py --half 0       (the tasks that policies were chosen on; the default reports the other half)
python benchmarks/search_quality.py --table        (makes tables and plot of what has run)

Needs `pip install --no-deps scan-bench` and `pip install syne-tune scikit-learn matplotlib`.  Regret is that of the lowest value of any
network in hand: 0 is the best of the space, 1 the median of its trainings' ends.  Time is counted in trainings to the end that the workers
could have done meanwhile.  A seed means the same task and workers for every contestant.  Proposing takes no simulated time.
"""

import hashlib
import heapq
import json
import math
import multiprocessing
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import curve_tasks
import measuring
import numpy as np
import pandas as pd
from contestants import OTHERS
from measuring import ROOT, STATE

from search.replay import Curves, replay
from search.replay.summary import unit_seconds

PAGE = ROOT / "docs" / "search.md"
WORKERS = (4, 16)
FAMILIES: dict[str, tuple[float, ...]] = {"scan": (8.0, 16.0, 32.0, 64.0), "films": (4.0, 8.0, 15.0)}
BUDGETS = FAMILIES | {"costs": (8.0, 16.0, 32.0), "drawn": (2.0, 4.0)}
OURS: dict[str, dict[str, Any]] = {
    "ours (the default)": {},
    "ours, cost-aware": {"sampler": {"cost_aware": True}},
    "random, never stops": {"sampler": {"name": "random"}, "scheduler": {"rungs": []}},
    "curve_gp, never stops": {"scheduler": {"rungs": []}},
    "tpe + our rungs": {"sampler": {"name": "tpe"}},
    "random + our rungs": {"sampler": {"name": "random"}},
}
"""Sections of the space, through the same policy as a live run."""
STARTED = {"films": "from the baseline"}
"""Families whose space has start points, which others try first, too."""
PLANNED = {"one epoch, then the best": "a search a budget"}
"""Who has to know how long it may search: another search for each budget."""
KEPT = measuring.RESULTS / "search_quality_searches.parquet"
SEEDS = 200
MORE_SEEDS = {("films", 16): 1200}
"""Where nobody has had a third of a training at the first budget, and 200 searches spread more than their means differ."""
SLOW, SLOW_SEEDS = ("ASHACQR (Syne Tune)",), 24
"""Half a minute to a whole one a search."""
GRID = np.geomspace(1.0, 64.0, 25)
"""Times of the plot, in trainings."""


@dataclass(frozen=True)
class Job:
    """One search."""

    family: str
    method: str
    workers: int
    seed: int
    half: int

    @property
    def task(self) -> str:
        """The curves: a seed's own."""
        names = curve_tasks.names(self.family, self.half)
        return names[self.seed % len(names)]


def searched(job: Job) -> dict[str, Any]:
    """What a search had found when: regrets at each budget and at the times of the plot."""
    budgets = BUDGETS[job.family]
    curves = curve_tasks.task(job.task)
    unit_s = unit_seconds(curves)
    until_s = budgets[-1] * unit_s / job.workers
    began = time.perf_counter()
    found: dict[float, Sequence[tuple[float, float]]] = {}
    if job.method in OURS:
        ours = replay(curve_tasks.searched_by(curves, OURS[job.method]), seed=job.seed, workers=job.workers, until_s=until_s)
        found[budgets[-1]], trials, stopped = ours.found, len(ours.policy.trials), ours.stopped_share
    else:
        epochs = len(curves.at(first_point(curves)).values)
        for planned in budgets if job.method in PLANNED else budgets[-1:]:
            contestant = OTHERS[job.method](curves.space.knobs, job.seed, epochs, planned, curves.space.start_from)
            found[planned], trials, stopped = simulated(curves, contestant, job.workers, planned * unit_s / job.workers)

    def regret(trainings: float) -> float:
        seen = found[min(planned for planned in found if planned >= trainings)]
        best = min((value for at, value in seen if at <= trainings * unit_s / job.workers + 1e-9), default=math.inf)
        return (best - curves.best) / curves.scale

    return {
        **asdict(job), "regret": [regret(each) for each in budgets], "curve": [regret(each) for each in GRID if each <= budgets[-1]],
        "trials": trials, "stopped": stopped, "seconds": time.perf_counter() - began,
    }  # fmt: skip


def first_point(curves: Curves) -> dict[str, Any]:
    """Any point of the space."""
    from search.cube import point_at

    return point_at(curves.space.knobs, [0.5] * len(curves.space.knobs))


def simulated(curves: Curves, contestant: Any, workers: int, until_s: float) -> tuple[list[tuple[float, float]], int, float]:
    """What `search.replay` does for a policy, for anybody else."""
    found: list[tuple[float, float]] = []
    live: list[tuple[float, int, int, Any]] = []
    trials = stopped = ended = 0

    def begin(now: float) -> None:
        nonlocal trials
        curve = curves.at(contestant.ask(trials))
        heapq.heappush(live, (now + float(curve.seconds[0]), trials, 1, curve))
        trials += 1

    for _ in range(workers):
        begin(0.0)
    while live and live[0][0] <= until_s:
        now, trial, epoch, curve = heapq.heappop(live)
        value = float(curve.values[epoch - 1])
        if value < (found[-1][1] if found else math.inf):
            found.append((now, value))
        goes_on = contestant.report(trial, epoch, value)
        if goes_on and epoch < len(curve.values):
            heapq.heappush(live, (now + float(curve.seconds[epoch]), trial, epoch + 1, curve))
            continue
        ended += 1
        stopped += epoch < len(curve.values)
        begin(now)
    return found, trials, stopped / max(1, ended)


def jobs(args: Namespace) -> Iterator[Job]:
    """Everything asked for, seed by seed, so that whatever stands is paired."""
    names = [name for name in (*OURS, *OTHERS) if not args.methods or any(text in name for text in args.methods)]
    for seed in range(args.seeds or max(SEEDS, *MORE_SEEDS.values())):
        for family in args.families:
            for workers in args.workers:
                usual = args.seeds or MORE_SEEDS.get((family, workers), SEEDS)
                for name in names:
                    if seed < (min(usual, SLOW_SEEDS) if name in SLOW else usual):
                        yield Job(family, name, workers, seed, args.half)


def key_of(job: Job) -> str:
    """What a search's figures are kept under; another policy of ours, or other settings, have another."""
    how: Any = (OURS[job.method], curve_tasks.POLICY) if job.method in OURS else STARTED.get(job.family)
    told = repr((job, (how, PLANNED[job.method]) if job.method in PLANNED else how))
    return hashlib.sha256(told.encode()).hexdigest()[:20]


def place_of(job: Job, state: Path) -> Path:
    """Where they lie while a measurement goes on."""
    return state / f"{key_of(job)}.json"


def gathered(every: Sequence[Job], state: Path) -> list[dict[str, Any]]:
    """All figures there are of these searches, from the state and from what was kept."""
    kept = {row["key"]: row for row in pd.read_parquet(KEPT).to_dict("records")} if KEPT.exists() else {}
    found = []
    for job in every:
        if (place := place_of(job, state)).exists():
            found.append({"key": key_of(job), **json.loads(place.read_text(encoding="utf-8"))})
        elif key_of(job) in kept:
            found.append({str(name): value for name, value in kept[key_of(job)].items()})
    return found


def keep(found: Sequence[dict[str, Any]]) -> None:
    """Keep the figures of these searches with those of others that were kept before."""
    table = pd.DataFrame(found)
    for name in ("regret", "curve"):
        table[name] = [np.asarray(figures, dtype=np.float32) for figures in table[name]]
    if KEPT.exists():
        before = pd.read_parquet(KEPT)
        table = pd.concat([before[~before["key"].isin(table["key"])], table], ignore_index=True)
    table.sort_values(["family", "half", "workers", "seed", "method"]).to_parquet(KEPT, index=False, compression="zstd")


def work(given: tuple[Job, Path]) -> None:
    """One search, kept."""
    job, state = given
    os.nice(5)
    try:
        place_of(job, state).write_text(json.dumps(searched(job)), encoding="utf-8")
    except Exception as error:
        raise RuntimeError(f"{job}: {error!r}") from error


def main() -> None:
    parser = measuring.arguments(__doc__)
    parser.add_argument("--half", type=int, choices=(0, 1), default=1, help="of the tasks: 0 is what policies are chosen on, 1 is reported")
    parser.add_argument("--families", nargs="+", choices=BUDGETS, default=list(FAMILIES), help="of curves")
    parser.add_argument("--methods", nargs="*", default=[], metavar="TEXT", help="only those whose name holds one of these")
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS), metavar="N", help="simulated workers")
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help=f"searches of each; otherwise {SEEDS}, 1200 of the films with 16 workers, and fewer of who is slow",
    )
    parser.add_argument("--table", action="store_true", help="run nothing")
    args = parser.parse_args()
    state = STATE / ("search_quality_quick" if args.quick else "search_quality")
    state.mkdir(parents=True, exist_ok=True)
    if args.quick:
        args.seeds, args.workers, args.families, args.methods = (
            2,
            [4],
            ["drawn"],
            ["random", "ours", "one epoch", "OptunaSearch", "Hyperband"],
        )
    every = list(jobs(args))
    there = {each["key"] for each in gathered(every, state)}
    left = [] if args.table else [job for job in every if key_of(job) not in there]
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        began = time.monotonic()
        for done, _ in enumerate(pool.imap_unordered(work, [(job, state) for job in left]), start=1):
            if done % 20 == 0 or done == len(left):
                each = (time.monotonic() - began) / done
                print(f"{done} of {len(left)} searches, about {each * (len(left) - done) / 60:.0f} min left", file=sys.stderr, flush=True)
    found = gathered(every, state)
    is_shown_only = args.quick or args.half == 0 or not set(args.families) <= set(FAMILIES)
    if not args.quick:
        keep(found)
    measuring.publish("search_quality", tables(found), is_shown_only, PAGE)
    if not is_shown_only:
        plot(found, ROOT / "docs" / "search_quality.svg")


def tables(found: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """A table a family and number of workers, a row a contestant."""
    result: dict[str, list[dict[str, Any]]] = {}
    for family, budgets in BUDGETS.items():
        for workers in sorted({each["workers"] for each in found}):
            rows = []
            for name in (*OURS, *OTHERS):
                own = [each for each in found if (each["family"], each["workers"], each["method"]) == (family, workers, name)]
                if own:
                    regrets = np.array([each["regret"] for each in own])
                    cells = {f"{budget:g} trainings": mean_with(regrets[:, place]) for place, budget in enumerate(budgets)}
                    rows.append(
                        {
                            "search": name,
                            **cells,
                            "stopped early": f"{np.mean([each['stopped'] for each in own]):.0%}",
                            "trials": f"{np.mean([each['trials'] for each in own]):.0f}",
                            "seeds": str(len(own)),
                            "s a search": f"{np.mean([each['seconds'] for each in own]):.1f}",
                        }
                    )
            if rows:
                result[f"{TITLES[family]}, {workers} workers: mean regret ± 95 %"] = rows
    return result


TITLES = {
    "drawn": "Drawn curves",
    "costs": "Made-up trainings whose times differ up to a hundredfold (6 knobs)",
    "scan": "Vision-language models (10 knobs)",
    "films": "Landmark detection (5 knobs)",
}


def mean_with(figures: np.ndarray) -> str:
    """Mean and half its 95 % interval."""
    half = 1.96 * float(np.std(figures, ddof=1)) / math.sqrt(len(figures)) if len(figures) > 1 else math.nan
    return f"{float(np.mean(figures)):.3f} ± {half:.3f}"


_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito (2008): told apart by all readers.  Ours are solid lines, others dashed."""


def plot(found: Sequence[dict[str, Any]], file: Path) -> None:
    """Mean regret against time, a row a family, a panel a number of workers."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    panels = sorted({(each["family"], each["workers"]) for each in found})
    rows = len({family for family, _ in panels})
    columns = math.ceil(len(panels) / rows)
    figure, axes = pyplot.subplots(rows, columns, figsize=(5 * columns, 4 * rows + 1), squeeze=False, layout="constrained")
    for axis, (family, workers) in zip(axes.flat, panels, strict=False):
        times = GRID[FAMILIES[family][-1] >= GRID]
        for place, name in enumerate((*OURS, *OTHERS)):
            own = [each["curve"] for each in found if (each["family"], each["workers"], each["method"]) == (family, workers, name)]
            if own:
                curves = np.array(own)
                mean, half = curves.mean(axis=0), 1.96 * curves.std(axis=0) / math.sqrt(len(curves))
                style = {"linewidth": 2.5 if place == 0 else 1.2, "linestyle": "-" if name in OURS else (0, (3, 1.5))}
                (line,) = axis.plot(times, mean, label=name, color=_COLOURS[place % len(_COLOURS)], **style)
                axis.fill_between(times, mean - half, mean + half, color=line.get_color(), alpha=0.12)
        axis.set(xscale="log", yscale="log", xlabel="time, trainings to the end", title=f"{TITLES[family]}, {workers} workers")
        doublings = [2**power for power in range(7) if 2**power <= FAMILIES[family][-1]]
        axis.set_xticks(doublings, [str(each) for each in doublings])
        axis.set_xticks([], minor=True)
    for axis in axes[:, 0]:
        axis.set_ylabel("regret of the best network in hand")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(file)


if __name__ == "__main__":
    main()
