"""What a dry run says of the whole search."""

import pytest

from ceph_core.duration import duration
from search.cost import FINISH_S
from search.dryrun import whole
from tests.search.simulated import made_up_space

TRIAL_S = 600.0


@pytest.mark.parametrize(("places", "told"), [(1, "one trial at a time"), (4, "4 trials at a time")])
def test_hours_are_told_in_trainings(places: int, told: str) -> None:
    space = made_up_space(budget={"hours": (20 * TRIAL_S + FINISH_S) / 3600, "trials": 1000}, promotion={"share": 0.4})
    line = whole(space, TRIAL_S, places, 1)
    assert told in line and f"the time of {20 * places} trainings" in line and "40%" in line


def test_less_time_than_the_export_takes_is_no_training() -> None:
    assert "the time of 0 trainings" in whole(made_up_space(budget={"hours": FINISH_S / 7200, "trials": 1000}), TRIAL_S, 2, 1)


def test_trials_are_told_in_time() -> None:
    space = made_up_space(budget={"trials": 9, "hours": None}, promotion={"candidates": 3})
    line = whole(space, TRIAL_S, 2, 2)
    assert "9 trials as long" in line and f"take {duration(5 * TRIAL_S)} if none is stopped" in line, "two at a time, the last alone"
    assert whole(made_up_space(budget={"trials": 9, "hours": 99}, promotion={"candidates": 3}), TRIAL_S, 2, 2) == line, "hours to spare"
    assert line.endswith(f"their promotion {duration(4 * TRIAL_S + FINISH_S)}"), "three candidates and the baseline, two seeds each"
