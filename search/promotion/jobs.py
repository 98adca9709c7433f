"""Which trainings confirm the candidates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ceph_core.config import Config, apply
from ceph_core.data.films import OWN_SPLIT
from search.candidates import Training, trainings
from search.policy import Policy
from search.standings import TrialState

CONFIRM = "confirm"
"""Role of a confirming training in the ledger."""

RunJobs = Callable[["Sequence[Job]"], None]
"""Trains jobs, as many at a time as there is room for, until done or out of time; failures are in the records."""


@dataclass(frozen=True)
class Job:
    """One training of a candidate to the full budget.

    Attributes:
        trial: id of the confirming trial.
        candidate: the search's trial.
        values: the knobs' values.
        config: the whole training, its seed included.
        from_epoch: epochs it has had: those of the candidate's trial, which it continues (the plan is the same, so that is equal to never
            having stopped); 0 for a fresh one.
        fold: that validates, or OWN_SPLIT or EVERY_FILM.
        is_fresh: begun anew; of use only if it reaches its end.
        role: in the ledger.
    """

    trial: str
    candidate: str
    values: Mapping[str, Any]
    config: Config
    from_epoch: int
    fold: int = OWN_SPLIT
    is_fresh: bool = False
    role: str = CONFIRM


def jobs_for(policy: Policy) -> list[Job]:
    """Trainings that the candidates still lack, seed by seed, the baseline before the others, so that a clock cuts off the least."""
    wanted = trainings(policy.space.promotion)
    return [
        _job(policy, state, training)
        for seed in dict.fromkeys(training.seed for training in wanted)
        for state in policy.candidates()
        for training in wanted
        if training.seed == seed and (seed > 0 or state.status != "completed")
    ]


def trial_of(candidate: str, training: Training) -> str:
    """The id of a confirming trial."""
    if training.seed == 0:
        return f"{candidate}-full"
    return f"{candidate}-seed{training.seed}" + (f"-fold{training.fold}" if training.fold >= 0 else "")


def _job(policy: Policy, state: TrialState, training: Training) -> Job:
    name = trial_of(state.trial, training)
    if training.seed == 0:
        return Job(name, state.trial, state.values, state.config, state.epoch)
    config = apply(state.config, {"train.seed": policy.seed + training.seed})
    return Job(name, state.trial, state.values, config, 0, training.fold, is_fresh=True)
