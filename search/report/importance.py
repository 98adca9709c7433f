"""Which knobs mattered, from a run's records."""

from collections.abc import Callable, Sequence

from ceph_core.errors import InputError
from search import records
from search.history import Trial
from search.records import Run
from search.report.figures import Figure, coordinates
from search.space import Knob, Space
from search.study import Importances, parallel_coordinates

Measure = Callable[[Sequence[Trial], Sequence[Knob]], Importances]


def knob_importances(run: Run, measure: Measure) -> tuple[dict[str, float], str]:
    """Share of each knob (they add up to 1), or none and why."""
    searched = _searched(run)
    if isinstance(searched, str):
        return {}, searched
    measured = measure(*searched)
    return measured.shares, measured.reason or "no knob told the trials apart"


def parallel(run: Run) -> Figure | str:
    """Optuna's parallel coordinates of the search's trials, or why there are none."""
    searched = _searched(run)
    drawn = searched if isinstance(searched, str) else parallel_coordinates(*searched)
    return drawn if isinstance(drawn, str) else coordinates(drawn)


def _searched(run: Run) -> tuple[Sequence[Trial], Sequence[Knob]] | str:
    """Trials and knobs of the search, or why there are none."""
    try:
        space = Space.from_dict(run.plan.get("space") or {}, source=str(run.folder.plan_path))
    except InputError as error:
        return f"the plan's space cannot be read: {error.problems[0]}"
    if not space.knobs:
        return "no knob was searched"
    return records.past_trials(records.history(run.folder.path)), space.knobs
