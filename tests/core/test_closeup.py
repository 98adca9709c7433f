"""The second pass: windows lie where the points are, on whole pixels, and every reader of films agrees about them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ceph_core import models
from ceph_core.closeup import agreed, close_canvas, cut, drawn_origin, largest_zoom, origins, reach_of
from ceph_core.config import Config
from ceph_core.data.films import OpenFilms, TrainingData
from ceph_core.data.imagefile import read_grey
from ceph_core.geometry import Canvas, canvas_for
from ceph_core.inference import Tta, load_member, save_member
from ceph_core.inference.export import export_onnx
from ceph_core.inference.member import make_member
from ceph_core.inference.outputs import film_outputs
from ceph_core.inference.predictor import Predictor
from ceph_core.metrics import radial_errors_mm
from ceph_core.training.trainer import Training
from tests.core.drawn_films import make, tiny

CANVAS, CLOSE = Canvas(64, 64), Canvas(96, 96)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return make(tmp_path_factory.mktemp("films"), train=12, validation=4)


@pytest.fixture(scope="module")
def trained(data: TrainingData) -> Training:
    """A network that has learned the three marks, whole films and windows alike."""
    training = Training(tiny(train__epochs=30, data__zoom=1.5, train__lr=4e-3, augment__strength=0.5), data)
    for _ in training:
        pass
    return training


def _config() -> Config:
    return tiny(data__zoom=1.5)


def test_a_window_holds_its_points_and_lies_on_the_canvas():
    random = np.random.default_rng(0)
    for _ in range(50):
        corner, extent = random.uniform(0, 60, 2), random.uniform(5, 55, 2)
        points = torch.from_numpy(np.minimum(corner + random.uniform(0, 1, (7, 2)) * extent, 95))[None]
        x, y = origins(points, CANVAS, CLOSE)[0].tolist()
        assert 0 <= x <= 32 and 0 <= y <= 32
        inside = points[0] - torch.tensor([x, y])
        assert bool((inside > -0.5).all() and (inside < 63.5).all())


def test_missing_points_move_no_window():
    points = torch.tensor([[[20.0, 30.0], [60.0, 50.0], [torch.nan, torch.nan]]])
    assert origins(points, CANVAS, CLOSE).tolist() == origins(points[:, :2], CANVAS, CLOSE).tolist()
    assert origins(torch.full((1, 3, 2), torch.nan), CANVAS, CLOSE).tolist() == [[16, 16]], "nothing is marked: the middle"


def test_cutting_is_slicing():
    pictures = torch.arange(2 * 96 * 96).reshape(2, 1, 96, 96)
    first = torch.tensor([[3, 11], [32, 0]])
    windows = cut(pictures, first, CANVAS)
    for number, (x, y) in enumerate(first.tolist()):
        assert torch.equal(windows[number, 0], pictures[number, 0, y : y + 64, x : x + 64])


def test_a_second_pass_that_lands_elsewhere_counts_only_if_it_is_surer():
    first, reach = torch.tensor([[[10.0, 10.0]] * 3]), torch.tensor([[5.0, 5.0]])
    second = torch.tensor([[[13.0, 13.0], [90.0, 10.0], [90.0, 10.0]]])
    points, sure = agreed(second, torch.tensor([[0.1, 0.3, 0.8]]), first, torch.tensor([[0.9, 0.5, 0.5]]), reach)
    assert points.tolist() == [[[13.0, 13.0], [10.0, 10.0], [90.0, 10.0]]], "near: the second; far: the surer one"
    assert sure[0].tolist() == pytest.approx([0.1, 0.5, 0.8])
    assert reach_of(Canvas(256, 224), torch.tensor([[0.5, 0.4]])).tolist()[0] == pytest.approx([51.2, 64.0]), "a tenth of the long side"


def test_the_zoom_ends_where_landmarks_would_be_cut_off():
    film = (240, 200)
    small, large = np.array([[50.0, 60.0], [150.0, 180.0]]), np.array([[5.0, 5.0], [195.0, 235.0]])
    assert largest_zoom([small] * 9, [film] * 9) == pytest.approx(min(200 / (100 + 12), 240 / (120 + 12)))
    assert largest_zoom([large] * 9, [film] * 9) == 1.0
    assert largest_zoom([np.full((2, 2), np.nan)], [film]) == 1.0
    assert close_canvas(1.2, 256, 1.05) is None, "hardly larger"
    assert close_canvas(1.2, 256, 1.5) == canvas_for(1.2, 384)


def test_some_training_films_are_shown_whole_and_windows_move_a_little():
    points = np.array([[40.0, 40.0], [60.0, 60.0]])
    drawn = [drawn_origin(points, CANVAS, CLOSE, np.random.default_rng(number)) for number in range(400)]
    assert 0.15 < sum(each is None for each in drawn) / 400 < 0.35
    x, y = np.array([each for each in drawn if each is not None]).T
    assert 2 <= np.ptp(x) <= 6 and 2 <= np.ptp(y) <= 6


def test_a_drawn_window_shows_the_landmarks_where_it_says(data: TrainingData):
    """A disc is brightest at its own point, in the window as on the whole film."""
    films = OpenFilms(data, 1.5)
    base, close = films.at(64), films.close_up(64)
    for row in range(6):
        first = origins(torch.from_numpy(close.landmarks_input[row])[None], base.canvas, close.canvas)
        picture = cut(torch.from_numpy(close.images[row][None, None].copy()), first, base.canvas)[0, 0].numpy()
        x, y = np.round(close.landmarks_input[row, 0] - first[0].numpy()).astype(int)
        assert picture[y, x] > 180


def test_two_passes_beat_one(data: TrainingData, trained: Training):
    """The same network, read once and twice on films that it did not learn from."""
    films, close = data.open(64), data.close_canvas(64, 1.5)
    rows = films.rows(data.test_ids + data.validation_ids)
    net = trained.learner.ema.net

    def error(close: Canvas | None) -> float:
        member = make_member(trained.config, films.canvas, net, 3, close=close)
        points = film_outputs(member, data, data.test_ids + data.validation_ids).points_px
        return float(radial_errors_mm(points, films.landmarks_px[rows], films.spacing_mm[rows]).mean())

    assert error(close) < error(None)


def test_validation_reads_twice_as_a_member_does(data: TrainingData, trained: Training):
    member = make_member(trained.config, data.canvas(64), trained.learner.ema.net, 3, close=data.close_canvas(64, 1.5))
    answers, outputs = trained.validate(data.validation_ids), film_outputs(member, data, data.validation_ids)
    np.testing.assert_allclose(outputs.points_px, answers.points_px, atol=1e-3)


def test_predictor_and_onnx_read_twice_too(data: TrainingData, trained: Training, tmp_path: Path):
    folder = tmp_path / "member"
    save_member(folder, trained.config, data.canvas(64), trained.learner.ema.net.state_dict(), 3, close=data.close_canvas(64, 1.5))
    member = load_member(folder)
    assert member.close == data.close_canvas(64, 1.5)
    for tta in (Tta(), Tta(scales=(0.9, 1.1))):
        predictor = Predictor([member], [1.0], "single", data.dataset.protocol, tta=tta)
        by_id = data.dataset.by_id()
        films = [read_grey(by_id[film].image) for film in data.test_ids]
        points = np.stack([each.points_px for each in predictor.predict_batch(films)])
        np.testing.assert_allclose(points, film_outputs(member, data, data.test_ids, tta=tta).points_px, atol=1e-3)
    assert export_onnx(predictor, tmp_path / "ensemble.onnx", films) < 0.05


def test_heatmaps_of_windows_are_not_averaged(data: TrainingData):
    net = models.build(_config().model, 3)
    member = make_member(_config(), data.canvas(64), net, 3, close=data.close_canvas(64, 1.5))
    assert film_outputs(member, data, data.test_ids, heatmaps=True).heatmaps is None
