"""What configurations are expected to take, by their knobs; and proposals that mind it."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ceph_core.errors import InputError
from search.cube import coordinates, point_at
from search.curve_model import proposals
from search.duration_model import log_seconds
from search.history import Outcome, Point, Trial
from search.sampler import Sampler
from search.space import Space
from tests.search.simulated import decided, made_up_space, search

KNOBS = Space.from_dict(
    {
        "search": {
            "data.image_size": {"categorical": [256, 384, 512, 768]},
            "train.batch_size": {"int": [2, 16]},
            "train.lr": {"float": [1e-5, 1e-2], "log": True},
            "augment.strength": {"float": [0, 2]},
        },
        "start_from": [{"data.image_size": 512, "train.batch_size": 8, "train.lr": 1e-3, "augment.strength": 1.0}],
    }
).knobs


def seconds_of(values: dict[str, Any]) -> float:
    return float((values["data.image_size"] / 256) ** 2 * (1 + 4 / values["train.batch_size"]))


def tried(number: int, seed: int) -> list[Trial]:
    """Trials that took what they took; the error is the learning rate's and the augmentation's alone."""
    random = np.random.default_rng(seed)
    trials = []
    for place in range(number):
        values = point_at(KNOBS, random.random(len(KNOBS)).tolist())
        error = 1 + (math.log10(values["train.lr"]) + 3) ** 2 + (values["augment.strength"] - 1) ** 2
        trials.append(Trial(place, values, {10: Point(error, 10)}, Outcome("complete", error), seconds=seconds_of(values)))
    return trials


def test_seconds_are_foretold_within_a_fifth() -> None:
    at = log_seconds(KNOBS, tried(30, 0))
    assert at is not None
    others = tried(50, 1)
    told = at(np.stack([coordinates(KNOBS, trial.values) for trial in others]))
    assert np.abs(told - np.log([trial.seconds for trial in others])).mean() < 0.2
    assert log_seconds(KNOBS, []) is None


def test_of_equals_the_cheaper_is_tried_first() -> None:
    """What it costs makes no difference to the error, so that nothing speaks for the dear ones."""
    trials = tried(25, 0)
    means = []
    for minds in (None, log_seconds(KNOBS, trials)):
        found = [proposals(KNOBS, trials, np.random.default_rng(seed), 8, minds) for seed in range(4)]
        means.append(np.mean([seconds_of(values) for each in found for values in each]))
    assert means[1] < 0.6 * means[0]


def test_only_curve_gp_minds_time() -> None:
    with pytest.raises(InputError, match="cost_aware: is for curve_gp, got true with tpe; choose curve_gp, or set it to false"):
        made_up_space(sampler={"name": "tpe", "cost_aware": True})
    with pytest.raises(InputError, match="cost_aware: is for curve_gp"):
        Sampler(KNOBS, name="random", cost_aware=True)


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_time_is_weighed_by_itself_where_trainings_differ_in_it(spread: float) -> None:
    """Alike: as without; differing thirtyfold: as with."""
    history = [replace(trial, seconds=spread ** (trial.number / 24)) for trial in tried(25, 0)]

    def proposed(cost_aware: Any) -> dict[str, Any]:
        sampler = Sampler(KNOBS, name="curve_gp", startup_trials=3, cost_aware=cost_aware)
        sampler.replay(history)
        return sampler.ask(25)

    assert proposed("auto") == proposed(spread > 1)


@pytest.mark.parametrize("stop_after", [17, 31])
def test_a_resumed_cost_aware_search_decides_as_an_unbroken_one(tmp_path: Any, stop_after: int) -> None:
    space = made_up_space(sampler={"name": "curve_gp", "cost_aware": True, "startup_trials": 3})
    _, whole = search(tmp_path / "whole", space)
    search(tmp_path / "cut", space, stop_after=stop_after)
    _, resumed = search(tmp_path / "cut", space)
    assert decided(resumed) == decided(whole)
