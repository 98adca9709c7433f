"""Boundary optima: knobs whose best trials lie at one end of the searched range, so that the best value may lie outside it.  Pure.

**Which trials.** The best distinct configurations by last validation MRE, among those that completed or reached the last rung: a
third of all that have a value, but 4 to 12.  Before 6 trials have ended nothing is said.

**When a knob is reported.** All three must hold:

1. At least two thirds of the best trials in which the knob exists lie in the outermost tenth of the range, on the knob's own scale
   (linear or logarithmic), or at the outermost value, where values are steps or a list of numbers.
2. If the knob did not matter and its values were drawn uniformly, so many would lie there with a probability below 1 %: the upper
   tail of the binomial distribution (exact binomial test; Conover, Practical Nonparametric Statistics, 3rd ed., 1999, section 3.1).
   Points of `start_from` among the best were not drawn: they count for the two thirds, but not for the tail.
3. A Gaussian process over all trials expects the best ones at this end to do worse with this knob at the middle of its range, and is
   at least 95 % sure of it.

**Why these.** For a knob without influence the best trials are a random subset, so under uniform sampling the binomial is exact,
whatever the number of trials; it matters where an end is a large part of the range (of 3 listed values, the 4 best of 4 have a given
outer one in 1.2 % of searches).  A model-based sampler repeats what it found good and likes to try the ends, where it knows least, so
its trials are not independent.  In 100 searches of 30 trials by `curve_gp` over made-up curves, two knobs without influence met
conditions 1 and 2 in 41 and 44 searches, and all three in 5 and 4.  The process takes into account what else differed between the
trials.  Fisher's exact test of the best against the others would not: the early trials are worse because of every knob that was
improved since.  In 200 random searches, one of seven knobs met conditions 1 and 2 in 3.

**What is suggested.** A wider range by `search.space.widen`, within the limits of the configuration's field, if the whole space is
valid with it.  An end that cannot be moved, such as a strength of 0 or a probability of 1, is not reported.  Neither are knobs whose
values have no order.
"""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import bdtrc

from ceph_core.config import Config
from ceph_core.errors import InputError
from ceph_core.training.progressive import epoch_of_share
from search import records
from search.cube import coordinates, share_of, value_at
from search.forecast import forecasts
from search.history import Identity, Trial, identity
from search.levels import levelled
from search.process import Process
from search.records import Run
from search.space import Knob, Space
from search.space.widen import ENDS, End, as_yaml, ends, is_ordered, overrides, widened, with_knob

LEAST_ENDED = 6
"""Trials."""
FEWEST_BEST, MOST_BEST = 4, 12
OF_BEST = 2 / 3
OUTERMOST = 0.1
MOST_BY_CHANCE = 0.01
LEAST_DEVIATIONS = 1.645
"""Expected loss over its standard deviation: 95 % sure, one-sided."""
_DRAWS = 1000
"""Evenly spaced draws that say which part of a range counts as its end."""


@dataclass(frozen=True)
class BoundaryOptimum:
    """A knob whose best trials lie at one end of the searched range.

    Attributes:
        knob: dotted key.
        end: where they lie.
        num_at_end: of the best trials.
        num_best: best trials in which the knob exists.
        searched: low and high of the range; every value of a list, ascending.
        wider: the same, as suggested.
        overrides: `KEY=VALUE` for `--set` in a new search.
        caveat: what to know before widening; empty: nothing.
    """

    knob: str
    end: End
    num_at_end: int
    num_best: int
    searched: tuple[float, ...]
    wider: tuple[float, ...]
    overrides: tuple[str, ...]
    caveat: str = ""

    def __str__(self) -> str:
        return f"{self.knob}: {self.finding}; {self.advice}: {options([self])}"

    @property
    def finding(self) -> str:
        """How many lie where."""
        return f"{self.num_at_end} of the {self.num_best} best trials are at the {self.end} end of {as_yaml(self.searched)}"

    @property
    def advice(self) -> str:
        """What to search instead."""
        return f"widen to {as_yaml(self.wider)}" + (f" ({self.caveat})" if self.caveat else "")


def options(optima: Sequence[BoundaryOptimum]) -> str:
    """The `--set` options of a new search that widen all of these, quoted for a shell."""
    return " ".join(f"--set {shlex.quote(override)}" for optimum in optima for override in optimum.overrides)


def boundary_optima_of(run: Run) -> tuple[BoundaryOptimum, ...]:
    """The boundary optima of a run, finished or not; none where this version cannot read the space in its plan."""
    ended = run.trials[(run.trials["role"] == "search") & (run.trials["status"] != "running")]
    if len(ended) < LEAST_ENDED:
        return ()
    try:
        space = Space.from_dict(run.plan.get("space") or {}, source=str(run.folder.plan_path))
    except InputError:
        return ()
    films = ((run.plan.get("data") or {}).get("films") or {}).get("train")
    return boundary_optima(records.past_trials(records.history(run.folder.path)), space, films)


def boundary_optima(trials: Sequence[Trial], space: Space, num_train_films: int | None = None) -> tuple[BoundaryOptimum, ...]:
    """Knobs at an end of their range, in the order of the space.

    Args:
        trials: of the search.
        space: what was searched.
        num_train_films: no larger batch is suggested; None: not known.
    """
    best = best_trials(trials, space)
    crowded: list[tuple[Knob, End, list[Trial], int]] = []
    for knob in filter(is_ordered, space.knobs):
        there = [trial for trial in best if knob.key in trial.values]
        for end in ENDS:
            at_end = [trial for trial in there if _is_at(knob, end, trial.values[knob.key])]
            if _is_crowded(knob, end, at_end, there, len(space.start_from)):
                crowded.append((knob, end, at_end, len(there)))
    process = _process(space.knobs, trials) if crowded else None
    found = []
    for knob, end, at_end, num_best in crowded:
        wider = widened(knob, end)
        if process is None or wider is None or not _is_better_there(process, space.knobs, knob, end, at_end):
            continue
        if _fits(space, wider, num_train_films):
            settings = tuple(f"{key}={text}" for key, text in overrides(knob, wider).items())
            caveat = _sigma_caveat(space, wider, at_end) if (knob.key, end) == ("heatmap.sigma_rel", "low") else ""
            found.append(BoundaryOptimum(knob.key, end, len(at_end), num_best, ends(knob), ends(wider), settings, caveat))
    return tuple(found)


def best_trials(trials: Sequence[Trial], space: Space) -> list[Trial]:
    """The best distinct configurations of a search, the best first; none where too few trials have ended."""
    valued = {trial.number: value for trial in trials if (value := _value_mm(trial)) is not None}
    ranked = sorted((trial for trial in trials if trial.number in valued), key=lambda trial: (valued[trial.number], trial.number))
    distinct: dict[Identity, Trial] = {}
    for trial in ranked:
        distinct.setdefault(identity(trial.values), trial)
    number = min(max(math.ceil(len(distinct) / 3), FEWEST_BEST), MOST_BEST)
    best = [trial for trial in distinct.values() if _is_far(trial, space)][:number]
    has_enough = sum(trial.outcome is not None for trial in trials) >= LEAST_ENDED and len(best) >= FEWEST_BEST
    return best if has_enough else []


def _value_mm(trial: Trial) -> float | None:
    """The last validation MRE; None without one, and for a trial that failed."""
    if trial.outcome is not None and trial.outcome.kind in ("failed", "infeasible"):
        return None
    return trial.curve[max(trial.curve)].value_mm if trial.curve else None


def _is_far(trial: Trial, space: Space) -> bool:
    """Whether the trial reached the last rung, or its end where there are none."""
    epoch, rungs = max(trial.curve), space.scheduler.rungs
    return epoch >= epoch_of_share(rungs[-1] if rungs else 1.0, trial.curve[epoch].total_epochs)


def _is_at(knob: Knob, end: End, value: float) -> bool:
    """Whether a value lies in the outermost tenth of the range, or is the outermost value."""
    if value == ends(knob)[0 if end == "low" else -1]:
        return True
    if knob.kind == "categorical":
        return False
    share = share_of(knob, value)
    return (share if end == "low" else 1 - share) <= OUTERMOST


def _is_crowded(knob: Knob, end: End, at_end: Sequence[Trial], best: Sequence[Trial], num_given: int) -> bool:
    """Whether so many of the best lie at the end that it is not chance: conditions 1 and 2 of the module."""
    if len(best) < FEWEST_BEST or len(at_end) < OF_BEST * len(best) - 1e-9:
        return False
    by_chance = float(np.mean([_is_at(knob, end, value_at(knob, (draw + 0.5) / _DRAWS)) for draw in range(_DRAWS)]))
    drawn, drawn_at_end = (sum(trial.number >= num_given for trial in several) for several in (best, at_end))
    return drawn_at_end > 0 and float(bdtrc(drawn_at_end - 1, drawn, by_chance)) < MOST_BY_CHANCE


def _process(knobs: Sequence[Knob], trials: Sequence[Trial]) -> Process:
    """A Gaussian process over the forecasts of all trials, on the scale of `search.levels`."""
    told = [(trial, forecast) for trial, forecast in zip(trials, forecasts(trials), strict=True) if forecast is not None]
    _, values, noise = levelled([forecast for _, forecast in told])
    return Process.fit(np.stack([coordinates(knobs, trial.values) for trial, _ in told]), values, noise)


def _is_better_there(process: Process, knobs: Sequence[Knob], knob: Knob, end: End, at_end: Sequence[Trial]) -> bool:
    """Whether the process expects these trials to do worse with the knob at the middle of its range: condition 3 of the module."""
    in_order = replace(knob, choices=tuple(sorted(knob.choices))) if knob.choices else knob
    middle = value_at(in_order, 0.5 if end == "low" else 0.5 - 1e-9)  # where the middle lies between two values, the farther one
    one, other = (np.stack([coordinates(knobs, {**trial.values, **changed}) for trial in at_end]) for changed in ({}, {knob.key: middle}))
    loss, deviation = process.contrast(one, other)
    return loss > LEAST_DEVIATIONS * deviation


def _fits(space: Space, wider: Knob, num_train_films: int | None) -> bool:
    """Whether a search could be started with the wider range."""
    try:
        larger = with_knob(space, wider)
        if num_train_films is not None:
            larger.check_against(num_train_films)
    except InputError:
        return False
    return True


def _sigma_caveat(space: Space, wider: Knob, at_end: Sequence[Trial]) -> str:
    """What happens to the smallest sigma of the wider range at the finest heatmaps among these trials; empty: nothing."""
    configs = [space.configure(trial.values, seed=0) for trial in at_end if space.contains(trial.values)]
    if not configs:
        return ""
    finest = min(configs, key=_least_sigma_rel)
    least = _least_sigma_rel(finest)
    if ends(wider)[0] >= least:
        return ""
    return f"at {finest.data.image_size} px and stride {finest.model.head_stride}, {finest.heatmap.below_least_sigma} below {least:.2g}"


def _least_sigma_rel(config: Config) -> float:
    return config.heatmap.least_sigma_px * config.model.head_stride / config.data.image_size
