"""What a point of the space means for a training: fixed keys, then those of its schedule, then its knobs."""

from collections.abc import Mapping, Sequence
from typing import Any

from ceph_core.config import Config, ScheduleConfig, Stage, get
from search.space.knobs import SCHEDULE, knob_of
from search.space.schema import Spec

STAGES = "schedule.stages"


def recipe(spec: Spec, schedule: str | None) -> dict[str, Any]:
    """Configuration keys set under a schedule before any knob: the fixed ones, then the schedule's own."""
    own = {} if schedule is None else spec.schedules[schedule]
    return {
        **{key: value for key, value in spec.fixed.items() if key != SCHEDULE},
        **{STAGES if key == "stages" else key: value for key, value in own.items()},
    }


def overlay(spec: Spec, values: Mapping[str, Any]) -> dict[str, Any]:
    """Every configuration key that a point of the space sets."""
    knobs = {key: value for key, value in values.items() if key != SCHEDULE}
    return recipe(spec, values.get(SCHEDULE, spec.fixed.get(SCHEDULE))) | knobs


def schedules(spec: Spec) -> tuple[str | None, ...]:
    """The schedules that a trial may follow; None is the default of a single stage."""
    fixed = spec.fixed.get(SCHEDULE)
    if SCHEDULE not in spec.search:
        return (fixed,)
    entry = spec.search[SCHEDULE]
    names = entry.categorical or ()
    return (*names, fixed) if entry.when and fixed not in names else names


def stages(spec: Spec, schedule: str | None) -> tuple[Stage, ...]:
    """The stages of a schedule."""
    given = recipe(spec, schedule).get(STAGES)
    return (ScheduleConfig() if given is None else ScheduleConfig(stages=given)).stages


def may_exist(spec: Spec, key: str, schedule: str | None) -> bool:
    """Whether a searched knob can exist in a trial that follows this schedule."""
    for parent, options in spec.search[key].when.items():
        if parent == SCHEDULE and schedule not in options:
            return False
        if parent != SCHEDULE and not may_exist(spec, parent, schedule):
            return False
    return True


def reach(spec: Spec, key: str, schedule: str | None) -> Sequence[Any]:
    """Values that a configuration key can take under a schedule: all of them, or both ends of a float range."""
    default = recipe(spec, schedule).get(key, get(Config(), key))
    if key not in spec.search or not may_exist(spec, key, schedule):
        return (default,)
    knob = knob_of(key, spec.search[key])
    grid = knob.grid()
    values = (knob.low, knob.high) if grid is None else grid
    return values if set(knob.when) <= {SCHEDULE} else (*values, default)
