"""Snapshots and their averages: the best few, apart, the same after a kill; whichever validation likes is kept."""

from pathlib import Path

import pytest
import torch
from drawn_films import make, tiny
from torch import nn

from ceph_core.data.films import TrainingData
from ceph_core.inference.averaging import (
    AVERAGED_ANSWERS,
    AVERAGED_WEIGHTS,
    LAST,
    Finalist,
    averaged_weights,
    best,
    finalists,
    write_finalist,
)
from ceph_core.inference.member import load_member
from ceph_core.inference.predictor import Predictor
from ceph_core.metrics import Summary
from ceph_core.models import build
from ceph_core.training.result import EpochResult
from ceph_core.training.snapshots import Snapshots
from ceph_core.training.trainer import Training

CPU = torch.device("cpu")
ERRORS = [9.0, 5.0, 4.0, 4.1, 3.0, 3.2, 2.0, 2.5, 2.4, 1.9, 2.2, 2.3]


def result(epoch: int, error: float) -> EpochResult:
    return EpochResult(epoch, 1.0, 1.0, Summary(error, *[0.0] * 8), 0.0, 64, 4, 4, 1.0, 1.0, 1.0, 1.0)


def offer(folder: Path, epochs: range, keep: int = 3, errors: list[float] = ERRORS) -> dict[int, float]:
    snapshots = Snapshots(folder, tiny(train__snapshots=keep, train__epochs=50))  # 1/25: two epochs apart
    for epoch in epochs:
        snapshots.look(result(epoch, errors[epoch - 1]), 64, nn.Linear(1, 1))
    return {each.epoch: each.mre_mm for each in snapshots.kept()}


def test_the_best_are_kept_and_lie_apart(tmp_path: Path) -> None:
    kept = offer(tmp_path, range(1, 13))
    assert kept == {7: 2.0, 10: 1.9, 12: 2.3}, "the best three no two of which are neighbours"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(("killed_after", "goes_on_at"), [(6, 3), (10, 8), (12, 1)])
def test_epochs_that_are_offered_again_change_nothing_here(tmp_path: Path, killed_after: int, goes_on_at: int) -> None:
    unstopped = offer(tmp_path / "one", range(1, 13))
    offer(tmp_path / "two", range(1, killed_after + 1))
    assert offer(tmp_path / "two", range(goes_on_at, 13)) == unstopped


def test_other_sizes_and_epochs_without_a_figure_are_not_kept(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, tiny(train__snapshots=3))
    snapshots.look(result(1, 1.0), 32, nn.Linear(1, 1))
    snapshots.look(result(2, float("nan")), 64, nn.Linear(1, 1))
    Snapshots(tmp_path, tiny()).look(result(3, 1.0), 64, nn.Linear(1, 1))
    assert snapshots.kept() == [] and not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return make(tmp_path_factory.mktemp("films"), train=8, validation=4)


def test_a_mean_of_one_network_is_that_network_and_statistics_are_the_films(data: TrainingData) -> None:
    torch.manual_seed(0)
    weights = build(tiny().model, 3).state_dict()
    films = data.open(64)
    mixed = averaged_weights(tiny(), 3, [weights, weights], films.images[films.rows(data.train_ids)], CPU)
    for name, value in mixed.items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(value, weights[name]), name
    images = torch.from_numpy(films.images[films.rows(data.train_ids)])[:, None].float()
    net = build(tiny().model, 3)
    net.load_state_dict(weights)
    seen = net.backbone.conv1((images - net.grey_mean) / net.grey_std)  # type: ignore[operator]
    assert torch.allclose(mixed["backbone.bn1.running_mean"], seen.mean((0, 2, 3)), atol=1e-4)


def test_every_way_to_end_is_scored_and_the_best_is_kept(data: TrainingData, tmp_path: Path) -> None:
    config = tiny(train__epochs=6, train__snapshots=3, train__lr=2e-3, augment__strength=0)
    training = Training(config, data, device=CPU)
    snapshots = Snapshots(tmp_path / "snapshots", config)
    for each in training:
        training.offer(snapshots, each)
    said: list[str] = []
    found = finalists(config, data, training.learner.ema.net.state_dict(), snapshots.kept(), CPU, said.append)
    assert [each.name for each in found] == [LAST, AVERAGED_WEIGHTS, AVERAGED_ANSWERS] and len(said) == 3
    assert [len(each.networks) for each in found] == [1, 1, 3]
    assert found[0].mre_mm == pytest.approx(each.val.mre_mm, abs=0.02)
    for chosen in found:
        folder = write_finalist(tmp_path / chosen.name.replace(" ", "-"), config, data, chosen)
        num_networks = len(Predictor.load(folder).members) if chosen.name == AVERAGED_ANSWERS else len([load_member(folder)])
        assert num_networks == len(chosen.networks)


def test_of_equals_the_simplest_is_best() -> None:
    ways = [
        Finalist(LAST, ({},), (9,), 1.0),
        Finalist(AVERAGED_WEIGHTS, ({},), (7, 9), 1.0),
        Finalist(AVERAGED_ANSWERS, ({}, {}), (7, 9), 0.9),
    ]
    assert best(ways).name == AVERAGED_ANSWERS and best(ways[:2]).name == LAST


def test_frozen_statistics_are_averaged_and_not_computed_anew(data: TrainingData) -> None:
    config = tiny(model__norm="frozen")
    weights = build(config.model, 3).state_dict()
    films = data.open(64)
    mixed = averaged_weights(config, 3, [weights, weights], films.images[films.rows(data.train_ids)], CPU)
    assert all(torch.equal(value, weights[name]) for name, value in mixed.items())
