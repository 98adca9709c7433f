"""The ONNX file answers as the predictor does, for films of any size."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from ceph_core import models
from ceph_core.config import Config, Decoder, apply
from ceph_core.geometry import Canvas, canvas_for, fit_affine, resample
from ceph_core.inference import Member, Predictor, export, make_member
from ceph_core.inference.tta import Tta
from ceph_core.landmarks import ISBI19, Protocol

TWO = Protocol("two", ("A", "B"), ("first", "second"))


def member(size: int, stride: int, loss: str, net: nn.Module | None = None, decoder: Decoder = "log_parabola") -> Member:
    torch.manual_seed(size)
    values = {
        "data.image_size": size,
        "model.head_stride": stride,
        "heatmap.loss": loss,
        "heatmap.sigma_rel": 0.03,
        "heatmap.decoder": decoder,
    }
    config = apply(Config(), {**values, "model.name": "hrnet_w18_small"})
    num = 2 if net else len(ISBI19)
    return make_member(config, canvas_for(1.2, size), net or models.build(config.model, num), num)


def smooth(stride: int) -> nn.Module:
    """Soft maps of a random filter: a network small enough to export in a second."""
    torch.manual_seed(stride)
    filters = nn.Conv2d(1, 2, 5, padding=2)
    nn.init.uniform_(filters.weight, -1e-3, 2e-3)
    return nn.Sequential(filters, nn.AvgPool2d(9, 1, 4), nn.AvgPool2d(stride))


@pytest.mark.parametrize("size", [(600, 484), (150, 260), (64, 64), (40, 30), (96, 80)])
def test_a_film_is_put_on_the_canvas_as_everywhere_else(size: tuple[int, int]) -> None:
    film, canvas = torch.from_numpy(export.drawn_film(*size)), Canvas(96, 80)
    grey, placed = export.on_canvas(film, canvas)
    expected = resample(film[None, None], canvas)[0, 0]
    # The same weights summed in another order: a value at a half, frequent at a scale of 5/4, may be rounded the other way.
    assert (grey - expected).abs().max() <= 1 and (grey != expected).double().mean() < 0.02
    affine = fit_affine(size, canvas)
    assert np.allclose(placed.scale[0], [affine[0, 0], affine[1, 1]], rtol=1e-12) and np.allclose(placed.shift[0], affine[:, 2], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("combine", "decoder"),
    [
        ("coordinate_mean", "log_parabola"),
        ("confidence_mean", "log_parabola"),
        ("heatmap_mean", "log_parabola"),
        ("heatmap_mean", "soft_argmax"),
        ("coordinate_mean", "quarter"),
    ],
)
def test_one_file_gives_the_ensemble_s_points_for_films_of_any_size(tmp_path: Path, combine: Any, decoder: Decoder) -> None:
    members = [member(64, 2, "mse", smooth(2), decoder), member(96, 4, "cross_entropy", smooth(4), decoder)]
    predictor = Predictor(members, [1, 2], combine, TWO)
    path = tmp_path / "deep" / "ensemble.onnx"
    assert export.export_onnx(predictor, path) < export.TOLERANCE_PX
    assert [file.name for file in path.parent.iterdir()] == ["ensemble.onnx"], "one file"

    session = onnxruntime.InferenceSession(path)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["landmarks"]) == ["A", "B"] and metadata["combine"] == combine
    film = export.drawn_film(333, 222, seed=5)
    points, confidence = session.run(None, {"film": film})
    expected = predictor.predict(film)
    assert points.shape == (2, 2) and np.abs(points - expected.points_px).max() < export.TOLERANCE_PX
    assert np.allclose(confidence, expected.confidence, atol=1e-4)


@pytest.mark.slow
def test_the_file_is_one_pass_of_an_ensemble_with_views_and_says_so(tmp_path: Path) -> None:
    predictor = Predictor([member(64, 4, "mse", smooth(4))], [1], "single", TWO, tta=Tta(scales=(0.5, 1.5)))
    film, said = export.drawn_film(333, 222, seed=5), []
    assert np.abs(predictor.predict(film).points_px - predictor.in_one_pass().predict(film).points_px).max() > 1
    assert export.export_onnx(predictor, tmp_path / "e.onnx", [film], said.append) < export.TOLERANCE_PX
    assert "one pass without the ensemble's test-time augmentation (2 scales)" in said[0]
    metadata = onnxruntime.InferenceSession(tmp_path / "e.onnx").get_modelmeta().custom_metadata_map
    assert metadata["tta"] == "none: one pass; the ensemble folder's own is 2 scales"


@pytest.mark.slow
def test_a_file_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "verify", lambda *_: 0.06)
    with pytest.raises(RuntimeError, match=r"differ from the predictor's by up to 0\.060 px"):
        export.export_onnx(Predictor([member(64, 4, "mse", smooth(4))], [1], "single", TWO), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_ensemble_of_hrnets_is_exported(tmp_path: Path) -> None:
    members = [member(64, 4, "mse"), member(96, 1, "cross_entropy")]
    assert export.export_onnx(Predictor(members, [1, 1], "heatmap_mean", ISBI19), tmp_path / "e.onnx") < export.TOLERANCE_PX


@pytest.mark.slow
def test_weights_beyond_what_a_file_holds_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is verified from where it is made and finds its weights where it is moved to."""
    monkeypatch.setattr(export, "MAX_BYTES", 100)
    predictor = Predictor([member(64, 4, "mse"), member(96, 1, "cross_entropy")], [1, 1], "heatmap_mean", ISBI19)
    said: list[str] = []
    assert export.export_onnx(predictor, tmp_path / "ensemble.onnx", progress=said.append) <= export.TOLERANCE_PX
    assert any("kept beside it" in line for line in said)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ensemble.onnx", "ensemble.onnx.data"]
    films = [export.drawn_film(*size) for size in ((240, 200), (90, 130), (64, 48))]
    assert export.verify(tmp_path / "ensemble.onnx", predictor, films) <= export.TOLERANCE_PX
