"""What pydantic cannot see in a space file: keys, ranges, conditions, schedules and points that must fit together."""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from search.space.knobs import SCHEDULE, in_order, knob_of, misfits
from search.space.read import KeyPath
from search.space.resolve import STAGES, may_exist, reach, schedules
from search.space.schema import Spec
from search.space.values import Problem, field_problem, key_problem, prior_problems, range_problems, value_problem


def problems(spec: Spec, broken: Collection[KeyPath] = ()) -> Iterator[Problem]:
    """Every problem of a file whose sections have the right shape, as (key path, problem).

    Args:
        spec: the file.
        broken: entries already complained about and left out of `spec`; nothing more is said about what hangs on them.
    """
    found = [
        *_fixed(spec),
        *_schedules(spec),
        *_search(spec, broken),
        *_conditions(spec, broken),
        *_profile(spec),
        *_sampler(spec),
        *_promotion(spec),
    ]
    yield from found
    places = [path for path, _ in found] + list(broken)
    # What is built on an entry in doubt is judged once that entry is right.
    doubtful = {path[1] for path in places if path[0] == "search" and len(path) > 1}
    doubtful |= {key for key, entry in spec.search.items() if doubtful & entry.when.keys()}
    if not {("start_from",), ("search",)} & set(broken):
        yield from _points(spec, doubtful)
    if not doubtful and not any(path[0] in ("fixed", "schedules", "search") for path in places):
        yield from _overlaps(spec)
        yield from _rungs(spec)


def _settings(settings: Mapping[str, Any], at: KeyPath, short: Mapping[str, str]) -> Iterator[Problem]:
    """Problems of dotted keys set to values; `short` translates the section's own short names."""
    for key, value in settings.items():
        target = short.get(key, key)
        problem = key_problem(target) or field_problem(target, value)
        if problem:
            yield (*at, key), problem


def _fixed(spec: Spec) -> Iterator[Problem]:
    yield from _settings({key: value for key, value in spec.fixed.items() if key != SCHEDULE}, ("fixed",), {})
    name = spec.fixed.get(SCHEDULE)
    if name is not None and name not in list(spec.schedules):
        yield ("fixed", SCHEDULE), _no_schedule(spec, name)
    for key in spec.fixed:
        if key in spec.search and not spec.search[key].when:
            yield (
                ("fixed", key),
                f"is also searched, so {spec.fixed[key]!r} is never used; remove it here or set search.{key} to null",
            )


def _sampler(spec: Spec) -> Iterator[Problem]:
    if spec.sampler.name == "gp" and spec.sampler.stopped_as == "pruned":
        allowed = "complete, predicted, failed or null"
        yield ("sampler", "stopped_as"), f"a GP does not look at pruned trials, got 'pruned'; allowed with gp are {allowed}"
    if spec.sampler.cost_aware is True and spec.sampler.name != "curve_gp":
        yield ("sampler", "cost_aware"), f"is for curve_gp, got true with {spec.sampler.name}; choose curve_gp, or set it to false"
    if spec.sampler.name != "curve_gp" and (keys := [key for key, entry in spec.search.items() if entry.prior is not None]):
        yield ("sampler", "name"), f"{spec.sampler.name} uses no priors, given for {', '.join(keys)}; choose curve_gp, or remove them"


def _promotion(spec: Spec) -> Iterator[Problem]:
    asked = spec.promotion
    if asked.folds > 1 and asked.seeds < 1:
        yield (
            ("promotion", "seeds"),
            f"must be at least 1 with promotion.folds {asked.folds}, got {asked.seeds}: a search trains no fold",
        )
    if asked.max_members is not None and asked.max_members < asked.folds:
        yield (
            ("promotion", "max_members"),
            f"must be at least promotion.folds, {asked.folds}, got {asked.max_members}: one pick is as many networks",
        )

    if asked.max_members is not None and asked.final.networks != "auto" and asked.final.networks > asked.max_members:
        yield (
            ("promotion", "final", "networks"),
            f"must be at most promotion.max_members, {asked.max_members}, got {asked.final.networks}; raise that, or lower this",
        )


def _no_schedule(spec: Spec, name: Any) -> str:
    return f"no schedule of this name, got {name!r}; allowed {', '.join(spec.schedules) or 'none: add it under schedules'}"


def _schedules(spec: Spec) -> Iterator[Problem]:
    for name, own in spec.schedules.items():
        yield from _settings(own, ("schedules", name), {"stages": STAGES})
        if {"stages", STAGES} <= own.keys():
            yield ("schedules", name, STAGES), "is also given as stages; keep one"


def _search(spec: Spec, broken: Collection[KeyPath]) -> Iterator[Problem]:
    if not spec.search and not any(path[0] == "search" for path in broken):
        yield ("search",), "nothing to search; add a knob, such as heatmap.sigma_rel: {float: [0.003, 0.02], log: true}"
    for key, entry in spec.search.items():
        path: KeyPath = ("search", key)
        in_range = list(range_problems(entry, path))
        yield from in_range
        yield from prior_problems(entry, path)
        if key == SCHEDULE:
            if entry.categorical is None:
                yield path, f"names entries of schedules, so it must be categorical; allowed {', '.join(spec.schedules)}"
            for choice in entry.categorical or ():
                if choice not in spec.schedules and ("schedules", choice) not in broken:
                    yield path, _no_schedule(spec, choice)
        elif key == STAGES:
            yield path, "cannot be searched as such; name recipes under schedules and search `schedule`"
        elif problem := key_problem(key) or (None if in_range else value_problem(knob_of(key, entry))):
            yield path, problem


def _conditions(spec: Spec, broken: Collection[KeyPath]) -> Iterator[Problem]:
    for key, entry in spec.search.items():
        for parent, options in entry.when.items():
            path: KeyPath = ("search", key, "when", parent)
            if ("search", parent) in broken:
                continue
            if parent not in spec.search:
                others = ", ".join(other for other in spec.search if other != key) or "none"
                yield path, f"is not searched, so the condition can never change; searched are {others}"
            elif spec.search[parent].float_range is not None:
                yield path, "is a float range; a condition needs a categorical or an int"
            elif not options:
                yield path, "lists no value, so the knob would never exist"
            else:
                known = knob_of(parent, spec.search[parent])
                for option in options:
                    if not known.contains(option):
                        yield path, f"never has this value, got {option!r}; allowed {known.allowed()}"
    _, circular = in_order(spec.search)
    for key in circular:
        yield ("search", key, "when"), f"conditions go in a circle among {', '.join(circular)}; remove one"


def _points(spec: Spec, doubtful: Collection[Any]) -> Iterator[Problem]:
    if not spec.start_from:
        yield ("start_from",), "needs at least one point; the first is the baseline, the trial that every other is compared with"
    knobs, _ = in_order(spec.search)
    for index, values in enumerate(spec.start_from):
        for key, problem in misfits(knobs, values):
            if key not in doubtful:
                path: KeyPath = ("start_from", index)
                yield ((*path, key), problem) if key in values else (path, f"{key} {problem}")


def _overlaps(spec: Spec) -> Iterator[Problem]:
    """Keys that a schedule sets although a knob varies them in the same trials."""
    for name in filter(None, schedules(spec)):
        for key in spec.schedules[name]:
            if key in spec.search and may_exist(spec, key, name):
                problem = f"is also searched in trials that follow {name}; remove it here, or give search.{key} a `when` without {name}"
                yield ("schedules", name, key), problem


def _rungs(spec: Spec) -> Iterator[Problem]:
    """Rungs that a trial of the fewest epochs cannot tell apart."""
    rungs = spec.scheduler.rungs
    path: KeyPath = ("scheduler", "rungs")
    if list(rungs) != sorted(set(rungs)):
        yield path, f"must rise strictly, got {list(rungs)}"
        return
    epochs = min(min(reach(spec, "train.epochs", name)) for name in schedules(spec))
    # As `search.rungs` rounds them: a rung is met at the end of the epoch in which it lies.
    met = [max(1, math.ceil(fraction * epochs - 1e-9)) for fraction in rungs]
    if len(set(met)) < len(met) or any(epoch >= epochs for epoch in met):
        at = ", ".join(map(str, met))
        yield (
            path,
            f"{list(rungs)} of {epochs} epochs are epochs {at}; these must differ and lie before the last; change them or train.epochs",
        )


def _profile(spec: Spec) -> Iterator[Problem]:
    if spec.profile == "cpu" and spec.resources.gpus_per_trial:
        yield ("resources", "gpus_per_trial"), "must be 0 under the cpu profile; set profiles.cpu.resources.gpus_per_trial: 0"
