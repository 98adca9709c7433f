import math
import statistics
import time

import pytest

from ceph_core.config import Config, apply
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
