"""Ways to search, behind one face: what is tried next, and whether a trial goes on.

Others run as their users would start them: Ray Tune's OptunaSearch and AsyncHyperBandScheduler, Syne Tune's ASHA, BOHB and ASHACQR,
Optuna's samplers and Hyperband pruner; each is fed by hand what its own loop would feed it.  Where the space has known-good start points
each tries them first, by its own means: ours does, and a good first trial is worth a lot where time is short.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import optuna

from search.cube import point_at
from search.space import Knob

VALUE = "value"

Points = Sequence[Mapping[str, Any]]


class Contestant(Protocol):
    """One search of curves of `epochs` epochs."""

    def ask(self, trial: int) -> dict[str, Any]:
        """The configuration of a new trial."""

    def report(self, trial: int, epoch: int, value: float) -> bool:
        """Whether the trial goes on; at the last epoch the answer does not count."""


class OneEpochThenBest:
    """All configurations for one epoch each, then the best of them to the end.

    Args:
        first: how many are tried; the rest of the time is for the best.
        start_from: the first of these.
    """

    def __init__(self, knobs: Sequence[Knob], seed: int, first: int, start_from: Points) -> None:
        self._knobs, self._random, self._first, self._start_from = knobs, np.random.default_rng(seed), first, start_from
        self._after_one: dict[int, float] = {}
        self._asked: list[dict[str, Any]] = []
        self._again: list[int] = []
        self._is_second: set[int] = set()

    def ask(self, trial: int) -> dict[str, Any]:
        """In the second half, those that were best after one epoch, started anew."""
        if len(self._asked) < self._first:
            drawn = point_at(self._knobs, self._random.random(len(self._knobs)).tolist())
            self._asked.append(dict(self._start_from[trial]) if trial < len(self._start_from) else drawn)
            return self._asked[-1]
        best = sorted(set(self._after_one) - set(self._again), key=self._after_one.__getitem__)
        self._is_second.add(trial)
        self._asked.append(self._asked[best[0]] if best else point_at(self._knobs, self._random.random(len(self._knobs)).tolist()))
        self._again += best[:1]
        return self._asked[-1]

    def report(self, trial: int, epoch: int, value: float) -> bool:
        """A trial of the first half stops at once."""
        if trial in self._is_second:
            return True
        self._after_one[trial] = value
        return False


class Stock:
    """Ray Tune's OptunaSearch and AsyncHyperBandScheduler, with their defaults but for the length of a training."""

    def __init__(self, knobs: Sequence[Knob], seed: int, epochs: int, start_from: Points) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        space = {knob.key: _optuna_distribution(knob) for knob in knobs}
        points = [dict(point) for point in start_from] or None
        self._search = OptunaSearch(space, metric=VALUE, mode="min", seed=seed, points_to_evaluate=points)
        self._scheduler = AsyncHyperBandScheduler(time_attr="training_iteration", metric=VALUE, mode="min", max_t=epochs)
        self._stop, self._epochs = TrialScheduler.STOP, epochs

    def ask(self, trial: int) -> dict[str, Any]:
        """As a new trial's configuration is suggested."""
        found = self._search.suggest(str(trial))
        self._scheduler.on_trial_add(None, SimpleNamespace(trial_id=str(trial)))
        return dict(found)

    def report(self, trial: int, epoch: int, value: float) -> bool:
        """A trial that ends is told complete to the searcher, as Ray's controller does."""
        result = {VALUE: value, "training_iteration": epoch}
        running = SimpleNamespace(trial_id=str(trial))
        goes_on = epoch < self._epochs and self._scheduler.on_trial_result(None, running, result) != self._stop
        if goes_on:
            self._search.on_trial_result(str(trial), result)
        else:
            self._scheduler.on_trial_complete(None, running, result)
            self._search.on_trial_complete(str(trial), result)
        return goes_on


class SyneTune:
    """A scheduler of Syne Tune's that stops trials: "ASHA", "BOHB" or "ASHACQR"."""

    def __init__(self, name: str, knobs: Sequence[Knob], seed: int, epochs: int, start_from: Points) -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            from syne_tune.backend.trial_status import Trial
            from syne_tune.optimizer import baselines

        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        self._epochs, self._trial_class = epochs, Trial
        self._choices = {knob.key: {str(choice): choice for choice in knob.choices} for knob in knobs if knob.kind == "categorical"}
        points = [{key: str(value) if key in self._choices else value for key, value in point.items()} for point in start_from]
        np.random.seed(seed)  # noqa: NPY002  (its brackets are drawn from the global generator)
        self._scheduler = getattr(baselines, name)(
            {knob.key: _syne_domain(knob) for knob in knobs}, metric=VALUE, time_attr="epoch", max_t=epochs, random_seed=seed,
            points_to_evaluate=points or None,
        )  # fmt: skip
        self._trials: dict[int, Any] = {}

    def ask(self, trial: int) -> dict[str, Any]:
        """A new trial's configuration."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            suggested = self._scheduler.suggest().config
        self._trials[trial] = self._trial_class(trial, suggested, datetime.now())
        self._scheduler.on_trial_add(self._trials[trial])
        return {key: self._choices[key][value] if key in self._choices else value for key, value in suggested.items()}

    def report(self, trial: int, epoch: int, value: float) -> bool:
        """What the scheduler decides."""
        result = {VALUE: value, "epoch": epoch}
        decision = self._scheduler.on_trial_result(self._trials[trial], result)
        if epoch == self._epochs:
            self._scheduler.on_trial_complete(self._trials[trial], result)
        return decision == "CONTINUE"


class OptunaStudy:
    """Optuna's own ask, report and prune."""

    def __init__(self, knobs: Sequence[Knob], epochs: int, sampler: Any, pruner: Any, start_from: Points) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study = optuna.create_study(sampler=sampler, pruner=pruner)
            for point in start_from:
                self._study.enqueue_trial(dict(point))
        self._space = {knob.key: _optuna_distribution(knob) for knob in knobs}
        self._epochs = epochs
        self._trials: dict[int, Any] = {}

    def ask(self, trial: int) -> dict[str, Any]:
        """A new trial's configuration."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._trials[trial] = self._study.ask(self._space)
        return dict(self._trials[trial].params)

    def report(self, trial: int, epoch: int, value: float) -> bool:
        """The pruner's word."""
        running = self._trials[trial]
        running.report(value, epoch)
        if epoch == self._epochs:
            self._study.tell(running, value)
        elif running.should_prune():
            self._study.tell(running, state=optuna.trial.TrialState.PRUNED)
            return False
        return True


Maker = Callable[[Sequence[Knob], int, int, float, Points], Contestant]
"""From knobs, seed, epochs, the largest budget, in trainings, and the start points."""


def tpe_hyperband(knobs: Sequence[Knob], seed: int, epochs: int, trainings: float, start: Points) -> Contestant:
    """Optuna's TPE with its Hyperband."""
    return OptunaStudy(knobs, epochs, optuna.samplers.TPESampler(seed=seed), optuna.pruners.HyperbandPruner(1, epochs, 3), start)


def gp_alone(knobs: Sequence[Knob], seed: int, epochs: int, trainings: float, start: Points) -> Contestant:
    """Optuna's Gaussian process; every training to its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return OptunaStudy(knobs, epochs, optuna.samplers.GPSampler(seed=seed), optuna.pruners.NopPruner(), start)


OTHERS: dict[str, Maker] = {
    "one epoch, then the best": lambda knobs, seed, epochs, trainings, start: OneEpochThenBest(
        knobs, seed, int(trainings / 2 * epochs), start
    ),
    "OptunaSearch + ASHA (Ray Tune)": lambda knobs, seed, epochs, _, start: Stock(knobs, seed, epochs, start),
    "ASHA (Syne Tune)": lambda knobs, seed, epochs, _, start: SyneTune("ASHA", knobs, seed, epochs, start),
    "BOHB (Syne Tune)": lambda knobs, seed, epochs, _, start: SyneTune("BOHB", knobs, seed, epochs, start),
    "ASHACQR (Syne Tune)": lambda knobs, seed, epochs, _, start: SyneTune("ASHACQR", knobs, seed, epochs, start),
    "GP (Optuna), never stops": gp_alone,
    "TPE + Hyperband (Optuna)": tpe_hyperband,
}


def _optuna_distribution(knob: Knob) -> optuna.distributions.BaseDistribution:
    if knob.kind == "categorical":
        return optuna.distributions.CategoricalDistribution(knob.choices)
    assert knob.low is not None and knob.high is not None
    if knob.kind == "int":
        return optuna.distributions.IntDistribution(int(knob.low), int(knob.high), log=knob.log, step=int(knob.step or 1))
    return optuna.distributions.FloatDistribution(knob.low, knob.high, log=knob.log, step=knob.step)


def _syne_domain(knob: Knob) -> Any:
    from syne_tune import config_space as domains

    if knob.kind == "categorical":
        return domains.choice([str(choice) for choice in knob.choices])
    assert knob.low is not None and knob.high is not None
    if knob.step is not None:
        number = round((knob.high - knob.low) / knob.step) + 1
        return domains.finrange(knob.low, knob.high, number, cast_int=knob.kind == "int")
    if knob.kind == "int":
        return (domains.lograndint if knob.log else domains.randint)(int(knob.low), int(knob.high))
    return (domains.loguniform if knob.log else domains.uniform)(knob.low, knob.high)
