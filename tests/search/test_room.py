"""Searches on devices that are too small for much of the space."""

import math
from typing import Any

import numpy as np
import pytest

from ceph_core.config import Config, apply
from search.cost import Timetable
from search.cube import point_at
from search.memory_model import MemoryModel
from search.policy import Policy
from search.records import Ledger
from search.replay import Clock, Step, drive
from search.replay.run import MemoryLedger
from search.room import Room
from search.space import Space

WIDTH = {"hrnet_w18_small": 18, "hrnet_w32": 32, "hrnet_w48": 48}
SPACE = {
    "fixed": {"train.epochs": 4},
    "search": {
        "heatmap.sigma_rel": {"float": [0.006, 0.02], "log": True},
        "augment.strength": {"float": [0, 2]},
        "train.batch_size": {"int": [2, 16]},
        "data.image_size": {"categorical": [256, 384, 512, 640, 768]},
        "schedule": {"categorical": ["small", "w32", "w48"]},
    },
    "schedules": {
        "small": {"model.name": "hrnet_w18_small"}, "w32": {"model.name": "hrnet_w32"}, "w48": {"model.name": "hrnet_w48"},
    },
    "start_from": [
        {"heatmap.sigma_rel": 0.007, "augment.strength": 1.0, "train.batch_size": 4, "data.image_size": 256, "schedule": "small"}
    ],
    "budget": {"trials": 40},
}  # fmt: skip
LIMIT = 8 * 512**2 * 32
"""Half of the space lies above it."""


def films_at_once(config: Config) -> float:
    return config.train.batch_size * config.data.image_size**2 * WIDTH[config.model.name]


def searched(sampler: str, seed: int, ledger: Ledger | MemoryLedger) -> Policy:
    """40 trials on two workers; errors fall with the film's size, so that the best lie at the boundary."""
    space = Space.from_dict({**SPACE, "sampler": {"name": sampler, "startup_trials": 8}})
    policy = Policy(space, ledger, seed, 2, Timetable(math.inf, 0.35), Clock())

    def step(assignment: Any, epoch: int) -> Step:
        config = assignment.config
        if films_at_once(config) > LIMIT:
            return Step(1.0, None, "Traceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate")
        value = 1 + 300 / config.data.image_size + abs(config.heatmap.sigma_rel - 0.01) * 50 + 5 / epoch
        return Step(1.0, {"epoch": epoch, "val_mre_mm": value, "validated": True, "seconds": 1.0, "image_size": config.data.image_size})

    drive(policy, step, Clock())
    return policy


@pytest.mark.parametrize("sampler", ["curve_gp", "tpe", "random"])
def test_few_trials_are_sent_where_memory_does_not_reach(sampler: str) -> None:
    """Half of the space is out of memory, and nothing is known before: under 15 % of the trials that reach a worker."""
    space = Space.from_dict(SPACE)
    points = [space.configure(point_at(space.knobs, row.tolist()), 0) for row in np.random.default_rng(0).random((100, len(space.knobs)))]
    half = [films_at_once(config) > LIMIT for config in points]
    too_large = total = 0
    for seed in range(2):
        policy = searched(sampler, seed, MemoryLedger())
        assert len(policy.trials) == 40
        too_large += sum(films_at_once(state.config) > LIMIT for state in policy.trials.values())
        total += 40
    assert 0.35 < sum(half) / len(half) < 0.65
    assert too_large / total < 0.15


def test_a_resumed_search_knows_what_did_not_fit(tmp_path: Any) -> None:
    with Ledger(tmp_path) as ledger:
        first = searched("curve_gp", 0, ledger)
        again = Policy(first.space, ledger, 0, 2, Timetable(math.inf, 0.35), Clock())
        assert first.num_ended["failed"] > 0
        tried = [apply(Config(), {"train.batch_size": batch, "data.image_size": size}) for batch in (2, 8, 16) for size in (256, 512, 768)]
        assert [again.room.fits(config) for config in tried] == [first.room.fits(config) for config in tried]
        assert not again.room.fits(tried[-1])


def with_knobs(**changes: Any) -> Config:
    return apply(Config(), {"model.name": "hrnet_w32", **{key.replace("__", "."): value for key, value in changes.items()}})


def test_what_needs_as_much_as_a_failure_does_not_fit() -> None:
    room = Room()
    assert room.fits(with_knobs(train__batch_size=16, data__image_size=1024))
    room.failed(with_knobs(train__batch_size=8, data__image_size=512), "CUDA out of memory")
    assert not room.fits(with_knobs(train__batch_size=8, data__image_size=512))
    assert not room.fits(with_knobs(train__batch_size=2, data__image_size=1024))
    assert not room.fits(with_knobs(train__batch_size=8, data__image_size=512, model__name="hrnet_w48"))
    assert room.fits(with_knobs(train__batch_size=4, data__image_size=512))
    assert room.fits(with_knobs(train__batch_size=8, data__image_size=512, train__micro_batch=2))


def test_where_one_film_was_too_much_a_smaller_batch_does_not_help() -> None:
    room = Room()
    room.failed(
        with_knobs(train__batch_size=8, data__image_size=512), "out of memory with one film of 512 px and its activations computed again"
    )
    assert not room.fits(with_knobs(train__batch_size=1, data__image_size=512))
    assert not room.fits(with_knobs(train__batch_size=1, data__image_size=640))
    assert room.fits(with_knobs(train__batch_size=16, data__image_size=384))


def test_the_largest_stage_counts() -> None:
    model, plain = MemoryModel(), with_knobs(train__batch_size=4, data__image_size=512)
    staged = with_knobs(
        train__batch_size=4, data__image_size=512, schedule__stages=[{"epochs": 0.5, "size": 0.75, "batch": 2}, {"epochs": 0.5}]
    )
    assert model.counted(staged).wanted > model.counted(plain).wanted
    assert model.counted(staged).least == model.counted(plain).least
