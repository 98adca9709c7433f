"""Drawn sizes: from the list, a function of seed and epoch, on the grid."""

from collections import Counter

import pytest
from drawn_films import tiny
from pydantic import ValidationError

from ceph_core.config import Config, ScheduleConfig
from ceph_core.training.feedback import Feedback
from ceph_core.training.multi_scale import mean_area, sizes
from ceph_core.training.plan import plan, relative_cost

FILMS = Feedback(tuple(f"{number:03d}" for number in range(50)), 3)
GUIDE = [0.75, 0.875, 1.0]


def config(**changes: object) -> Config:
    return tiny(**{"data__image_size": 512, "train__epochs": 250, "schedule__scales": GUIDE, **changes})  # type: ignore[arg-type]


def test_an_epoch_draws_one_of_the_guide_s_sizes_and_all_come() -> None:
    drawn = [plan(config(), epoch, FILMS) for epoch in range(1, 251)]
    assert all(len(set(each.step_sizes)) == 1 and each.size == 512 for each in drawn)
    counts = Counter(each.step_sizes[0] for each in drawn)
    assert set(counts) == {384, 448, 512} and min(counts.values()) > 60


def test_a_batch_draws_its_own_size() -> None:
    each = plan(config(schedule__draw="batch", train__batch_size=1), 3, FILMS)
    assert len(each.step_sizes) == 50 == each.num_steps and set(each.step_sizes) == {384, 448, 512}


@pytest.mark.parametrize("draw", ["epoch", "batch"])
def test_draws_hang_on_seed_and_epoch_alone(draw: str) -> None:
    def drawn(epoch: int, **changes: object) -> tuple[int, ...]:
        return plan(config(schedule__draw=draw, train__batch_size=1, **changes), epoch, FILMS).step_sizes

    assert drawn(7) == drawn(7) == drawn(7, train__lr=1e-3)
    assert any(drawn(epoch) != drawn(epoch, train__seed=1) for epoch in range(1, 6))
    assert len({drawn(epoch) for epoch in range(1, 9)}) > 1


def test_sizes_are_of_the_stage_and_follow_sigma_and_cost() -> None:
    staged = config(schedule__stages=[{"epochs": 0.4, "size": 0.75, "batch": 2}, {"epochs": 0.6}])
    early = {size for epoch in range(1, 101) for size in plan(staged, epoch, FILMS).step_sizes}
    assert early == {288, 320, 384}, "0.875 of 384 is 336, half-way between two steps of the grid"
    assert sizes(staged) == (288, 320, 384, 448, 512)
    assert plan(staged, 1, FILMS).sigma_px == (staged.heatmap.sigma_rel * 384,) * 3
    assert mean_area(staged, 512) == pytest.approx((0.75**2 + 0.875**2 + 1) / 3)
    assert relative_cost(staged, 250) == pytest.approx(mean_area(staged, 512))


@pytest.mark.parametrize("scales", [[], [0.4, 1.0], [1.6]])
def test_scales_far_from_the_size_are_refused(scales: list[float]) -> None:
    with pytest.raises(ValidationError):
        ScheduleConfig(scales=tuple(scales))
