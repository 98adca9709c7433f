"""What a space file may say: every section, key, unit and range."""

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict, model_serializer, model_validator

from ceph_core.config import Frozen

Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
GPU_SHARES = (0, Fraction(1, 4), Fraction(1, 3), Fraction(1, 2), 1)
AUTO: Literal["auto"] = "auto"


def _scalar(value: Any) -> Any:
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError("must be one number, text, true, false or null")
    return value


def _pair(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("must be [low, high]")
    return value


def _gpu_share(value: Any) -> float | str:
    if value == AUTO:
        return AUTO
    try:
        given = float(Fraction(value)) if isinstance(value, str) else float(value)
        return next(float(share) for share in GPU_SHARES if abs(given - share) < 0.005)
    except (TypeError, ValueError, ZeroDivisionError, StopIteration):
        raise ValueError("must be auto, 0, 1/4, 1/3, 1/2 or 1: a trial uses one GPU or an even share of it") from None


def _planned(least: int, most: int) -> BeforeValidator:
    """`auto`, or a whole number in a range."""

    def check(value: Any) -> Any:
        if value == AUTO or (isinstance(value, int) and not isinstance(value, bool) and least <= value <= most):
            return value
        raise ValueError(f"must be auto or a whole number from {least} to {most:,}")

    return BeforeValidator(check)


Choice = Annotated[Any, AfterValidator(_scalar)]
"""One value of a categorical knob: a number, text, true, false or null."""


class Prior(Frozen):
    """Where good values of one knob are expected before the search begins: `mode` and `width` of a range, or `prefer` of a categorical."""

    mode: Number | None = Field(
        None, json_schema_extra={"unit": "the knob's unit"}, description="the value of a float or int range that is expected to be best"
    )
    width: Number | None = Field(
        None,
        gt=0,
        le=1,
        json_schema_extra={"unit": "share of the knob's range"},
        description="standard deviation about the mode, on the knob's own scale (logarithmic with log: true)",
    )
    prefer: tuple[Choice, ...] | None = Field(
        None, min_length=1, description="choices of a categorical that are expected to be best; the others stay possible"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> "Prior":
        given = [name for name, value in self if value is not None]
        if given not in (["mode", "width"], ["prefer"]):
            raise ValueError(f"needs mode and width (float, int), or prefer (categorical); has {' and '.join(given) or 'none'}")
        return self

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        return {"mode": self.mode, "width": self.width} if self.prefer is None else {"prefer": list(self.prefer)}


class Entry(Frozen):
    """One searched knob: exactly one of `float`, `int` and `categorical`.  `prior` says where curve_gp looks first, and fades."""

    float_range: Annotated[tuple[Number, Number], BeforeValidator(_pair)] | None = Field(
        None, alias="float", json_schema_extra={"unit": "the knob's unit"}, description="[low, high], both included"
    )
    int_range: Annotated[tuple[Whole, Whole], BeforeValidator(_pair)] | None = Field(
        None, alias="int", json_schema_extra={"unit": "the knob's unit"}, description="[low, high], both included"
    )
    categorical: tuple[Choice, ...] | None = Field(None, min_length=1, description="the values to choose from")
    log: bool = Field(False, description="sample on a log scale; low must be above 0")
    step: Number | None = Field(
        None, gt=0, json_schema_extra={"unit": "the knob's unit"}, description="distance of neighbouring values; must divide the range"
    )
    when: dict[str, tuple[Choice, ...]] = Field(
        default_factory=dict, description="the knob exists only while each of these knobs has one of these values"
    )
    prior: Prior | None = Field(None, description="where good values are expected; fades as trials come in; for curve_gp")

    @model_validator(mode="after")
    def _one_kind(self) -> "Entry":
        given = [kind for kind, value in self.kinds().items() if value is not None]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one of float: [low, high], int: [low, high], categorical: [...]; has {' and '.join(given) or 'none'}"
            )
        if self.int_range is not None and self.step is not None and self.step != int(self.step):
            raise ValueError(f"the step of an int range must be a whole number, got {self.step:g}")
        return self

    def kinds(self) -> dict[str, tuple[Any, ...] | None]:
        """Range or choices by kind; all but one are None."""
        return {"float": self.float_range, "int": self.int_range, "categorical": self.categorical}

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        ((kind, values),) = [(kind, list(values)) for kind, values in self.kinds().items() if values is not None]
        step = int(self.step) if kind == "int" and self.step is not None else self.step
        written: dict[str, Any] = {kind: values} if kind == "categorical" else {kind: values, "log": self.log, "step": step}
        if self.when:
            written["when"] = {key: list(allowed) for key, allowed in self.when.items()}
        if self.prior is not None:
            written["prior"] = self.prior.model_dump()
        return written


class SamplerSettings(Frozen):
    """Who proposes configurations (Optuna's samplers)."""

    name: Literal["curve_gp", "tpe", "gp", "random", "qmc"] = Field(
        "curve_gp",
        description="Gaussian process over forecasts of all curves; Optuna's Parzen trees or Gaussian process; uniform; a Sobol sequence",
    )
    startup_trials: Whole = Field(
        10,
        ge=0,
        le=10_000,
        json_schema_extra={"unit": "trials"},
        description="ended trials before a model proposes; until then a Sobol sequence does",
    )
    stopped_as: Literal["complete", "pruned", "failed", "predicted"] | None = Field(
        None,
        description="what a trial stopped early tells tpe and gp; predicted: the end of its curve as forecast; null: pruned for tpe, "
        "complete for gp; curve_gp forecasts it, whatever this says",
    )
    ask_ahead: Literal["auto"] | bool = Field(
        "auto",
        description="work on the next proposal while trials run; auto: if it takes over 0.1 s and a quarter of a trial; one worker: never",
    )
    cost_aware: Literal["auto"] | bool = Field(
        "auto",
        description="curve_gp: whether the improvement it expects is weighed against the time a training takes, as measured; auto: where "
        "trainings differ in time by a factor of 4 or more",
    )
    seed: Whole = Field(
        0,
        ge=0,
        lt=2**31,
        json_schema_extra={"unit": "seed"},
        description="the same plan, seed and single worker propose the same configurations",
    )


class SchedulerSettings(Frozen):
    """When weak trials stop (asynchronous successive halving)."""

    rungs: tuple[Annotated[Number, Field(gt=0, lt=1)], ...] = Field(
        (0.1, 0.3),
        json_schema_extra={"unit": "shares of a trial's epochs"},
        description="rungs, as fractions of a trial's own epochs; []: never stop early",
    )
    reduction_factor: Number = Field(
        3.0,
        gt=1,
        le=10,
        json_schema_extra={"unit": "trials of which one goes on"},
        description="the best 1 in this many goes on past a rung",
    )


class Resources(Frozen):
    """What one trial occupies, and how many run at a time."""

    cpus_per_trial: Whole = Field(4, ge=1, le=256, json_schema_extra={"unit": "cores"}, description="CPU cores, and threads, of a trial")
    gpus_per_trial: Annotated[float | Literal["auto"], BeforeValidator(_gpu_share)] = Field(
        1.0,
        json_schema_extra={"unit": "GPUs"},
        description="GPUs of a trial: 0, 1/4, 1/3, 1/2, 1, or auto: as many trials a GPU, up to 4, as its memory holds",
    )
    max_concurrent: Whole | None = Field(
        None, ge=1, json_schema_extra={"unit": "trials"}, description="most trials at a time; null: as many as the resources allow"
    )

    @property
    def on_gpu(self) -> bool:
        """Whether a trial has a GPU or a share of one."""
        return self.gpus_per_trial != 0


class Budget(Frozen):
    """Where the search ends."""

    trials: Whole = Field(
        64, ge=1, le=100_000, json_schema_extra={"unit": "trials"}, description="most trials, those of start_from included"
    )
    hours: Number | None = Field(
        None,
        gt=0,
        json_schema_extra={"unit": "hours"},
        description="wall time of everything up to the exported ensemble, hours; null: no limit",
    )
    disk_gb: Number = Field(50.0, gt=0, json_schema_extra={"unit": "GB"}, description="most that the run folder may hold, GB")


_MOST_NETWORKS = 8
"""Of an ensemble, where `promotion.max_members` is null;"""
_LEAST_PICKS = 3
"""but with folds so many picks have room, or nothing would be averaged but the folds of one configuration."""


class FinalSettings(Frozen):
    """The networks that are trained for good once the search has chosen; they are the ensemble."""

    films: Literal["all", "train"] = Field(
        "all", description="what they learn from: all films that are not locked, validation films included, or the training films alone"
    )
    epochs: Annotated[int | Literal["auto"], _planned(1, 10_000)] = Field(
        "auto",
        json_schema_extra={"unit": "epochs"},
        description="length of each training; auto: planned with the number of networks from the time that is left",
    )
    networks: Annotated[int | Literal["auto"], _planned(0, 64)] = Field(
        "auto",
        json_schema_extra={"unit": "networks"},
        description="how many; auto: planned, at most promotion.max_members; 0: none, the ensemble is made of confirmed networks",
    )
    share: Number = Field(
        0.85,
        gt=0,
        lt=1,
        json_schema_extra={"unit": "share of promotion's time"},
        description="share of the time kept by promotion.share that confirmation leaves to the final networks",
    )

    @property
    def is_on(self) -> bool:
        """Whether any are trained."""
        return self.networks != 0


class PromotionSettings(Frozen):
    """How the best are confirmed and become an ensemble."""

    candidates: Whole = Field(
        4,
        ge=1,
        le=100,
        json_schema_extra={"unit": "configurations"},
        description="best distinct configurations that are confirmed, beside the baseline",
    )
    seeds: Whole = Field(
        2,
        ge=0,
        le=20,
        json_schema_extra={"unit": "trainings a candidate"},
        description="fresh trainings of each candidate, by seeds the search has not seen",
    )
    folds: Whole = Field(
        1,
        ge=1,
        le=20,
        json_schema_extra={"unit": "folds"},
        description="grouped folds: every film that is not locked is predicted by networks that did not train on it; "
        "1: the search's own validation films, on which its trials are members, too",
    )
    max_members: Whole | None = Field(
        None,
        ge=1,
        le=64,
        json_schema_extra={"unit": "networks"},
        description="most networks of the ensemble, each of which answers for every film; with folds a pick is as many as there are folds; "
        "null: 8, and with folds room for three picks at least",
    )
    share: Number = Field(
        0.5,
        gt=0,
        lt=1,
        json_schema_extra={"unit": "share of budget.hours"},
        description="most of budget.hours that is kept for promotion, final networks and export included",
    )
    final: FinalSettings = Field(default_factory=FinalSettings, description="the final networks")

    @property
    def most_networks(self) -> int:
        """Of the ensemble; `max_members`, or what null stands for."""
        if self.max_members is not None:
            return self.max_members
        return _MOST_NETWORKS if self.folds == 1 else max(_MOST_NETWORKS, _LEAST_PICKS * self.folds)

    @property
    def most_picks(self) -> int:
        """Of which the ensemble is made: a network each, or with folds as many as there are folds."""
        return self.most_networks // self.folds


class Spec(Frozen):
    """A space file under one profile."""

    description: str = Field("", description="what this search is for, shown in the report")
    fixed: dict[str, Any] = Field(default_factory=dict, description="configuration keys that no trial varies")
    search: dict[str, Entry] = Field(
        default_factory=dict, description="searched knobs by configuration key; `schedule` chooses one of `schedules`"
    )
    schedules: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="named recipes: configuration keys and `stages`, which is short for schedule.stages"
    )
    start_from: tuple[dict[str, Choice], ...] = Field((), description="known good points, tried first; the first is the baseline")
    sampler: SamplerSettings = Field(default_factory=SamplerSettings)
    scheduler: SchedulerSettings = Field(default_factory=SchedulerSettings)
    resources: Resources = Field(default_factory=Resources)
    budget: Budget = Field(default_factory=Budget)
    promotion: PromotionSettings = Field(default_factory=PromotionSettings)
    profile: Literal["gpu", "cpu"] = Field("gpu", description="the profile this was resolved for; --profile chooses it")
    source: str = Field("space", description="the file this was read from")
