"""Which knobs mattered, from a run's records."""

from collections.abc import Callable, Sequence

from ceph_core.errors import InputError
from search import records
from search.history import Trial
from search.records import Run
from search.space import Knob, Space
from search.study import Importances

Measure = Callable[[Sequence[Trial], Sequence[Knob]], Importances]


def knob_importances(run: Run, measure: Measure) -> tuple[dict[str, float], str]:
    """Share of each knob (they add up to 1), or none and why."""
    try:
        space = Space.from_dict(run.plan.get("space") or {}, source=str(run.folder.plan_path))
    except InputError as error:
        return {}, f"the plan's space cannot be read: {error.problems[0]}"
    if not space.knobs:
        return {}, "no knob was searched"
    measured = measure(records.past_trials(records.history(run.folder.path)), space.knobs)
    return measured.shares, measured.reason or "no knob told the trials apart"
