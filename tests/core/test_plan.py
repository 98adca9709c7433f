"""The plan of an epoch and the learning rate: pure functions."""

import pytest

from ceph_core.config import Config, apply
from ceph_core.training.feedback import Feedback
from ceph_core.training.plan import is_validated, learning_rate, plan
from ceph_core.training.progressive import epoch_of_share, largest_batch, stage_alone, stage_at, stage_size

FILMS = Feedback(tuple(f"{number:03d}" for number in range(50)), 19)
PROGRESSIVE = [{"epochs": 0.4, "size": 0.75, "batch": 2}, {"epochs": 0.6}]


def config(**changes: object) -> Config:
    return apply(Config(), {key.replace("__", "."): value for key, value in changes.items()})


def test_the_guide_s_two_stages_come_from_ratios() -> None:
    guide = config(schedule__stages=PROGRESSIVE)  # 512 px, batch 6, 250 epochs
    shown = [(plan(guide, epoch, FILMS).size, plan(guide, epoch, FILMS).batch) for epoch in range(1, 251)]
    assert shown == [(384, 12)] * 100 + [(512, 6)] * 150
    assert largest_batch(guide) == 12


def test_a_stage_alone_trains_as_within_the_run() -> None:
    guide = config(schedule__stages=PROGRESSIVE)
    for stage, epoch in zip(guide.schedule.stages, (1, 250), strict=True):
        alone, within = plan(stage_alone(guide, stage), epoch, FILMS), plan(guide, epoch, FILMS)
        assert alone == within


def test_sigma_follows_the_size_and_landmarks_weigh_alike() -> None:
    first, last = (plan(config(schedule__stages=PROGRESSIVE), epoch, FILMS) for epoch in (1, 250))
    assert first.sigma_px == (0.007 * 384,) * 19 and last.sigma_px == (0.007 * 512,) * 19
    assert first.landmark_weights == (1.0,) * 19


@pytest.mark.parametrize(
    ("image_size", "ratio", "size"), [(640, 0.75, 480), (384, 0.75, 288), (160, 0.75, 128), (512, 0.7, 352), (64, 0.5, 64)]
)
def test_sizes_stand_on_the_grid(image_size: int, ratio: float, size: int) -> None:
    assert stage_size(image_size, ratio) == size


@pytest.mark.parametrize(("epochs", "border"), [(1, 0), (2, 1), (3, 1), (5, 2), (12, 5), (250, 100)])
def test_borders_are_whole_epochs(epochs: int, border: int) -> None:
    run = config(schedule__stages=PROGRESSIVE, train__epochs=epochs)
    assert [stage_at(run, epoch).batch for epoch in range(1, epochs + 1)] == [2] * border + [1] * (epochs - border)


def test_the_last_epoch_is_always_of_the_last_stage() -> None:
    for epochs in range(1, 30):
        run = config(schedule__stages=[{"epochs": 0.5}, {"epochs": 0.45}, {"epochs": 0.05}], train__epochs=epochs)
        assert stage_at(run, epochs) is run.schedule.stages[-1]


@pytest.mark.parametrize(("epochs", "validations"), [(20, 50), (50, 50), (250, 50), (251, 50), (7, 3), (9, 1)])
def test_validations_are_spread_evenly_and_the_last_epoch_has_one(epochs: int, validations: int) -> None:
    run = config(train__epochs=epochs, train__validations=validations)
    validated = [epoch for epoch in range(1, epochs + 1) if is_validated(run, epoch)]
    assert len(validated) == min(epochs, validations) and validated[-1] == epochs
    gaps = [after - before for before, after in zip([0, *validated], validated, strict=False)]
    assert max(gaps) - min(gaps) <= 1
    assert [plan(run, epoch, FILMS).validates for epoch in range(1, epochs + 1)].count(True) == len(validated)


def test_epochs_at_which_trials_are_compared_are_always_validated() -> None:
    run = config(train__epochs=250, train__validations=3)
    assert [epoch for epoch in range(1, 251) if is_validated(run, epoch, (0.1, 0.3))] == [25, 75, 84, 167, 250]
    assert epoch_of_share(0.1, 30) == 3 and epoch_of_share(0.1, 31) == 4 and epoch_of_share(0.01, 5) == 1


def test_the_order_is_a_permutation_and_a_function_of_seed_and_epoch() -> None:
    orders = {
        (seed, epoch): plan(config(train__seed=seed), epoch, FILMS).film_ids for seed, epoch in [(0, 1), (0, 2), (1, 1), (1, 2), (0, 1)]
    }
    assert all(sorted(order) == list(FILMS.film_ids) for order in orders.values())
    assert len(set(orders.values())) == 4
    assert plan(config(), 2, FILMS) == plan(config(), 2, FILMS)


@pytest.mark.parametrize(("films", "batch", "steps"), [(50, 6, 9), (48, 6, 8), (1, 1, 1)])
def test_a_last_smaller_batch_is_a_step(films: int, batch: int, steps: int) -> None:
    assert plan(config(train__batch_size=batch), 1, Feedback(FILMS.film_ids[:films], 19)).num_steps == steps


def test_micro_batches_never_exceed_the_batch() -> None:
    assert plan(config(), 1, FILMS).micro_batch == 6
    assert plan(config(train__micro_batch=2), 1, FILMS).micro_batch == 2
    assert plan(config(train__micro_batch=20), 1, FILMS).micro_batch == 6


@pytest.mark.parametrize(("epochs", "warmup"), [(250, 5), (300, 5), (301, 10), (400, 10), (50, 5), (30, 3), (12, 1.2)])
def test_warm_up_is_the_guide_s_and_a_tenth_of_a_short_run(epochs: int, warmup: float) -> None:
    run = config(train__epochs=epochs, train__lr=1e-3)
    assert learning_rate(run, warmup / 2) == pytest.approx(5e-4)
    assert learning_rate(run, warmup) == pytest.approx(1e-3)
    assert max(learning_rate(run, step / 10) for step in range(10 * epochs + 1)) <= 1e-3


def test_the_cosine_ends_at_zero_and_is_half_way_at_half_time() -> None:
    run = config(train__epochs=100, train__lr=1e-3, train__warmup_epochs=20)
    assert learning_rate(run, 60) == pytest.approx(5e-4)
    assert learning_rate(run, 40) == pytest.approx(1e-3 * (2 + 2**0.5) / 4)
    assert learning_rate(run, 100) == pytest.approx(0, abs=1e-12)
    assert learning_rate(run, 0) == 0


def test_warm_up_may_be_none_or_the_whole_run() -> None:
    assert learning_rate(config(train__warmup_epochs=0, train__lr=1e-3), 0) == pytest.approx(1e-3)
    whole = config(train__warmup_epochs=500, train__epochs=10, train__lr=1e-3)
    assert [learning_rate(whole, at) for at in (5, 10)] == pytest.approx([5e-4, 1e-3])
