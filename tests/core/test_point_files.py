"""Predicted points in files: what is written is what another program, or our own readers, find there."""

import json

import cv2
import numpy as np
import pytest

from ceph_core import data
from ceph_core.config import SourceConfig
from ceph_core.inference.point_files import WRITERS, FilmPoints
from ceph_core.landmarks import ISBI19


@pytest.fixture
def films(tmp_path):
    """Two films; the second lacks a point and its mm."""
    made = []
    for number in range(2):
        file = tmp_path / "films" / f"film {number}.png"
        file.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(file), np.full((80, 60), 90 + number, np.uint8))
        points = np.random.default_rng(number).uniform(1, 55, (19, 2))
        made.append(FilmPoints(file, (80, 60), (0.5, 0.25), points, np.full(19, 0.7), np.full(19, 2.0), ("",) * 19, None))
    made[1].points_px[4] = np.nan
    return made


def written(kind, films, tmp_path):
    name, write = WRITERS[kind]
    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True)
    write(folder / name, ISBI19, films)
    return folder / name


@pytest.mark.parametrize("kind", ["csv", "coco"])
def test_our_own_readers_read_it_back(kind, films, tmp_path):
    dataset = data.read(SourceConfig(root=written(kind, films, tmp_path)), tmp_path / "cache")
    assert dataset.protocol == ISBI19
    for film, record in zip(films, dataset.records, strict=True):
        np.testing.assert_allclose(record.landmarks_px, film.points_px, atol=0.0051)
        assert record.spacing_mm == film.spacing_mm


def test_a_radius_is_in_mm_and_in_pixels(films, tmp_path):
    film = json.loads(written("json", films, tmp_path).read_text())["films"][0]
    landmark = film["landmarks"][3]
    assert landmark["radius_mm"] == 2.0
    assert landmark["radius_px"] == pytest.approx(2.0 / np.sqrt(0.5 * 0.25), abs=0.01)
    assert landmark["x_mm"] == pytest.approx(0.5 * landmark["x_px"], abs=0.01)
    assert landmark["y_mm"] == pytest.approx(0.25 * landmark["y_px"], abs=0.01)


def test_what_is_not_known_is_null(films, tmp_path):
    bare = FilmPoints(films[1].file, (80, 60), None, films[1].points_px, films[1].confidence)
    told = json.loads(written("json", [bare], tmp_path).read_text())["films"][0]["landmarks"]
    assert {told[0][key] for key in ("x_mm", "y_mm", "radius_px", "radius_mm", "review")} == {None}
    assert {told[4][key] for key in ("x_px", "y_px", "x_mm")} == {None}


def test_the_challenge_gets_numbers(films, tmp_path):
    told = json.loads(written("cldetection", films, tmp_path).read_text())
    assert (told["type"], told["version"]) == ("Multiple points", {"major": 1, "minor": 0})
    assert len(told["points"]) == 37
    by_name = {(point["name"], point["point"][2]): point["point"][:2] for point in told["points"]}
    assert by_name["7", 2] == pytest.approx(films[1].points_px[6].tolist(), abs=0.006)
    assert ("5", 2) not in by_name, "a point that was dropped"
