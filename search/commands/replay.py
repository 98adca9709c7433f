"""`python -m search replay RUN|TABLE`: search recorded learning curves again, in simulated time, another way."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ceph_core.errors import InputError

if TYPE_CHECKING:
    from search.space import Space

HELP = "search the recorded curves of a run or table again, with other samplers, rungs and workers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "curves", type=Path, metavar="RUN|TABLE",
        help="run folder (its trials that had all their epochs), or a .parquet or .csv of columns config, epoch, value, seconds and knobs",
    )  # fmt: skip
    parser.add_argument("--sampler", nargs="+", metavar="NAME", help="who proposes, one row each (default: the run's; a table: all)")
    parser.add_argument(
        "--rungs",
        nargs="*",
        type=float,
        metavar="SHARE",
        help="rungs, shares of a training; nothing after it: never stop (default: the run's)",
    )
    parser.add_argument("--reduction-factor", type=float, metavar="F", help="the best 1 in F goes on past a rung (default: the run's)")
    parser.add_argument("--startup-trials", type=int, metavar="N", help="trials before a model proposes (default: the run's)")
    parser.add_argument(
        "--stopped-as", metavar="POLICY",
        help="what a trial stopped early tells tpe and gp: complete (its last value as its final one), pruned (worse than "
        "all that finished; not for gp), failed (nothing), or predicted (the end of its curve as forecast); curve_gp always forecasts it "
        "(default: the run's; a table: pruned for tpe, complete for gp)",
    )  # fmt: skip
    parser.add_argument(
        "--cost-aware", action=argparse.BooleanOptionalAction,
        help="curve_gp: weigh the improvement it expects against the time a training takes (default: the run's; a table: no)",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="trials at a time (default: %(default)s)")
    parser.add_argument(
        "--trainings", type=float, nargs="+", default=[8, 16, 32], metavar="N",
        help="budgets, in trainings to the end that the workers could do in the same time (default: 8 16 32)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="replays of each (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="also write a row a replay and budget")


def run(args: argparse.Namespace) -> int:
    """Replay; prints a row a sampler."""
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from search.replay import read_curves, replay
    from search.replay.summary import interval, regrets, unit_seconds, write
    from search.sampler import SamplerName
    from search.told import StoppedAs

    problems = [f"--{name}: {value} must be at least 1" for name in ("workers", "seeds") if (value := getattr(args, name)) < 1]
    problems += [f"--trainings: {budget:g} must be above 0" for budget in args.trainings if budget <= 0]
    allowed = get_args(SamplerName)
    problems += [f"--sampler: {name} is unknown; allowed are {', '.join(allowed)}" for name in args.sampler or () if name not in allowed]
    if args.stopped_as is not None and args.stopped_as not in get_args(StoppedAs):
        problems.append(f"--stopped-as: {args.stopped_as} is unknown; allowed are {', '.join(get_args(StoppedAs))}")
    if args.out is not None and args.out.suffix != ".csv":
        problems.append(f"--out: {args.out}: is written as .csv")
    if problems:
        raise InputError(problems)
    recorded = read_curves(args.curves)
    samplers = args.sampler or ([recorded.space.sampler.name] if args.curves.is_dir() else list(allowed))
    if args.stopped_as == "pruned" and "gp" in samplers:
        problems.append(
            "--stopped-as: a GP does not look at pruned trials; use complete, predicted or failed, or leave gp out of --sampler"
        )
    if args.cost_aware and "curve_gp" not in samplers:
        problems.append(f"--cost-aware: is for curve_gp, got {', '.join(samplers)}; name it with --sampler too")
    if problems:
        raise InputError(problems)
    spaces = [(name, read_curves(args.curves, **_sections(recorded.space, name, args))) for name in samplers]
    budgets = sorted(args.trainings)
    until_s = budgets[-1] * unit_seconds(recorded) / args.workers
    console = Console(stderr=True)
    left_out = f" ({recorded.left_out} without all their epochs are left out)" if recorded.left_out else ""
    console.print(
        f"{len(recorded.points)} recorded trainings{left_out}; the best ends at {recorded.best:.4g}, "
        f"the median {recorded.scale:.4g} above it; "
        f"any other configuration stands for the recorded one nearest to it",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False, title="Mean regret after so many trainings' time (0: the best recorded, 1: the median)")
    for heading in ("sampler", "rungs", *(f"{budget:g}" for budget in budgets), "trials", "stopped early"):
        table.add_column(heading, justify="left" if heading in ("sampler", "rungs") else "right")
    rows = []
    for name, changed in spaces:
        replays = [
            replay(changed, seed=seed, workers=args.workers, until_s=until_s)
            for seed in track(range(args.seeds), f"{name}", console=console, transient=True)
        ]
        found = regrets(replays, changed, budgets, args.workers)
        rows += [(name, seed, budget, found[seed, place]) for seed in range(args.seeds) for place, budget in enumerate(budgets)]
        trials = sum(len(each.policy.trials) for each in replays) / len(replays)
        stopped = sum(each.stopped_share for each in replays) / len(replays)
        rungs = ", ".join(f"{share:g}" for share in changed.space.scheduler.rungs) or "none"
        cells = [interval(found[:, place]) for place in range(len(budgets))]
        table.add_row(name, rungs, *cells, f"{trials:.0f}", f"{stopped:.0%}")
    Console().print(table)
    if args.out is not None:
        write(args.out, rows)
    return 0


def _sections(space: "Space", sampler: str, args: argparse.Namespace) -> dict[str, object]:
    """The space's sections with what the options change; a replay ends by its clock, not by a number of trials."""
    scheduler = space.scheduler.model_dump(mode="json")
    if args.rungs is not None:
        scheduler["rungs"] = args.rungs
    if args.reduction_factor is not None:
        scheduler["reduction_factor"] = args.reduction_factor
    settings = {**space.sampler.model_dump(mode="json"), "name": sampler}
    if args.startup_trials is not None:
        settings["startup_trials"] = args.startup_trials
    if args.stopped_as is not None:
        settings["stopped_as"] = args.stopped_as
    weighs = settings["cost_aware"] if args.cost_aware is None else args.cost_aware
    settings["cost_aware"] = weighs if sampler == "curve_gp" else False
    sections: dict[str, object] = {
        "sampler": settings,
        "scheduler": scheduler,
        "budget": {**space.budget.model_dump(mode="json"), "trials": 100_000},
    }
    if sampler != "curve_gp" and any(entry.prior is not None for entry in space.search.values()):  # no other sampler uses priors
        sections["search"] = {key: entry.model_copy(update={"prior": None}).model_dump() for key, entry in space.search.items()}
    return sections
