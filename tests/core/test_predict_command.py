"""`python -m ceph_core predict` and `evaluate`: what is written, and what is said when it cannot be."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from dicom_films import PATIENT, PIXELS
from dicom_films import write as write_dicom
from format_writers import aariz, cldetection2024, table
from format_writers import films as drawn_films

from ceph_core import commands, models
from ceph_core.__main__ import main
from ceph_core.config import Config, apply
from ceph_core.data.imagefile import read_grey
from ceph_core.data.parallel import num_threads
from ceph_core.geometry import Canvas
from ceph_core.inference import Predictor, calibration, make_manifest, make_member, overlay, save_member, tta, write_manifest
from ceph_core.inference import predictor as module
from ceph_core.inference.calibration import CALIBRATION_FILE, read_calibration
from ceph_core.inference.export import drawn_film
from ceph_core.inference.outputs import batch_for
from ceph_core.inference.point_files import COLUMNS
from ceph_core.landmarks import AARIZ29, ISBI19, numbered


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ensemble folder of one untrained network that says it learned from film 004."""
    folder = tmp_path_factory.mktemp("run") / "ensemble"
    config = apply(Config(), {"model.name": "hrnet_w18_small", "data.image_size": 64})
    torch.manual_seed(0)
    member = make_member(config, Canvas(64, 64), models.build(config.model, 19), 19)
    save_member(folder / "member_0", config, member.canvas, member.net.state_dict(), 19)
    write_manifest(folder, make_manifest([member], [1.0], "single", ISBI19, 1.2, training_films=["001", "004"]))
    return folder


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for number, size in enumerate(((120, 100), (90, 130))):
        cv2.imwrite(str(folder / f"film {number}.png"), drawn_film(*size, seed=number))
    (folder / "notes.txt").write_text("no film")
    return folder


def test_points_are_written_in_px_and_mm_with_an_overlay_a_film(
    model: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    assert main(["predict", "--model", str(model), str(films), "--out", str(out), "--spacing-mm", "0.5"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(out / "points.csv") and "2/2" in said.err
    assert sorted(file.name for file in out.iterdir()) == [
        "film 0_overlay.png",
        "film 1_overlay.png",
        "measurements.csv",
        "points.csv",
        "points.json",
    ]
    rows = rows_of(out / "points.csv")
    assert len(rows) == 38 and tuple(rows[0]) == COLUMNS
    film = cv2.imread(str(films / "film 0.png"), cv2.IMREAD_GRAYSCALE)
    expected = Predictor.load(model).predict(np.asarray(film, dtype=np.uint8)).points_px
    assert np.abs([[float(row["x_px"]), float(row["y_px"])] for row in rows[:19]] - expected).max() < 0.006, "rounded to a hundredth"
    assert float(rows[3]["x_mm"]) == pytest.approx(float(rows[3]["x_px"]) / 2, abs=0.01)
    whole = json.loads((out / "points.json").read_text())
    assert [whole["films"][0][key] for key in ("height", "width", "overlay")] == [120, 100, "film 0_overlay.png"]
    assert [landmark["landmark"] for landmark in whole["films"][1]["landmarks"]] == list(ISBI19.symbols)
    assert [path.name for path in out.parent.iterdir()] == ["out"], "nothing is left beside it"


def test_views_are_averaged_where_asked(model: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = films / "film 0.png"
    asked = ["predict", "--model", str(model), str(film), "--no-overlays", "--out", str(tmp_path / "out")]
    plain, averaged = (Predictor.load(model, tta=views).predict(read_grey(film)).points_px for views in (None, tta.parse("shift,scale")))
    assert np.abs(plain - averaged).max() > 0.1
    for words, expected in (([], plain), (["--tta", "none"], plain), (["--tta", "shift,scale"], averaged)):
        assert main([*asked, *words]) == 0
        found = [[float(row["x_px"]), float(row["y_px"])] for row in rows_of(tmp_path / "out" / "points.csv")]
        assert np.abs(found - expected).max() < 0.006, "rounded to a hundredth"
    capsys.readouterr()
    for words, said in (("flip", "member_0 was trained without flips"), ("turn", "'turn': allowed are flip, shift, scale")):
        assert main([*asked, "--tta", words]) == 2
        assert said in capsys.readouterr().err


def test_without_a_spacing_no_mm_are_made_up(model: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--model", str(model), str(films / "*0.png"), "--out", str(tmp_path / "out")]) == 0
    assert "columns in mm, and radii, stay empty for 1 of 1 films" in capsys.readouterr().err
    rows = rows_of(tmp_path / "out" / "points.csv")
    assert len(rows) == 19 and all(row["x_mm"] == row["y_mm"] == "" for row in rows)


def test_every_problem_is_told_at_once_and_nothing_is_written(
    model: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (films / "bad.png").write_bytes(b"no image")
    (films / "cut.png").write_bytes((films / "film 0.png").read_bytes()[:900])
    out = tmp_path / "out"
    assert main(["predict", "--model", str(model), str(films), "--out", str(out), "--spacing-mm", "-1"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and all(line.startswith("error: ") for line in said.err.splitlines())
    assert "bad.png" in said.err and "cut.png" in said.err and "--spacing-mm" in said.err
    assert not out.exists() and sorted(path.name for path in tmp_path.iterdir()) == ["films"]
    assert main(["predict", "--model", str(model), str(tmp_path / "gone.png"), str(tmp_path / "*.tif"), "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("error: ") == 2


def test_bad_films_are_all_named_wherever_they_stand_and_nothing_is_written(
    model: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2, 24):
        (films / f"film {number:02d}.png").write_bytes((films / "film 0.png").read_bytes()[: 900 if number in (12, 23) else None])
    assert main(["predict", "--model", str(model), str(films), "--out", str(tmp_path / "out")]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and "film 12.png" in errors[0] and "film 23.png" in errors[1]
    assert [path.name for path in tmp_path.iterdir()] == ["films"], "what was predicted before the first bad one is gone"


def test_films_are_decoded_once_and_a_bounded_number_ahead(
    model: Path, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2, 60):
        (films / f"film {number:02d}.png").write_bytes((films / f"film {number % 2}.png").read_bytes())
    decoded: list[Path] = []

    def counted(path: Path) -> np.ndarray:
        decoded.append(path)
        return read_grey(path)

    monkeypatch.setattr(module, "read_grey", counted)
    files = sorted(films.glob("*.png"))
    ahead, predictor = [], Predictor.load(model)
    for number, (film, _) in enumerate(predictor.predict_files(files, lambda done, total: None), start=1):
        ahead.append(len(decoded) - number)
        assert film.shape == ((120, 100), (90, 130))[int(files[number - 1].stem.split()[1]) % 2], "answers come in the order asked"
    assert sorted(decoded) == files and max(ahead) <= batch_for(predictor.device) + 2 * num_threads()
    assert main(["predict", "--model", str(model), str(films), "--out", str(tmp_path / "out"), "--no-overlays"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["measurements.csv", "points.csv", "points.json"]
    assert json.loads((tmp_path / "out" / "points.json").read_text())["films"][0]["overlay"] is None


def test_an_interruption_leaves_nothing_and_exits_with_130(
    model: Path, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "answer", interrupted)
    assert main(["predict", "--model", str(model), str(films), "--out", str(tmp_path / "out")]) == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["films"]


@pytest.mark.parametrize("size", [(60, 40), (3000, 2000)])
def test_an_overlay_is_readable_at_any_size(size: tuple[int, int]) -> None:
    points = np.array([[size[1] * 0.25, size[0] * 0.5], [np.nan, np.nan], [size[1] * 0.75, size[0] * 0.5]])
    picture = overlay.draw(np.zeros(size, np.uint8), points, ("A", "B", "C"), reference_px=points + size[0] * 0.05)
    assert max(picture.shape) == overlay.LONG_SIDE
    at = (np.array([points[0]]) + 0.5) * picture.shape[0] / size[0] - 0.5
    x, y = np.round(at[0]).astype(int)
    assert tuple(picture[y, x]) == overlay.PREDICTED
    marked = (picture == overlay.PREDICTED).all(-1)
    assert marked[:, : picture.shape[1] // 2].sum() == pytest.approx(marked[:, picture.shape[1] // 2 :].sum(), rel=0.3), (
        "two points, one missing"
    )
    assert (picture == overlay.REFERENCE).all(-1).any()


def test_films_of_one_name_keep_an_overlay_each(model: Path, films: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "film 0.png").write_bytes((films / "film 0.png").read_bytes())
    assert main(["predict", "--model", str(model), str(films), str(tmp_path / "other"), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "film 0_2_overlay.png").is_file()


@pytest.fixture
def isbi(tmp_path: Path) -> Path:
    """Twelve training and three test films in the ISBI layout; 004 and the test film 014 show one radiograph."""
    root, random = tmp_path / "isbi", np.random.default_rng(0)
    for number in range(1, 16):
        film = root / "RawImage" / ("TrainingData" if number <= 12 else "Test1Data") / f"{number:03d}.png"
        film.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(film), drawn_film(60, 48, seed=number))
        for reader in ("400_senior", "400_junior"):
            notes = root / reader / f"{number:03d}.txt"
            notes.parent.mkdir(exist_ok=True)
            notes.write_text("".join(f"{x},{y}\n" for x, y in random.integers(5, 40, (19, 2))))
    (root / "same_radiograph.csv").write_text("id,same_as\n004,014\n")
    return root


def test_evaluate_warns_of_films_the_model_has_seen_and_writes_what_is_asked(
    model: Path, isbi: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CEPH_CACHE_DIR", str(tmp_path / "cache"))
    asked = ["evaluate", "--model", str(model), "--data", str(isbi), "--spacing-mm", "2"]
    assert main([*asked, "--out", str(tmp_path / "scores.json")]) == 0
    said = capsys.readouterr()
    assert (
        "mean shape of" in said.out and "reader junior against reader senior" in said.out.replace("\n", " ") and "below minimum" in said.out
    )
    assert "1 scored films show a radiograph that the model learned from or was chosen on: 014" in said.err
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["scores"]["ensemble (single)"]["films"] == 3 and set(scores["by_landmark"]) == set(ISBI19.symbols)

    assert main([*asked, "--tta", "scale", "--out", str(tmp_path / "views.json")]) == 0
    capsys.readouterr()
    assert next(iter(json.loads((tmp_path / "views.json").read_text())["scores"])) == "ensemble (single, TTA 2 scales)"

    assert main([*asked, "--split", "all", "--out", str(tmp_path / "scores.csv")]) == 0
    said = capsys.readouterr()
    assert "2 of 15 scored films (by id" in said.err and "2 scored films share a radiograph" in said.err
    assert len(rows_of(tmp_path / "scores.csv")) == 15 * 19


def test_evaluate_refuses_what_it_cannot_score(model: Path, isbi: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["evaluate", "--model", str(model), "--data", str(isbi)]
    for wrong, expected in (
        (["--spacing-mm", "2", "--split", "test9"], "--split: test9"),
        (["--spacing-mm", "2", "--out", str(tmp_path / "scores.xlsx")], "allowed are .csv and .json"),
        (["--annotator", "me", "--format", "dicom"], "annotator"),
        (["--spacing-mm", "2", "--tta", "turn"], "--tta: 'turn'"),
        (["--spacing-mm", "2", "--tta", "flip"], "member_0 was trained without flips"),
        ([], "--spacing-mm"),
    ):
        assert main([*asked, *wrong]) == 2
        assert expected in capsys.readouterr().err


def test_every_command_is_complete() -> None:
    found = commands.discover()
    assert {"evaluate", "export", "predict"} <= set(found)
    assert all(command.HELP and callable(command.run) and callable(command.add_arguments) for command in found.values())
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0


@pytest.fixture
def calibrated(model: Path, tmp_path: Path) -> Path:
    """The model with radii."""
    folder = tmp_path / "calibrated"
    shutil.copytree(model, folder)
    random = np.random.default_rng(0)
    calibration.fit(ISBI19.symbols, random.rayleigh(1.0, (20, 19)), random.uniform(0.2, 1, (20, 19))).save(folder / CALIBRATION_FILE)
    return folder


def test_points_have_radii_where_a_pixel_has_a_size(calibrated: Path, films: Path, tmp_path: Path) -> None:
    asked = ["predict", "--model", str(calibrated), str(films / "film 0.png"), "--out", str(tmp_path / "out")]
    assert main([*asked, "--spacing-mm", "0.5", "--write", "csv", "coco", "cldetection"]) == 0
    rows = rows_of(tmp_path / "out" / "points.csv")
    expected = read_calibration(calibrated, ISBI19.symbols).radius_mm(np.array([float(row["confidence"]) for row in rows]))
    assert [float(row["radius_mm"]) for row in rows] == pytest.approx(expected.tolist(), abs=0.02)
    assert [float(row["radius_px"]) for row in rows] == pytest.approx((expected / 0.5).tolist(), abs=0.04)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "coco.json", "film 0_overlay.png", "measurements.csv", "orthodontic-landmarks.json", "points.csv",
    ]  # fmt: skip
    assert main([*asked, "--no-overlays"]) == 0
    assert {row["radius_px"] for row in rows_of(tmp_path / "out" / "points.csv")} == {""}, "nobody said what a pixel is"


def test_evaluate_says_what_radii_are_worth(
    calibrated: Path, isbi: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CEPH_CACHE_DIR", str(tmp_path / "cache"))
    asked = ["evaluate", "--model", str(calibrated), "--data", str(isbi), "--spacing-mm", "2", "--out", str(tmp_path / "scores.json")]
    assert main(asked) == 0
    assert "the 90% radius holds " in capsys.readouterr().out
    told = json.loads((tmp_path / "scores.json").read_text())
    assert 0 <= told["radius"]["low"] <= told["radius"]["share"] <= told["radius"]["high"] <= 1
    assert told["radius"]["films"] == 3


def test_evaluate_on_other_landmarks_scores_those_in_both(
    calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CEPH_CACHE_DIR", str(tmp_path / "cache"))
    aariz(tmp_path / "aariz", drawn_films(AARIZ29, 12))
    asked = ["evaluate", "--model", str(calibrated), "--data", str(tmp_path / "aariz"), "--out", str(tmp_path / "scores.csv")]
    assert main(asked) == 0
    assert "19 landmarks are in both isbi-19 and aariz-29; the others are not scored" in capsys.readouterr().err
    rows = rows_of(tmp_path / "scores.csv")
    assert [row["landmark"] for row in rows[:19]] == [AARIZ29.symbols[there] for _, there in ISBI19.shared_with(AARIZ29)]
    truth = {film.name: film.points for film in drawn_films(AARIZ29, 12)}
    nasion = next(row for row in rows if row["landmark"] == "N")
    assert float(nasion["reference_x_px"]) == pytest.approx(truth[nasion["film"]][AARIZ29.symbols.index("N"), 0], abs=0.01)
    cldetection2024(tmp_path / "numbers", drawn_films(numbered(53), 12))
    assert main(["evaluate", "--model", str(calibrated), "--data", str(tmp_path / "numbers")]) == 2
    assert "no point is in both (numbered points are only their own set's)" in capsys.readouterr().err


def test_a_dicom_film_brings_its_own_mm(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dicom(tmp_path / "a.dcm", np.tile(PIXELS, (4, 3)), PixelSpacing=[0.2, 0.1])
    assert main(["predict", "--model", str(model), str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert "mm a pixel of 1 films come from the DICOM header, PixelSpacing" in capsys.readouterr().err
    row = rows_of(tmp_path / "out" / "points.csv")[0]
    assert float(row["x_mm"]) == pytest.approx(0.1 * float(row["x_px"]), abs=0.01)
    assert float(row["y_mm"]) == pytest.approx(0.2 * float(row["y_px"]), abs=0.01)
    assert all(PATIENT.encode() not in file.read_bytes() for file in (tmp_path / "out").iterdir())


def test_measurements_are_written_beside_the_points(
    calibrated: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["predict", "--model", str(calibrated), str(films / "film 0.png"), "--out", str(tmp_path / "out"), "--no-overlays"]
    assert main([*asked, "--spacing-mm", "0.5"]) == 0
    rows = {row["measurement"]: row for row in rows_of(tmp_path / "out" / "measurements.csv")}
    assert float(rows["ANB"]["value"]) == pytest.approx(float(rows["SNA"]["value"]) - float(rows["SNB"]["value"]), abs=0.11)
    assert float(rows["SNA"]["low"]) < float(rows["SNA"]["value"]) < float(rows["SNA"]["high"])
    assert (rows["IMPA"]["value"], rows["IMPA"]["missing"]) == ("", "LIA")
    assert (rows["SNA"]["norm_mean"], rows["SNA"]["unit"]) == ("82.0", "deg")
    (tmp_path / "mine.yaml").write_text("measurements: {chin: {unit: mm, distance: [Pog, Me]}}")
    assert main([*asked, "--measurements", str(tmp_path / "mine.yaml")]) == 0
    (row,) = rows_of(tmp_path / "out" / "measurements.csv")
    assert row["missing"] == "mm a pixel"
    assert main([*asked, "--measurements", str(tmp_path / "gone.yaml")]) == 2
    assert "gone.yaml: cannot be read" in capsys.readouterr().err


def test_evaluate_says_how_measurements_agree(
    model: Path, isbi: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CEPH_CACHE_DIR", str(tmp_path / "cache"))
    asked = ["evaluate", "--model", str(model), "--data", str(isbi), "--spacing-mm", "2", "--out", str(tmp_path / "scores.json")]
    assert main(asked) == 0
    assert "limits of agreement" in capsys.readouterr().out
    told = json.loads((tmp_path / "scores.json").read_text())["measurements"]
    assert set(told) == {"ensemble (single) against the reference", "reader junior against reader senior"}
    assert {row["name"] for row in told["reader junior against reader senior"]} >= {"SNA", "ANB", "FHI", "MW"}


def test_evaluate_scores_films_that_are_all_locked(
    calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's own films, none of them to learn from; a search refuses such a set."""
    monkeypatch.setenv("CEPH_CACHE_DIR", str(tmp_path / "cache"))
    films = drawn_films(ISBI19, 4)
    for film in films:
        film.split = "test"
    table(tmp_path / "own", films)
    asked = ["evaluate", "--model", str(calibrated), "--data", str(tmp_path / "own"), "--out", str(tmp_path / "scores.json")]
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "test: 4 films" in shown and "mean shape" not in shown
    assert main(["check", "--data", str(tmp_path / "own")]) == 1
