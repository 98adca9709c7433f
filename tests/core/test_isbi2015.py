import logging
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from ceph_core.config import SourceConfig
from ceph_core.data import default_cache_dir, read
from ceph_core.data.phantom import write
from ceph_core.errors import InputError

FOLDERS = {"TrainingData": range(1, 5), "Test1Data": range(151, 154), "Test2Data": range(301, 303)}
HEIGHT, WIDTH = 40, 30


def _points(number, shift=0.0):
    return np.random.default_rng(number).uniform(2, 25, (19, 2)).round(3) + shift


def _annotate(file, points):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{x:g},{y:g}\n" for x, y in points) + "1\n2\n1\n3\n1\n1\n2\n1\n")


@pytest.fixture
def root(tmp_path):
    """The official layout, drawn: suffixes mixed, readers 2 px apart, one listed double."""
    for name, numbers in FOLDERS.items():
        (tmp_path / "RawImage" / name).mkdir(parents=True)
        for number in numbers:
            suffix = (".bmp", ".png", ".JPG")[number % 3]
            film = np.full((HEIGHT, WIDTH), number % 251, dtype=np.uint8)
            (tmp_path / "RawImage" / name / f"{number:03d}{suffix}").write_bytes(cv2.imencode(suffix, film)[1].tobytes())
            for reader, shift in (("senior", 0.0), ("junior", 2.0)):
                _annotate(tmp_path / "AnnotationsByMD" / f"400_{reader}" / f"{number:03d}.txt", _points(number, shift))
    (tmp_path / "same_radiograph.csv").write_text("id,same_as\n002,152\n")
    return tmp_path


def _read(root, **changes):
    return read(SourceConfig(**{"root": root, "spacing_mm": 0.3, **changes}), root / "cache")


def _problems(root, **changes):
    with pytest.raises(InputError) as caught:
        _read(root, **changes)
    return caught.value.problems


def test_records(root):
    dataset = _read(root)
    assert dataset.name == "isbi2015"
    assert dataset.same_radiograph == (("002", "152"),)
    assert [record.film_id for record in dataset.records] == ["001", "002", "003", "004", "151", "152", "153", "301", "302"]
    assert [record.split for record in dataset.records] == ["train"] * 4 + ["test1"] * 3 + ["test2"] * 2
    record = dataset.by_id()["151"]
    assert record.size == (HEIGHT, WIDTH)
    assert record.spacing_mm == (0.3, 0.3)
    assert record.image.is_absolute()
    np.testing.assert_allclose(record.landmarks_px, _points(151) + 1, atol=1e-3)
    np.testing.assert_allclose(record.annotators["junior"] - record.annotators["senior"], 2, atol=1e-3)


@pytest.mark.parametrize(("annotator", "shift"), [("senior", 0), ("junior", 2), ("mean", 1)])
def test_annotator(root, annotator, shift):
    record = _read(root, annotator=annotator).records[0]
    np.testing.assert_allclose(record.landmarks_px, _points(1) + shift, atol=1e-3)
    assert set(record.annotators) == {"senior", "junior"}


def test_annotations_may_lie_beside_the_images(root):
    for reader in ("400_senior", "400_junior"):
        (root / "AnnotationsByMD" / reader).rename(root / reader)
    (root / "AnnotationsByMD").rmdir()
    assert len(_read(root).records) == 9


def test_one_reader_is_enough_for_itself_only(root):
    for file in (root / "AnnotationsByMD" / "400_junior").iterdir():
        file.unlink()
    (root / "AnnotationsByMD" / "400_junior").rmdir()
    assert set(_read(root, annotator="senior").records[0].annotators) == {"senior"}
    for annotator in ("mean", "junior"):
        (problem,) = _problems(root, annotator=annotator)
        assert "400_junior: no such folder" in problem
        assert "choose annotator senior" in problem


def test_test_folders_may_be_absent_and_their_annotations_are_counted(root, caplog):
    for name in ("Test1Data", "Test2Data"):
        for file in (root / "RawImage" / name).iterdir():
            file.unlink()
        (root / "RawImage" / name).rmdir()
    with caplog.at_level(logging.WARNING):
        dataset = _read(root)
    assert {record.split for record in dataset.records} == {"train"}
    assert "6 annotations of Test1Data are not used" in caplog.text
    assert "1 of 1 pairs name a film that is not there" in caplog.text
    assert dataset.same_radiograph == ()


def test_no_list_of_doubles_is_no_empty_list(root):
    (root / "same_radiograph.csv").unlink()
    assert _read(root).same_radiograph is None


def test_original_size_has_its_spacing_and_any_other_needs_one(root):
    assert _problems(root, spacing_mm=None) == (
        f"{root}: mm a pixel are unknown for 9 films of 30 x 40 px (only 1935 x 2400 is known: 0.1 mm); give it with --spacing-mm",
    )
    for file in (root / "RawImage").rglob("*.*"):
        file.unlink()
    for name, numbers in FOLDERS.items():
        for number in numbers:
            # The header says 1935 x 2400; nothing is decoded, so that the rest may be missing.
            header = cv2.imencode(".png", np.zeros((2400, 1935), dtype=np.uint8))[1].tobytes()[:100]
            (root / "RawImage" / name / f"{number:03d}.png").write_bytes(header)
    assert _read(root, spacing_mm=None).records[0].spacing_mm == (0.1, 0.1)


def test_a_spacing_that_contradicts_the_known_one_is_obeyed_and_said(root, caplog):
    header = cv2.imencode(".png", np.zeros((2400, 1935), dtype=np.uint8))[1].tobytes()[:100]
    (film,) = (root / "RawImage" / "TrainingData").glob("001.*")
    film.unlink()
    film.with_suffix(".png").write_bytes(header)
    with caplog.at_level(logging.WARNING):
        assert _read(root).by_id()["001"].spacing_mm == (0.3, 0.3)
    assert "1 films of 1935 x 2400 px are taken at the given 0.3 mm" in caplog.text


def test_every_problem_is_reported_at_once(root):
    films, notes = root / "RawImage", root / "AnnotationsByMD"
    lines = (notes / "400_senior" / "001.txt").read_text().splitlines()
    (notes / "400_senior" / "001.txt").write_text("\n".join(lines[:18]) + "\n")
    lines[3], lines[5], lines[6], lines[8] = "12,high", "nan,3", "31.7,5", "7"
    (notes / "400_junior" / "001.txt").write_text("\n".join(lines))
    (notes / "400_senior" / "002.txt").unlink()
    _annotate(notes / "400_junior" / "005.txt", _points(5))
    (films / "TrainingData" / "003.bmp").write_bytes(b"BM no image")
    (films / "TrainingData" / "004.tif").write_bytes(b"")
    (films / "Test1Data" / "notes.docx").write_bytes(b"")
    (films / "TrainingData" / ".DS_Store").write_bytes(b"")
    (root / "same_radiograph.csv").write_text("id,same_as\n002,\n")
    problems = _problems(root)
    for expected in [
        "400_senior/001.txt: 18 lines; 19 are needed",
        "400_junior/001.txt: line 4: '12,high' must be two numbers `x,y` (Po)",
        "400_junior/001.txt: line 6: 'nan,3' must be two numbers",
        "400_junior/001.txt: Pog at 31.7,5 is outside the film of 30 x 40 px",
        "400_junior/001.txt: line 9: '7' must be two numbers",
        "002.JPG: film without annotation; ",
        "400_junior/005.txt: annotation without film; add film 005",
        "003.bmp: no readable image header",
        "004.tif: film 004 is there twice, also as ",
        "notes.docx: is no film",
        "same_radiograph.csv: pair '002', ''",
    ]:
        assert sum(expected in problem for problem in problems) == 1, expected
    assert len(problems) == 11


def test_missing_folders(root, tmp_path):
    assert "--data" in _problems(root / "nowhere")[0]
    (tmp_path / "empty").mkdir()
    (problem,) = _problems(tmp_path / "empty")
    assert "isbi2015: the challenge's folder RawImage" in problem and "phantom: phantom.json beside drawn films" in problem
    assert any("TrainingData: no such folder" in problem for problem in _problems(tmp_path / "empty", format="isbi2015"))


def test_a_format_without_a_folder():
    with pytest.raises(InputError, match="--format isbi2015: needs a data folder"):
        read(SourceConfig(format="isbi2015"), Path("unused"))


def test_drawn_films_are_known_by_their_folder(tmp_path):
    write(tmp_path, 0, 1, 1)
    assert read(SourceConfig(root=tmp_path), Path("unused")).name == "phantom"


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("CEPH_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "ceph-search"
    monkeypatch.setenv("CEPH_CACHE_DIR", str(tmp_path / "mine"))
    assert default_cache_dir() == tmp_path / "mine"


@pytest.mark.real
def test_real_films():
    if "CEPH_DATA_ROOT" not in os.environ:
        pytest.skip("CEPH_DATA_ROOT is not set: the folder that holds isbi2015/ and isbi2015_original/")
    data = Path(os.environ["CEPH_DATA_ROOT"])
    dataset = _read(data / "isbi2015")
    assert len(dataset.records) == 300
    test1 = [record for record in dataset.records if record.split == "test1"]
    apart = [np.linalg.norm(record.annotators["senior"] - record.annotators["junior"], axis=1).mean() * 0.3 for record in test1]
    assert np.mean(apart) == pytest.approx(2.36, abs=0.01)
    assert {record.spacing_mm for record in _read(data / "isbi2015_original", spacing_mm=None).records} == {(0.1, 0.1)}
