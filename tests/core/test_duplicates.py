import csv
import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from ceph_core.config import SourceConfig
from ceph_core.data import duplicates, read
from ceph_core.data.duplicates import THRESHOLD, pairs_of, thumbnail


def _head(seed, height=400, width=320):
    """A skull of ellipses and lines, common to all seeds but for shape: strangers that look alike."""
    rng = np.random.default_rng(seed)
    film = np.full((height, width), 30, dtype=np.uint8)
    jitter = lambda *values: tuple(int(value + rng.normal(0, 8)) for value in values)  # noqa: E731
    cv2.ellipse(film, jitter(150, 150), jitter(120, 110), rng.normal(0, 5), 0, 360, 90, -1)
    cv2.ellipse(film, jitter(150, 150), jitter(118, 108), rng.normal(0, 5), 0, 360, 200, 4)
    cv2.ellipse(film, jitter(230, 190), jitter(30, 26), 0, 0, 360, 60, -1)
    for start, end in (((90, 200), (240, 220)), ((120, 250), (130, 340)), ((130, 340), (230, 380)), ((200, 250), (240, 300))):
        cv2.line(film, jitter(*start), jitter(*end), 190, 7)
    film = cv2.GaussianBlur(film, (0, 0), 2).astype(np.float32)
    return np.clip(film + rng.normal(0, 4, film.shape), 0, 255).astype(np.uint8)


def _contrast(film):
    return np.clip((film.astype(float) - 110) * 1.25 + 125, 0, 255).astype(np.uint8)


def _jpeg(film):
    return cv2.imdecode(cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_GRAYSCALE)


def _smaller(film):
    return cv2.resize(film, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize("change", [_contrast, _jpeg, _smaller, lambda film: _jpeg(_contrast(_smaller(film)))])
def test_a_copy_is_found_through(change):
    likeness = [float(thumbnail(film) @ thumbnail(change(film))) for film in map(_head, range(5))]
    assert min(likeness) > THRESHOLD + 0.03


def test_strangers_stay_strangers_and_copies_of_copies_are_all_listed(tmp_path):
    films = {f"{seed:02d}": _head(seed) for seed in range(30)}
    films |= {"40": _jpeg(films["03"]), "41": _contrast(films["03"]), "00b": films["29"]}
    for name, film in films.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), film)
    found = duplicates.find({name: tmp_path / f"{name}.png" for name in reversed(films)}, tmp_path / "cache")
    assert found == (("00b", "29"), ("03", "40"), ("03", "41"), ("40", "41"))


def test_blank_films_are_nobodys_copy():
    assert not thumbnail(np.full((50, 40), 7, dtype=np.uint8)).any()


def test_a_thousand_films_are_compared_at_once(monkeypatch):
    monkeypatch.setattr(duplicates, "BLOCK", 300)
    vectors = np.random.default_rng(0).normal(size=(1000, duplicates.SIDE**2)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[[999, 301]] = vectors[[0, 300]]
    start = time.perf_counter()
    assert pairs_of(tuple(f"{row:03d}" for row in range(1000)), vectors) == (("000", "999"), ("300", "301"))
    assert time.perf_counter() - start < 5


def test_no_films_no_pairs(tmp_path):
    assert duplicates.find({}, tmp_path) == ()


@pytest.mark.real
def test_the_known_pairs_of_isbi2015_are_found_and_no_other(tmp_path):
    if "CEPH_DATA_ROOT" not in os.environ:
        pytest.skip("CEPH_DATA_ROOT is not set: the folder that holds isbi2015/")
    root = Path(os.environ["CEPH_DATA_ROOT"]) / "isbi2015"
    with (root / "same_radiograph.csv").open() as file:
        known = {tuple(sorted((line["id"], line["same_as"]))) for line in csv.DictReader(file)}
    dataset = read(SourceConfig(root=root, spacing_mm=0.3), Path("unused"))
    found = duplicates.find({record.film_id: record.image for record in dataset.records}, tmp_path)
    assert set(found) == known
    assert len(found) == len(known) == 23
