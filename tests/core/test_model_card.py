"""What lies in an ensemble folder for people: the card, and an example that runs without the project."""

import ast
import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_films import MARKS, make, tiny

from ceph_core import models
from ceph_core.data.imagefile import read_grey
from ceph_core.inference import Predictor, make_manifest, make_member, save_member, write_manifest
from ceph_core.inference import calibration as radii
from ceph_core.inference.calibration import CALIBRATION_FILE, read_calibration
from ceph_core.inference.export import export_onnx
from ceph_core.inference.model_card import CARD_FILE, EXAMPLE_FILE, write_card


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make(tmp_path_factory.mktemp("films"), train=8, validation=4)


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory, data) -> Path:
    folder = tmp_path_factory.mktemp("run") / "ensemble"
    config = tiny()
    canvas = data.canvas(64)
    member = make_member(config, canvas, models.build(config.model, 3), 3)
    save_member(folder / "member_0", config, canvas, member.net.state_dict(), 3)
    row = {"mre_mm": 1.234, "mre_interval_mm": [1.1, 1.4], "sdr_2mm": 83.21, "sdr_4mm": 97.5}
    manifest = make_manifest([member], [1.0], "single", MARKS, 1.0, figures={"test": {"ensemble": row}})
    write_manifest(folder, manifest)
    random = np.random.default_rng(0)
    radii.fit(MARKS.symbols, random.rayleigh(1, (12, 3)), random.uniform(0.1, 1, (12, 3))).save(folder / CALIBRATION_FILE)
    export_onnx(Predictor.load(folder), folder / "ensemble.onnx")
    write_card(folder, "my-run", manifest, data, "on the locked test the 90% radius holds 91 %")
    return folder


def test_the_card_says_what_the_records_say(ensemble):
    card = (ensemble / CARD_FILE).read_text()
    for said in (
        "# Model card: my-run", "1 network that finds 3 landmarks (marks)", "8 films to learn from, 4 by which members were chosen",
        "| ensemble | 1.23 [1.10, 1.40] | 83.2 | 97.5 |", "the 90% radius holds 91 %", "Not a medical device", "C (cross).",
    ):  # fmt: skip
        assert said in card, card


def test_the_example_needs_three_packages_alone(ensemble):
    tree = ast.parse((ensemble / EXAMPLE_FILE).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"numpy", "onnxruntime", "PIL"}


@pytest.mark.parametrize("kind", ["8 bit", "16 bit", "colour"])
def test_the_example_answers_as_the_predictor_does(ensemble, tmp_path, kind):
    film = np.random.default_rng(1).integers(0, 255, (70, 90), dtype=np.uint8)
    film = cv2.GaussianBlur(film, (0, 0), 3)
    film = film.astype(np.uint16) * 200 if kind == "16 bit" else np.stack([film] * 3, -1) if kind == "colour" else film
    cv2.imwrite(str(tmp_path / "film.png"), film)
    command = [sys.executable, str(ensemble / EXAMPLE_FILE), str(tmp_path / "film.png"), "--spacing-mm", "0.5"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    rows = list(csv.DictReader(said.splitlines()))
    expected = Predictor.load(ensemble).in_one_pass().predict(read_grey(tmp_path / "film.png"))
    assert [row["landmark"] for row in rows] == list(MARKS.symbols)
    assert np.abs([[float(row["x_px"]), float(row["y_px"])] for row in rows] - expected.points_px).max() < 0.06
    assert [float(row["x_mm"]) for row in rows] == pytest.approx((expected.points_px[:, 0] / 2).tolist(), abs=0.03)
    radius = read_calibration(ensemble, MARKS.symbols).radius_mm(expected.confidence)
    assert [float(row["radius_mm"]) for row in rows] == pytest.approx(radius.tolist(), rel=0.02, abs=0.01)
