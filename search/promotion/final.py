"""The final networks: how many, of which configurations and how long each, planned from the time that is left.

A search compares short trainings and keeps films aside to compare them on.  What it has chosen is trained again: longer, and on every film
that is not locked (as AutoGluon refits its models, and nnU-Net trains its fold "all").  Nobody can say on unseen films what such networks
err by, so expected errors, radii and review flags stay those of the confirmed networks, which did not see the validation films.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Literal

import numpy as np

from ceph_core.config import apply
from ceph_core.data.films import EVERY_FILM, OWN_SPLIT, TrainingData
from ceph_core.duration import duration
from search.candidates import longer
from search.cost import in_turn_s
from search.policy import Policy
from search.promotion.jobs import Job
from search.records import Event, Journal
from search.space import Space
from search.space.schema import PromotionSettings

FINAL = "final"
"""Role of a final training in the ledger."""
PLANNED = "final_plan"
"""The ledger's event that holds a plan."""

_SAFETY = 1.1
"""Trainings are taken to last this much longer than estimated: a network that cannot end in time is not begun."""
_UNLIMITED_LENGTHS = 5
"""Without a limit of time the final networks may take as long as everything before them, but none learns longer than so many trials."""
_LENGTH_EFFECT = ((2_000, 1.09), (5_000, 1.03), (10_000, 1.005), (13_000, 1.0), (20_000, 0.99))
"""(film passes, error of a network over that of one with 13,000), between them linear in the logarithm of the passes.  By trainings of 20,
50 and 100 epochs on ISBI films (docs/recipe.md); what lies beyond them is a guess on the careful side."""
_ENSEMBLE_EFFECT = 0.045
"""Share of a network's error that the mean of infinitely many would not have; of N the part 1 - 1/N of it."""

Films = Literal["all", "train"]


@dataclass(frozen=True)
class FinalPlan:
    """What is trained for good.

    Attributes:
        candidates: one per network, in the order in which they are trained: the search's trial whose configuration it has.
        epochs: length of each training.
        films: what they learn from; num_films: how many those are.
        seconds: estimated wall time.
    """

    candidates: tuple[str, ...]
    epochs: int
    films: Films
    num_films: int
    seconds: float

    def __str__(self) -> str:
        number = len(self.candidates)
        return (
            f"{number} network{'s' if number > 1 else ''} x {self.epochs} epochs on {self.num_films} films, about {duration(self.seconds)}"
        )

    @classmethod
    def from_event(cls, event: Event) -> "FinalPlan":
        """The plan that `to_event` wrote."""
        return cls(tuple(event["candidates"]), event["epochs"], event["films"], event["num_films"], event["seconds"])

    def to_event(self) -> Event:
        """The ledger's event."""
        return {"event": PLANNED, **asdict(self)}


def planned(ledger: Journal) -> FinalPlan | None:
    """The plan of an earlier driver, unless the run was extended since: there is more time now."""
    marks = [event for event in ledger.events() if event["event"] in (PLANNED, "extended")]
    return FinalPlan.from_event(marks[-1]) if marks and marks[-1]["event"] == PLANNED else None


def plan_for(policy: Policy, weights: Mapping[str, float], first: str, data: TrainingData) -> FinalPlan | None:
    """Plan the final networks from the time that is left.

    Where it is too short for the chosen settings, it is planned for the best of the candidates for which it is not; None if there is no
    such candidate.

    Args:
        weights: of each chosen candidate in the ensemble.
        first: candidate that is trained before all others.
    """
    expected = policy.estimates()
    others = sorted((state.trial for state in policy.candidates()), key=lambda trial: expected[policy.trials[trial].number].value_mm)
    attempts = [(weights, first), *(({trial: 1.0}, trial) for trial in others)]
    return next((plan for shares, head in attempts if (plan := _plan(policy, shares, head, data)) is not None), None)


def _plan(policy: Policy, weights: Mapping[str, float], first: str, data: TrainingData) -> FinalPlan | None:
    pace, final = policy.pace, policy.space.promotion.final
    configs = {candidate: policy.trials[candidate].config for candidate in dict.fromkeys((first, *weights))}
    num_films = len(data.for_fold(fold_of(final.films)).train_ids)
    left_s = pace.timetable.jobs_end_s() - pace.elapsed_s()
    is_unlimited = math.isinf(left_s)
    allowed = lengths(max(config.train.epochs for config in configs.values()), len(data.train_ids), num_films, is_unlimited)

    def seconds(candidate: str, epochs: int) -> float:
        measured = pace.cost.seconds(longer(configs[candidate], epochs))
        return math.inf if measured is None else _SAFETY * measured * num_films / len(data.train_ids)

    left_s = pace.elapsed_s() if is_unlimited else left_s
    return best_plan(policy.space.promotion, partial(allocated, weights, first), seconds, left_s, pace.workers, num_films, allowed)


def longest_epochs(space: Space, num_films: int) -> int:
    """Most epochs that a final network may be planned to have, whatever the search chooses."""
    return lengths(space.configure(space.baseline, seed=0).train.epochs, num_films, num_films, is_unlimited=False)[-1]


def lengths(trial_epochs: int, num_train: int, num_films: int, is_unlimited: bool) -> range:
    """Epochs that a final training may have: as many film passes as a trial at least, and no more than recordings show to help.

    Args:
        num_train: films that a trial learns from; num_films: films that a final network learns from.
    """
    shortest = math.ceil(trial_epochs * num_train / num_films)
    longest = max(trial_epochs, math.ceil(_LENGTH_EFFECT[-1][0] / num_films))
    return range(shortest, (min(longest, _UNLIMITED_LENGTHS * trial_epochs) if is_unlimited else longest) + 1)


def best_plan(
    promotion: PromotionSettings,
    allocate: Callable[[int], tuple[str, ...]],
    seconds: Callable[[str, int], float],
    left_s: float,
    workers: int,
    num_films: int,
    allowed: range,
) -> FinalPlan | None:
    """The plan with the lowest error to be expected (`relative_error`) of those that end in time.

    Args:
        promotion: `final.networks` and `final.epochs` that are given are kept, but for networks that cannot end in time.
        allocate: the candidates of so many networks.
        seconds: that a candidate's training of so many epochs takes.
        workers: trainings that run at a time.
        allowed: epochs that may be planned.
    """
    final = promotion.final
    given = final.networks != "auto"
    numbers = range(int(final.networks) if final.networks != "auto" else promotion.most_networks, 0, -1)
    allowed = allowed if final.epochs == "auto" else range(final.epochs, final.epochs + 1)
    plans: list[FinalPlan] = []
    for number in numbers:
        candidates = allocate(number)

        def takes_s(epochs: int, candidates: tuple[str, ...] = candidates) -> float:
            return in_turn_s([seconds(candidate, epochs) for candidate in candidates], workers)

        fitting = bisect_right(allowed, left_s, key=takes_s)
        if fitting:
            epochs = allowed[fitting - 1]
            plans.append(FinalPlan(candidates, epochs, final.films, num_films, takes_s(epochs)))
            if given:
                break
    return min(plans, key=lambda plan: relative_error(plan.epochs * num_films, len(plan.candidates)), default=None)


def relative_error(film_passes: float, networks: int) -> float:
    """What the mean of so many networks of this length can be expected to err by, over one network of 13,000 film passes."""
    passes, effects = zip(*_LENGTH_EFFECT, strict=True)
    return float(np.interp(math.log(film_passes), np.log(passes), effects)) * (1 - _ENSEMBLE_EFFECT * (1 - 1 / networks))


def allocated(weights: Mapping[str, float], first: str, number: int) -> tuple[str, ...]:
    """The candidate of each of so many networks: as the weights share them out, the first one and the heaviest before the others."""
    counts: Counter[str] = Counter({first: 1})
    for _ in range(number - 1):
        # The candidate that is furthest behind its share (largest remainder, one network at a time).
        counts[max(weights, key=lambda each: (weights[each] * number - counts[each], each == first))] += 1
    order = sorted(counts, key=lambda each: (each != first, -counts[each], each))
    return tuple(each for turn in range(max(counts.values())) for each in order if counts[each] > turn)


def fold_of(films: Films) -> int:
    """The fold, as `TrainingData.for_fold` counts, by which a final network learns from these films."""
    return EVERY_FILM if films == "all" else OWN_SPLIT


def final_jobs(plan: FinalPlan, policy: Policy) -> list[Job]:
    """The trainings of a plan; their seeds are none that the search or the confirmation has used."""
    used = policy.space.promotion.seeds
    counts: Counter[str] = Counter()
    jobs = []
    for candidate in plan.candidates:
        counts[candidate] += 1
        state = policy.trials[candidate]
        config = apply(longer(state.config, plan.epochs), {"train.seed": policy.seed + used + counts[candidate]})
        name = f"{candidate}-final{counts[candidate]}-{plan.epochs}epochs"
        jobs.append(Job(name, candidate, state.values, config, 0, fold_of(plan.films), is_fresh=True, role=FINAL))
    return jobs
