import math
import statistics
import time

import numpy as np
import pytest

from ceph_core.config import Config, apply
from ceph_core.training.plan import is_validated
from ceph_core.training.progressive import stage_at, stage_batch, stage_size
from search.cost import FINISH_S, EpochCost, Timetable, makespan_s
from search.policy import Policy
from search.records import Ledger
from tests.search.simulated import made_up_space

FLAT = apply(Config(), {"data.image_size": 512, "train.epochs": 10, "model.name": "hrnet_w32"})
GROWING = apply(FLAT, {"schedule.stages": [{"epochs": 0.4, "size": 0.5}, {"epochs": 0.6}]})


def test_an_epoch_costs_by_its_area():
    cost = EpochCost()
    assert cost.seconds(FLAT) is None
    cost.observe(FLAT, 1, 256, 4.0)
    assert cost.seconds(FLAT) == pytest.approx(10 * 16.0)
    assert cost.seconds(FLAT, from_epoch=7) == pytest.approx(3 * 16.0)
    assert cost.seconds(FLAT, to_epoch=2) == pytest.approx(2 * 16.0)
    assert cost.seconds(GROWING) == pytest.approx(4 * 4.0 + 6 * 16.0)


def test_the_median_rules_and_an_unknown_network_is_the_slowest():
    cost = EpochCost()
    given = [9.0, 1.0, 5.0, 100.0, 2.0]
    for seconds in given:
        cost.observe(FLAT, 1, 512, seconds)
    assert cost.seconds(FLAT, to_epoch=1) == pytest.approx(statistics.median(given))
    slow = apply(FLAT, {"model.name": "hrnet_w18"})
    cost.observe(slow, 1, 512, 30.0)
    assert cost.seconds(apply(FLAT, {"model.name": "hrnet_w48"}), to_epoch=1) == pytest.approx(30.0)


def epoch_s(config: Config, epoch: int) -> float:
    """A made-up machine: an overhead a step, one an epoch and another at a stage's first, beside what the films' area takes."""
    stage = stage_at(config, epoch)
    size, batch = stage_size(config.data.image_size, stage.size), stage_batch(config.train.batch_size, stage.batch)
    wide = {"hrnet_w18_small": 1.0, "hrnet_w32": 3.0, "hrnet_w48": 5.0}[config.model.name]
    first = epoch == 1 or stage_at(config, epoch - 1) != stage
    return (
        wide * (size / 256) ** 2
        + 8.0 * wide**0.3 / batch
        + 0.5
        + 2.0 * first
        + 0.1 * wide * (size / 256) ** 2 * is_validated(config, epoch)
    )


def trainings(number: int, seed: int) -> list[Config]:
    random = np.random.default_rng(seed)
    stages = ([{"epochs": 1.0}], [{"epochs": 0.4, "size": 0.75, "batch": 2}, {"epochs": 0.6}])
    return [
        apply(
            FLAT,
            {
                "model.name": str(random.choice(["hrnet_w18_small", "hrnet_w32", "hrnet_w48"])), "train.validations": 5,
                "train.batch_size": int(random.integers(2, 17)), "data.image_size": int(random.choice([256, 384, 512, 640])),
                "schedule.stages": stages[int(random.integers(2))],
            },
        )
        for _ in range(number)
    ]  # fmt: skip


def test_overheads_are_told_from_area():
    """Forty trainings, most stopped early, foretell others within a twentieth; a constant a network is off by an eighth."""
    cost, constants = EpochCost(), {}
    random = np.random.default_rng(0)
    for config in trainings(40, seed=1):
        for epoch in range(1, int(random.choice([1, 3, 10])) + 1):
            size = stage_size(config.data.image_size, stage_at(config, epoch).size)
            seconds = epoch_s(config, epoch) * random.normal(1, 0.03)
            cost.observe(config, epoch, size, seconds)
            constants.setdefault(config.model.name, []).append(seconds / cost.parts(config, epoch - 1, epoch)[0])
    errors, plain_errors = [], []
    for config in trainings(40, seed=2):
        real = sum(epoch_s(config, epoch) for epoch in range(1, 11))
        errors.append(abs(cost.seconds(config) / real - 1))
        plain_errors.append(abs(statistics.median(constants[config.model.name]) * cost.parts(config)[0] / real - 1))
    assert statistics.mean(errors) < 0.05
    assert statistics.mean(plain_errors) > 0.1


def test_estimates_are_never_negative_and_add_up():
    cost = EpochCost()
    for config in trainings(10, seed=3):
        cost.observe(config, 1, config.data.image_size, epoch_s(config, 1))
    for config in trainings(20, seed=4):
        parts = [cost.seconds(config, epoch, epoch + 1) for epoch in range(10)]
        assert min(parts) >= 0
        assert sum(parts) == pytest.approx(cost.seconds(config))


def test_a_training_s_own_pace_foretells_its_end():
    cost = EpochCost()
    assert cost.whole_by_own(FLAT, 2, 30.0) == pytest.approx(150.0)
    assert cost.whole_by_own(GROWING, 4, 4.0) == pytest.approx(4.0 + 6 * 4.0)


def test_timetable():
    assert math.isinf(Timetable(math.inf, 0.35).search_end_s(None))
    table = Timetable(3600.0, 0.35)
    assert table.search_end_s(None) == 3600 * 0.65
    assert table.search_end_s(1e6) == 3600 * 0.65, "never more than its share"
    assert table.search_end_s(0.0) == 3600 - FINISH_S
    assert table.search_end_s(100.0) > table.search_end_s(200.0)
    assert table.jobs_end_s() == 3600 - FINISH_S


def test_makespan():
    assert makespan_s([3, 3, 2, 2, 2], 2) == 7  # longest first, as jobs are started
    assert makespan_s([5.0], 4) == 5.0
    assert makespan_s([1, 1, 1], 0) == 3


def test_estimates_stay_cheap(tmp_path):
    """The live view asks twice a second, however many trials there are or may come."""
    space = made_up_space(budget={"trials": 100_000}, sampler={"name": "random"})
    with Ledger(tmp_path) as ledger:
        policy = Policy(space, ledger, 0, 8, Timetable(1e6, 0.35), lambda: 0.0)
        for _ in range(60):
            trial = policy.next().trial
            for epoch in range(1, 10):
                policy.report(trial, {"epoch": epoch, "val_mre_mm": 5.0, "image_size": 64, "seconds": 1.0})
        started = time.perf_counter()
        assert policy.remaining_s() is not None
    assert time.perf_counter() - started < 0.05
