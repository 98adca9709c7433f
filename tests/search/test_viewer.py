import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ceph_core.errors import InputError
from ceph_core.inference.calibration import Calibration
from ceph_core.landmarks import ISBI19
from search import pages, records
from search.report.comparison import Comparison, compare
from search.viewer import build
from search.viewer.pictures import SIDE_PX, encode, write_pictures
from tests.search.drawn_run import draw_run, true_points


def draw_tested_run(folder: Path) -> records.RunFolder:
    """A drawn run of one trial that has predictions of its five test films alone."""
    run = draw_run(folder, trials=1)
    points = records.load(run.path).predictions
    records.write_predictions(run, points[points["role"] == "test"])
    return run


def silent(done: int, total: int) -> None:
    pass


def shown(page: Path) -> dict[str, Any]:
    """What the page is made from."""
    found = re.search(r'(?s)<script type="application/json" id="content">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found
    return json.loads(found[1])


def test_every_predicted_film_is_there_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    run = draw_tested_run(tmp_path)
    content = shown(build(run.path))
    comparison = compare(records.load(run.path))
    assert isinstance(comparison, Comparison)
    assert [film["id"] for film in content["films"]] == list(comparison.films)
    assert [landmark["symbol"] for landmark in content["landmarks"]] == list(ISBI19.symbols)
    assert [model["name"] for model in content["models"]][:3] == ["ensemble", "best single", "baseline"]
    assert content["models"][-1]["name"] == "mean shape" and not any(model["name"] == "reference" for model in content["models"])
    for model in content["models"]:
        if not model["name"].startswith("member:"):
            assert model["mre_mm"] == pytest.approx(comparison.rows[model["name"]].summary.mre_mm, abs=1e-3)
    for film in content["films"]:
        truth = true_points(int(film["id"]))
        assert (film["role"], film["split"], film["group"]) == ("test", "test", f"g{int(film['id'])}")
        assert (film["height"], film["width"]) == (400, 322) and film["spacing_mm"] == [0.6, 0.6]
        for point, true in zip(film["reference"], truth, strict=True):
            assert point is None or point == pytest.approx(true, abs=6e-4)
    assert [film["id"] for film in content["films"] if None in film["reference"]] == ["007"]


def test_films_of_both_roles_are_there_and_a_model_has_the_error_of_its_test(tmp_path: Path) -> None:
    run = draw_tested_run(tmp_path)
    points = records.load(run.path).predictions
    judged = points[points["model"].isin(["ensemble", "reference"])].assign(role="validation")
    judged["film"] = judged["film"].map(lambda film: f"{int(film) - 5:03d}")
    judged["x_px"] += 50 * (judged["model"] == "ensemble")
    records.write_predictions(run, pd.concat([points, judged]))
    content, comparison = shown(build(run.path)), compare(records.load(run.path))
    assert isinstance(comparison, Comparison)
    assert [film["role"] for film in content["films"]] == ["test"] * 5 + ["validation"] * 5
    assert content["models"][0]["name"] == "ensemble"
    assert content["models"][0]["mre_mm"] == pytest.approx(comparison.rows["ensemble"].summary.mre_mm, abs=1e-3)


def test_radii_and_doubts_are_the_ensembles_own(tmp_path: Path) -> None:
    run = draw_tested_run(tmp_path)
    run.ensemble_dir.mkdir()
    radii = Calibration(symbols=ISBI19.symbols, intercepts=(0.0,) * 19, slope=0.0, scores=(0.0, 2.0), constant_mm=(1.0,) * 19, num_films=20)
    radii.save(run.ensemble_dir / "calibration.json")
    content = shown(build(run.path))
    assert content["films"][0]["radius_mm"] == [pytest.approx(1.8)] * 19
    assert "review" not in content["films"][0] and content["notes"] == []
    (run.ensemble_dir / "calibration.json").write_text("{}")
    content = shown(build(run.path))
    assert "radius_mm" not in content["films"][0]
    assert content["notes"][0].startswith("no radii: ")


def test_without_an_ensemble_the_best_model_comes_first(tmp_path: Path) -> None:
    run = draw_tested_run(tmp_path)
    points = records.load(run.path).predictions
    points = points[~points["model"].isin(["ensemble", "best single"]) & ~points["model"].str.startswith("member:")]
    points = points.replace({"model": {"baseline": "t0003 seed 1"}}).assign(role="validation")
    records.write_predictions(run, pd.concat([points, points[points["model"] == "mean shape"].assign(model="t0001")]))
    content = shown(build(run.path))
    names = [model["name"] for model in content["models"]]
    assert names[:2] == ["t0003 seed 1", "t0001"]
    assert {film["role"] for film in content["films"]} == {"validation"}


def test_an_unfinished_run_has_a_page_that_says_so(tmp_path: Path) -> None:
    run = draw_run(tmp_path, trials=1, promoted=False, finished=False)
    page = build(run.path)
    assert "No film to show yet" in page.read_text() and "The run is interrupted" in page.read_text()
    assert shown(page)["films"] == []
    with pytest.raises(InputError, match="not a run"):
        build(tmp_path)


def test_films_without_a_reference_or_a_row_in_the_splits(tmp_path: Path) -> None:
    run = draw_tested_run(tmp_path)
    loaded = records.load(run.path)
    records.write_splits(run, loaded.splits[loaded.splits["film"] != "009"])
    records.write_predictions(
        run, loaded.predictions[~((loaded.predictions["model"] == "reference") & (loaded.predictions["film"] == "005"))]
    )
    films = {film["id"]: film for film in shown(build(run.path))["films"]}
    assert films["009"]["spacing_mm"] is None and films["005"]["reference"] is None
    assert films["009"]["picture"] is None and films["009"]["problem"] == "no picture: splits.csv does not name the film"


HOSTILE = ("Müller 鼻 1", 'it\'s "quoted" & <b>', "</script><script>alert(1)</script>", "a/b\\c#100%;,", "__proto__")


def draw_hostile_run(folder: Path) -> records.RunFolder:
    run = draw_tested_run(folder)
    loaded = records.load(run.path)
    names = dict(zip(loaded.predictions["film"].unique(), HOSTILE, strict=True))
    records.write_splits(run, loaded.splits.replace({"film": names}))
    records.write_predictions(run, loaded.predictions.replace({"film": names}))
    return run


def test_no_name_of_a_film_breaks_the_page(tmp_path: Path) -> None:
    page = build(draw_hostile_run(tmp_path).path)
    assert "<script>alert(1)" not in page.read_text()
    assert [film["id"] for film in shown(page)["films"]] == list(HOSTILE)
    assert all(re.fullmatch(r"viewer/[0-9a-f]{20}\.jpg", film["picture"]) for film in shown(page)["films"])


def test_a_picture_is_written_once_and_outlives_its_film(tmp_path: Path) -> None:
    run = draw_tested_run(tmp_path)
    first, second = (Path(path) for path in records.load(run.path).splits["image"].iloc[-2:])
    read: list[Path] = []

    def look() -> dict[str, Any]:
        def counted(path: Path) -> np.ndarray:
            read.append(path)
            return np.full((20, 10), 7, np.uint8)

        read.clear()
        return {film["id"]: film for film in shown(build(run.path, counted, silent))["films"]}

    before = look()
    assert len(read) == 5
    assert look() == before and not read
    shutil.copy(second, first)  # another film under the same name
    changed = look()
    assert read == [first] and changed["008"]["picture"] != before["008"]["picture"]
    assert not (run.path / before["008"]["picture"]).exists()
    first.unlink()
    kept = look()
    assert not read and kept["008"]["picture"] == changed["008"]["picture"] and kept["008"]["height"] == 20
    assert kept["008"]["problem"] == f"the picture was made earlier; now {first}: not found"
    (run.path / kept["008"]["picture"]).unlink()
    assert look()["008"] | {"picture": None, "problem": f"no picture: {first}: not found"} == look()["008"]
    (run.pictures_dir / "pictures.json").write_text("nonsense")
    look()
    assert len(read) == 4


def test_a_film_that_cannot_be_read_is_told_with_its_reason(tmp_path: Path) -> None:
    run = draw_tested_run(tmp_path)
    film = Path(records.load(run.path).splits["image"].iloc[-1])
    film.write_bytes(film.read_bytes()[:400])  # the header stands: its size is known
    told = shown(build(run.path))["films"][-1]
    assert told["picture"] is None and "cannot be decoded" in told["problem"]
    assert (told["height"], told["width"]) == (400, 322)


def test_a_picture_holds_pixels_and_nothing_else(tmp_path: Path) -> None:
    film = tmp_path / "film.jpg"
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "Jane Doe"  # turned, and named
    Image.fromarray(np.full((40, 20), 90, np.uint8)).save(film, exif=exif)
    run = draw_tested_run(tmp_path)
    splits = records.load(run.path).splits
    splits.loc[splits["film"] == "009", "image"] = str(film)
    records.write_splits(run, splits)
    told = shown(build(run.path))["films"][-1]
    assert (told["height"], told["width"]) == (40, 20)
    picture = run.path / told["picture"]
    assert b"Jane" not in picture.read_bytes()
    with Image.open(picture) as image:
        assert image.size == (20, 40) and image.mode == "L" and not dict(image.getexif())


@pytest.mark.parametrize("size", [(2400, 1935), (1000, 3001)])
def test_a_smaller_picture_keeps_points_where_they_are(size: tuple[int, int]) -> None:
    x, y = 0.63 * size[1], 0.41 * size[0]
    rows, columns = np.mgrid[: size[0], : size[1]]
    film = (255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 25**2))).astype(np.uint8)
    small = cv2.imdecode(np.frombuffer(encode(film), np.uint8), cv2.IMREAD_GRAYSCALE).astype(float)
    small[small < 12] = 0
    assert max(small.shape) == SIDE_PX
    found = [(small.sum(axis) * np.arange(small.shape[1 - axis])).sum() / small.sum() for axis in (0, 1)]
    back = [(value + 0.5) * size[1 - axis] / small.shape[1 - axis] - 0.5 for axis, value in enumerate(found)]
    assert back == pytest.approx([x, y], abs=0.1)


def test_no_half_written_picture_is_left(tmp_path: Path) -> None:
    def broken(path: Path) -> np.ndarray:
        raise InputError(f"{path}: no film")

    found = write_pictures(tmp_path / "viewer", {"a": tmp_path / "none.png", "b": Path(__file__)}, broken, silent)
    assert found["a"].problem == f"no picture: {tmp_path / 'none.png'}: not found"
    assert found["b"].problem == f"no picture: {__file__}: no film" and found["b"].size is None
    assert [path.name for path in (tmp_path / "viewer").iterdir()] == ["pictures.json"]


def test_the_report_is_written_even_where_the_viewer_cannot_be(tmp_path: Path) -> None:
    run = draw_tested_run(tmp_path)
    run.pictures_dir.write_text("in the way")
    with pytest.raises(FileExistsError):
        pages.write(run.path)
    assert run.report_path.exists() and "viewer.html" not in run.report_path.read_text()
