"""Which configuration to try next: a pure function of (seed, trial number, history so far).

Every proposal has a new Optuna study of the history and a new model, seeded by the trial's number.  Nothing hides in a
sampler's state, so a run resumed after trial k proposes what an unbroken one would; and what an old trial tells the model
is a policy applied at each proposal, free to change its mind as the search learns.  Only the past trials' own records are kept
from one proposal to the next, as long as they say the same.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from scipy.stats import qmc

from ceph_core.errors import InputError
from search.cube import point_at
from search.curve_model import proposals
from search.duration_model import log_seconds
from search.history import Identity, Outcome, Point, Trial, identity
from search.prior import drawn, has_prior
from search.space.knobs import Knob, active, misfits
from search.told import HistoryStorage, StoppedAs, Told, distribution, informs, quiet_optuna

SamplerName = Literal["curve_gp", "tpe", "gp", "random", "qmc"]
CostAware = Literal["auto"] | bool

UNEQUAL = 4.0
"""Ratio of the 90th to the 10th percentile of trainings' times from which on `cost_aware: auto` weighs time.  Where they differ fifteenfold
this lowers regret by 0.02 to 0.03; where they are alike (a ratio of 2 on ISBI films) it changes nothing or costs 0.02 (docs/search.md)."""


_MODEL_DRAWS, _ALL_DRAWS, _RANKED = 4, 64, 24
"""How often a configuration that was tried before, or does not fit, is drawn anew: first by the model, then at random; and how often in
all.  A model that ranks candidates gives so many."""
_PRIOR_DRAWS = 0.5
"""Share of the start-up points that follow the knobs' priors; the others are spread evenly, whatever the priors say."""


class Sampler:
    """Proposes configurations.

    Args:
        knobs: what is searched, each knob after those its condition names.
        start_from: known-good points; they are the first trials, and the first of them is the baseline.
        name: curve_gp (a Gaussian process over forecasts of all learning curves, ours), tpe (Parzen estimators, multivariate), gp
            (Optuna's Gaussian process), random, or qmc (a scrambled Sobol sequence).
        startup_trials: ended trials a model must have to learn from; until then the Sobol sequence spreads its points.
        seed: of every draw.
        stopped_as: what a trial stopped early tells the model, see `StoppedAs`; None: complete for gp, pruned for tpe.  curve_gp
            forecasts its end, whatever this says.
        earlier: trials of earlier runs, which the model learns from; the best of them is tried again after the start points.
        fits: whether a configuration can be trained, as far as the history tells; others are proposed only if none is found.
        cost_aware: whether what curve_gp expects to gain is weighed against how long the training will take; auto: where trainings are
            measured to differ in time by a factor of `UNEQUAL` or more.

    Raises:
        InputError: an unknown name or policy, or a start point outside the space; all problems at once.
    """

    def __init__(
        self,
        knobs: Sequence[Knob],
        start_from: Sequence[Mapping[str, Any]] = (),
        name: SamplerName = "curve_gp",
        *,
        startup_trials: int = 10,
        seed: int = 0,
        stopped_as: StoppedAs | None = None,
        earlier: Sequence[Trial] = (),
        fits: Callable[[Mapping[str, Any]], bool] | None = None,
        cost_aware: CostAware = False,
    ) -> None:
        problems = [f"start_from[{place}]: {key}: {what}" for place, point in enumerate(start_from) for key, what in misfits(knobs, point)]
        if name not in get_args(SamplerName):
            problems.append(f"sampler.name: {name!r} is unknown; allowed are {', '.join(get_args(SamplerName))}")
        if stopped_as is not None and stopped_as not in get_args(StoppedAs):
            problems.append(f"sampler.stopped_as: {stopped_as!r} is unknown; allowed are {', '.join(get_args(StoppedAs))}")
        if name == "gp" and stopped_as == "pruned":
            problems.append("sampler.stopped_as: a GP does not look at pruned trials; use complete, predicted or failed")
        if cost_aware is True and name != "curve_gp":
            problems.append(f"sampler.cost_aware: is for curve_gp, got true with {name}; choose curve_gp, or set it to false")
        if name != "curve_gp" and (keys := [knob.key for knob in knobs if knob.prior is not None]):
            problems.append(f"sampler.name: {name} uses no priors, given for {', '.join(keys)}; choose curve_gp, or remove them")
        if problems:
            raise InputError(problems)
        self.name = name
        self.stopped_as: StoppedAs = stopped_as or ("complete" if name == "gp" else "pruned")
        self._knobs = tuple(knobs)
        self._distributions: dict[str, BaseDistribution] = {knob.key: distribution(knob) for knob in knobs}
        self._earlier, self._fits = tuple(earlier), fits
        self._start_from = (*(dict(point) for point in start_from), *_best_of(earlier, start_from))
        self._startup_trials = max(1, startup_trials)
        self._seed, self._cost_aware = seed, cost_aware
        self._trials: dict[int, Trial] = {}
        self._tried: set[Identity] = set()
        self._is_learned = False
        self._told = Told(self._distributions, self.stopped_as, with_gp=name == "gp")

    @property
    def _known(self) -> tuple[Trial, ...]:
        """What a model learns from."""
        return (*self._earlier, *self._trials.values())

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The history, by number."""
        return tuple(self._trials.values())

    def trial(self, number: int) -> Trial:
        """One of them."""
        return self._trials[number]

    @property
    def num_trials(self) -> int:
        """How many were asked for."""
        return len(self._trials)

    def ask(self, number: int) -> dict[str, Any]:
        """Values of the active knobs for trial `number`; numbers rise, and one asked before gets the same answer."""
        if number not in self._trials:
            last = next(reversed(self._trials), -1)
            assert number > last, f"trial {number} asked after trial {last}"
            self.take(number, self._start_from[number] if number < len(self._start_from) else self._propose(number))
        return dict(self._trials[number].values)

    def take(self, number: int, values: Mapping[str, Any]) -> None:
        """Trial `number` tries these values: what a copy of this sampler proposed for it."""
        self._trials[number] = Trial(number, dict(values), is_baseline=number == 0 and bool(self._start_from))
        self._tried.add(identity(values))

    def copy(self, fits: Callable[[Mapping[str, Any]], bool]) -> "Sampler":
        """One that proposes what this one would now, whatever is reported or told to this one later.

        Args:
            fits: as of now.
        """
        made = copy.copy(self)
        made._fits = fits
        made._trials = {number: replace(trial, curve=dict(trial.curve)) for number, trial in self._trials.items()}
        made._tried = set(self._tried)
        made._told = Told(self._distributions, self.stopped_as, with_gp=self.name == "gp")
        return made

    @property
    def num_given(self) -> int:
        """Start points; the trials after them are proposed."""
        return len(self._start_from)

    def report(self, number: int, epoch: int, total_epochs: int, value_mm: float | None) -> None:
        """A trial's validation MRE after an epoch, the report that stops it included; the first entry of an epoch stays."""
        self._trials[number].curve.setdefault(epoch, Point(value_mm, total_epochs))

    def timed(self, number: int, seconds: float) -> None:
        """What a trial's whole training is now expected to take."""
        self._trials[number].seconds = seconds

    def tell(self, number: int, outcome: Outcome) -> None:
        """A trial has ended; telling it again changes nothing."""
        trial = self._trials[number]
        assert trial.outcome in (None, outcome), f"trial {number} ended as {trial.outcome}, now told {outcome}"
        trial.outcome = outcome

    def replay(self, history: Iterable[Trial]) -> None:
        """Take over a history, running trials included; the next proposals are those of a sampler that lived through it."""
        assert not self._trials, "replay is for a new sampler"
        self._trials = {trial.number: trial for trial in sorted(history, key=lambda trial: trial.number)}
        self._tried = {identity(trial.values) for trial in self._trials.values()}

    def _propose(self, number: int) -> dict[str, Any]:
        """A configuration not tried before that fits, if one is found in a bounded number of draws; else one that fits; else any."""
        again: dict[str, Any] | None = None
        modelled = self._is_modelled()
        study = self._study() if modelled and self.name != "curve_gp" else None
        ranked = self._ranked(number) if modelled and self.name == "curve_gp" else []
        for draw in range(_ALL_DRAWS):
            seed = int(np.random.SeedSequence([self._seed, number, draw]).generate_state(1)[0])
            if study is not None and draw < _MODEL_DRAWS:
                values = self._from_model(study, seed)
            elif draw < len(ranked):
                values = ranked[draw]
            elif self.name != "random" and draw == 0:
                values = point_at(self._knobs, self._sobol(number - len(self._start_from)))
            else:
                values = point_at(self._knobs, np.random.default_rng(seed).random(len(self._knobs)).tolist())
            if self._fits is None or self._fits(values):
                if identity(values) not in self._tried:
                    return values
                again = values
        return again or values

    def _ranked(self, number: int) -> list[dict[str, Any]]:
        """What the process over curves would try, the best first."""
        seconds = log_seconds(self._knobs, self._timed()) if self._weighs_time() else None
        return proposals(self._knobs, self._known, np.random.default_rng([self._seed, number]), _RANKED, seconds)

    def _weighs_time(self) -> bool:
        if self._cost_aware != "auto":
            return self._cost_aware
        seconds = [trial.seconds for trial in self._timed() if trial.seconds]
        return len(seconds) > 1 and bool(np.quantile(seconds, 0.9) >= UNEQUAL * np.quantile(seconds, 0.1))

    def _timed(self) -> list[Trial]:
        """Trials that say how long configurations take: those of earlier runs, maybe on other machines, only while there are few others."""
        own = [trial for trial in self._trials.values() if trial.seconds is not None]
        return own if len(own) >= self._startup_trials else [*(trial for trial in self._earlier if trial.seconds is not None), *own]

    def _sobol(self, index: int) -> list[float]:
        """Point `index` of one scrambled Sobol sequence, whoever drew the points before it.

        Where a knob has a prior the sequence has one coordinate more, which says whether the point follows the priors: to choose every
        second point would leave half of the first coordinate's range out.
        """
        with_prior = has_prior(self._knobs)
        sequence = qmc.Sobol(len(self._knobs) + with_prior, scramble=True, rng=np.random.default_rng(self._seed))
        if index:
            sequence.fast_forward(index)
        point = sequence.random(1)
        if with_prior:
            follows, point = bool(point[0, -1] < _PRIOR_DRAWS), point[:, :-1]
            point = drawn(self._knobs, point) if follows else point
        return [float(share) for share in point[0]]

    def _is_modelled(self) -> bool:
        """Whether a model is wanted and has enough to learn from, some value among it (not infeasible trials alone)."""
        if not self._is_learned:  # once learned, for good: outcomes are final
            learned = [trial.outcome.kind for trial in self._known if trial.outcome and informs(trial, self.stopped_as)]
            self._is_learned = len(learned) >= self._startup_trials and set(learned) != {"infeasible"}
        return self.name not in ("random", "qmc") and self._is_learned

    def _study(self) -> optuna.Study:
        """The history in Optuna's terms, in memory."""
        with quiet_optuna():
            return optuna.create_study(storage=HistoryStorage(self._told.trials(self._known)))

    def _from_model(self, study: optuna.Study, seed: int) -> dict[str, Any]:
        """Drawn knob by knob; what is drawn stays in the study as a running trial, so that drawing anew shuns it."""
        values: dict[str, Any] = {}
        with quiet_optuna():
            study.sampler = self._model(seed)
            trial = study.ask()
            for knob in self._knobs:
                if knob.key in active(self._knobs, values):
                    values[knob.key] = _suggest(trial, knob, self._distributions[knob.key])
        return values

    def _model(self, seed: int) -> BaseSampler:
        """Conditional knobs: TPE models each group that occurs together; a GP models what always exists, a TPE the rest."""
        grouped = any(knob.when for knob in self._knobs)
        tpe = TPESampler(n_startup_trials=1, multivariate=True, group=grouped, constant_liar=True, seed=seed)
        if self.name == "tpe":
            return tpe
        return GPSampler(n_startup_trials=1, independent_sampler=tpe, seed=seed, warn_independent_sampling=False)


def _best_of(earlier: Sequence[Trial], start_from: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The configuration of the best finished trial of earlier runs, unless it is a start point."""
    finished = [(trial.outcome.value_mm, trial) for trial in earlier if trial.outcome is not None and trial.outcome.kind == "complete"]
    if not finished:
        return []
    _, best = min(finished, key=lambda pair: (pair[0], pair[1].number))
    return [] if identity(best.values) in {identity(point) for point in start_from} else [dict(best.values)]


def _suggest(trial: optuna.Trial, knob: Knob, wanted: BaseDistribution) -> Any:
    if isinstance(wanted, FloatDistribution):
        return trial.suggest_float(knob.key, wanted.low, wanted.high, step=wanted.step, log=wanted.log)
    if isinstance(wanted, IntDistribution):
        return trial.suggest_int(knob.key, wanted.low, wanted.high, step=wanted.step, log=wanted.log)
    return trial.suggest_categorical(knob.key, knob.choices)
