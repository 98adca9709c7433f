"""Batches: the same films in the same order, whoever draws them."""

import multiprocessing
import pickle

import pytest
import torch
from drawn_films import MARKS, make

from ceph_core.config import AugmentConfig
from ceph_core.data.films import OpenFilms, TrainingData
from ceph_core.data.loader import Batch, Loader
from ceph_core.geometry import Canvas
from ceph_core.transforms import Augment


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return make(tmp_path_factory.mktemp("films"), train=5, validation=2, missing=True)


def loader(data: TrainingData, workers: int = 0, strength: float = 1.0, seed: int = 0) -> Loader:
    return Loader(OpenFilms(data), Augment(AugmentConfig(strength=strength)), seed, workers, pin_memory=False)


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.images, b.images) and torch.equal(a.points.nan_to_num(-1), b.points.nan_to_num(-1))
        for a, b in zip(one, other, strict=True)
    )


def test_batches_are_uint8_films_and_points_in_their_order(data: TrainingData) -> None:
    ids = ("003", "000", "002", "004", "001")
    batches = list(loader(data, strength=0).epoch([64] * -(-len(ids) // 2), 1, ids, 2))
    films = data.open(64)
    assert films.canvas == Canvas(64, 64)
    assert [batch.images.shape for batch in batches] == [(2, 1, 64, 64), (2, 1, 64, 64), (1, 1, 64, 64)]
    assert {batch.images.dtype for batch in batches} == {torch.uint8} and {batch.points.dtype for batch in batches} == {torch.float32}
    rows = films.rows(ids)
    assert torch.equal(torch.cat([batch.images for batch in batches])[:, 0], torch.from_numpy(films.images[rows]))
    points = torch.cat([batch.points for batch in batches])
    assert torch.allclose(points, torch.from_numpy(films.landmarks_input[rows]).float(), equal_nan=True)
    assert torch.isnan(points[1]).all() and torch.isnan(points[0, MARKS.symbols.index("R")]).all()


def test_a_draw_hangs_on_seed_epoch_and_film_and_not_on_company(data: TrainingData) -> None:
    one = loader(data)
    first = next(one.epoch([64], 1, ("000", "001", "002"), 3))
    list(one.epoch([96, 64], 2, ("004", "003"), 1))
    alone = next(one.epoch([64], 1, ("002",), 1))
    assert torch.equal(alone.images[0], first.images[2])
    assert not torch.equal(next(one.epoch([64], 2, ("002",), 1)).images, alone.images)
    assert not torch.equal(next(loader(data, seed=1).epoch([64], 1, ("002",), 1)).images, alone.images)


def test_drawing_leaves_the_global_generator_alone(data: TrainingData) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(loader(data).epoch([64, 64], 1, ("000", "001"), 1))
    assert torch.equal(torch.rand(1), expected)


def test_films_travel_without_their_pixels(data: TrainingData) -> None:
    films = OpenFilms(data)
    films.at(512)
    packed = pickle.dumps(films)
    assert len(packed) < 20_000 < data.open(512).images.nbytes
    assert pickle.loads(packed).at(64).ids == films.at(64).ids


@pytest.mark.slow
def test_batches_are_the_same_whatever_the_number_of_workers(data: TrainingData) -> None:
    alone, helped = loader(data), loader(data, workers=2)
    ids = data.train_ids
    steps = -(-len(ids) // 2)
    for sizes, epoch in (([64] * steps, 1), ([64] * steps, 2), ([96] * steps, 3), ([64, *[96] * (steps - 1)], 4)):
        assert same(list(alone.epoch(sizes, epoch, ids, 2)), list(helped.epoch(sizes, epoch, ids, 2))), (sizes, epoch)
    helped.close()


@pytest.mark.slow
def test_workers_outlive_an_epoch_that_is_broken_off_and_end_with_the_loader(data: TrainingData) -> None:
    before = set(multiprocessing.active_children())
    helped = loader(data, workers=2)
    broken = helped.epoch([64] * len(data.train_ids), 1, data.train_ids, 1)
    next(broken)
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    broken.close()
    two = [64] * -(-len(data.train_ids) // 2)
    again = list(helped.epoch(two, 2, data.train_ids, 2))
    assert same(again, list(loader(data).epoch(two, 2, data.train_ids, 2)))
    assert set(multiprocessing.active_children()) - before == workers
    helped.close()
    for worker in workers:
        worker.join(timeout=20)
    assert not any(worker.is_alive() for worker in workers)
