"""Flagging points: each reason alone, what is done about them, and what commands write."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawn_films import make
from test_shape_model import K, shapes

from ceph_core import models
from ceph_core.__main__ import main
from ceph_core.config import Config, apply
from ceph_core.data.records import CephRecord
from ceph_core.errors import InputError
from ceph_core.geometry import Canvas
from ceph_core.inference import make_manifest, make_member, overlay, save_member, write_manifest
from ceph_core.inference.evaluate import reference_of
from ceph_core.inference.export import drawn_film
from ceph_core.inference.held_out import validation_answers
from ceph_core.inference.refine import SHAPE_FILE, Reviewer, confidence_floor, reviewer_of, write_shape
from ceph_core.inference.refine_effect import effect_of
from ceph_core.landmarks import ISBI19, Protocol

SYMBOLS = tuple("abcdefghij")
SPACING = np.array([[0.2, 0.1], [0.1, 0.1], [0.5, 0.5]])


@pytest.fixture(scope="module")
def reviewer() -> Reviewer:
    sure = np.random.default_rng(0).uniform(0.5, 0.9, (40, K))
    return Reviewer.fit(SYMBOLS, shapes(120, seed=0), sure)


@pytest.fixture
def predicted() -> tuple[np.ndarray, np.ndarray]:
    """Points of three films, original px, and confidences that are fine."""
    return shapes(3, seed=1) / SPACING[:, None], np.full((3, K), 0.8)


def test_each_reason_is_told_and_nothing_else_is_flagged(reviewer: Reviewer, predicted: tuple[np.ndarray, np.ndarray]) -> None:
    points, confidence = predicted
    assert not reviewer.review(points, confidence, SPACING).flagged.any()
    confidence[0, 4] = 0.05
    points[1, 2] += np.array([6.0, 4.0]) / SPACING[1]
    points[2, 7] += np.array([70.0, -50.0]) / SPACING[2]
    review = reviewer.review(points, confidence, SPACING)
    told = {(n, SYMBOLS[k]): reason for n in range(3) for k, reason in enumerate(review.reasons(n)) if reason}
    assert told == {(0, "e"): "low confidence", (1, "c"): "shape", (2, "h"): "shape + distance"}
    square = reviewer.review(points[1:], confidence[1:])
    assert np.array_equal(square.flagged, review.flagged[1:]), "with square pixels the spacing need not be known"


def test_flagged_points_stay_go_or_move(reviewer: Reviewer, predicted: tuple[np.ndarray, np.ndarray]) -> None:
    truth, confidence = predicted
    points = truth.copy()
    points[1, 2] += np.array([20.0, 0.0]) / SPACING[1]
    confidence[2, 5] = 0.0
    review = reviewer.review(points, confidence, SPACING)
    assert np.array_equal(review.apply(points, "flag"), points)
    dropped, moved = review.apply(points, "drop"), review.apply(points, "replace")
    assert np.argwhere(np.isnan(dropped).any(-1)).tolist() == [[1, 2], [2, 5]]
    others = ~review.flagged
    assert np.array_equal(dropped[others], points[others]) and np.array_equal(moved[others], points[others])
    away = np.linalg.norm((moved - truth) * SPACING[:, None], axis=-1)
    assert away[1, 2] < 3.0 and 0 < away[2, 5] < 3.0
    assert np.array_equal(review.apply(points, "replace"), moved), "the same again"


def test_what_cannot_be_judged_is_not_flagged() -> None:
    points = shapes(60, seed=2)
    points[:, 3] = np.nan
    reviewer = Reviewer.fit(SYMBOLS, points)
    test = shapes(2, seed=3)
    test[0, 3] += 500.0
    review = reviewer.review(test, np.zeros((2, K)))
    assert not review.flagged[:, 3].any(), "a landmark that no training film marks"
    assert not review.flags[..., 0].any(), "nobody calibrated the confidence"
    assert np.isnan(review.expected_px[:, 3]).all() and np.array_equal(review.apply(test, "replace")[:, 3], test[:, 3])


def test_the_floor_lies_below_the_share_asked_for() -> None:
    random = np.random.default_rng(0)
    sure = random.beta(8, 2, (400, 5))
    for share in (0.02, 0.1):
        assert (sure < confidence_floor(sure, share)).mean() == pytest.approx(share, abs=0.003)


def test_a_reviewer_is_written_and_read(reviewer: Reviewer, predicted: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / SHAPE_FILE
    reviewer.save(path)
    again = Reviewer.load(path)
    points, confidence = predicted
    points[0, 0] += 99.0
    one, other = (each.review(points, confidence, SPACING) for each in (reviewer, again))
    assert again.symbols == SYMBOLS and np.array_equal(one.flags, other.flags) and np.array_equal(one.z, other.z)
    assert [file.name for file in tmp_path.iterdir()] == [SHAPE_FILE]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"shape\.safetensors: is no shape file"):
        Reviewer.load(path)


def test_the_file_is_found_beside_a_model_or_its_ensemble(reviewer: Reviewer, tmp_path: Path) -> None:
    letters = Protocol("letters", SYMBOLS, SYMBOLS)
    member = tmp_path / "ensemble" / "member_0"
    member.mkdir(parents=True)
    assert reviewer_of(member, letters, needed=False) is None
    with pytest.raises(InputError, match=f"--refine: .*no {SHAPE_FILE}"):
        reviewer_of(member, letters, needed=True)
    reviewer.save(member.parent / SHAPE_FILE)
    assert reviewer_of(member, letters, needed=True) is not None and reviewer_of(member.parent, letters, needed=True) is not None
    with pytest.raises(InputError, match="is of 10 landmarks, not those of isbi-19"):
        reviewer_of(member, ISBI19, needed=False)


def test_too_few_films_leave_a_model_without_the_file(tmp_path: Path) -> None:
    few = make(tmp_path / "few")
    assert "10 films" in str(write_shape(tmp_path, few)) and not (tmp_path / SHAPE_FILE).exists()
    enough = make(tmp_path / "enough", train=24)
    assert write_shape(tmp_path, enough) is None
    assert Reviewer.load(tmp_path / SHAPE_FILE).symbols == enough.dataset.protocol.symbols


def test_the_effect_is_counted_by_reason(reviewer: Reviewer, predicted: tuple[np.ndarray, np.ndarray]) -> None:
    truth, confidence = predicted
    reference = truth.copy()
    reference[0, 9] = np.nan  # never counts
    records = [CephRecord(str(n), Path("x"), (1, 1), reference[n], tuple(SPACING[n])) for n in range(3)]
    points = truth.copy()
    points[1, 2] += np.array([0.0, 12.0]) / SPACING[1]  # caught by shape
    points[2, 0] += np.array([5.0, 0.0]) / SPACING[2]  # caught by confidence
    confidence[2, 0] = 0.0
    confidence[0, 0] = 0.0  # a false alarm
    by_reason = {each.reason: each for each in effect_of(reviewer.review(points, confidence, SPACING), points, *reference_of(records))}
    everything = by_reason["any"]
    assert (everything.points, everything.over_4mm, everything.caught_4mm, everything.over_10mm, everything.caught_10mm) == (29, 2, 2, 1, 1)
    assert everything.flagged == 3 and by_reason["low confidence"].flagged == 2 and by_reason["low confidence"].caught_4mm == 1
    assert everything.mre_mm == pytest.approx(17 / 29) and everything.mre_dropped_mm == pytest.approx(0)
    assert everything.flagged_mm == pytest.approx(17 / 3) and everything.flagged_replaced_mm < 3
    assert np.isnan(by_reason["distance"].flagged_mm) or by_reason["distance"].flagged


def test_a_ring_is_drawn_where_the_network_had_a_doubtful_point() -> None:
    points = np.array([[400.0, 800.0], [np.nan, np.nan]])
    suspect = np.array([[np.nan, np.nan], [1200.0, 800.0]])
    picture = overlay.draw(np.zeros((1600, 1600), np.uint8), points, ("A", "B"), suspect_px=suspect)
    white = (picture == overlay.SUSPECT).all(-1)
    rows, columns = np.nonzero(white)
    assert np.allclose([rows.mean(), columns.mean()], [800, 1200], atol=1) and not white[800, 1200], "a ring about the dropped point"
    assert not (overlay.draw(np.zeros((1600, 1600), np.uint8), points, ("A", "B")) == overlay.SUSPECT).all(-1).any()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network, whose points are anywhere, with a shape file made of other films."""
    folder = tmp_path_factory.mktemp("run") / "ensemble"
    config = apply(Config(), {"model.name": "hrnet_w18_small", "data.image_size": 64})
    torch.manual_seed(0)
    member = make_member(config, Canvas(64, 64), models.build(config.model, 19), 19)
    save_member(folder / "member_0", config, member.canvas, member.net.state_dict(), 19)
    write_manifest(folder, make_manifest([member], [1.0], "single", ISBI19, 1.2))
    random = np.random.default_rng(0)
    landmarks = random.uniform(0, 100, (19, 2)) + random.normal(0, 2, (40, 19, 2))
    Reviewer.fit(ISBI19.symbols, landmarks, random.uniform(0.5, 1, (20, 19))).save(folder / SHAPE_FILE)
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_predict_flags_by_default_and_drops_or_replaces_when_asked(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = tmp_path / "film.png"
    cv2.imwrite(str(film), drawn_film(120, 100, seed=0))
    found = {}
    for action in ("", "none", "flag", "drop", "replace"):
        out = tmp_path / (action or "default")
        options = ["--refine", action] if action else []
        assert main(["predict", "--model", str(model), str(film), "--out", str(out), "--spacing-mm", "0.5", *options]) == 0
        found[action] = rows_of(out / "points.csv")
        assert ("points are to be reviewed" in capsys.readouterr().err) == (action != "none")
    flagged = [row["review"] != "" for row in found["flag"]]
    assert found[""] == found["flag"] and any(flagged), "an untrained network is unsure"
    assert all(row["review"] == "" for row in found["none"])
    assert [row["x_px"] for row in found["none"]] == [row["x_px"] for row in found["flag"]]
    assert [row["x_px"] == row["y_mm"] == "" for row in found["drop"]] == flagged
    assert [row["x_px"] != other["x_px"] for row, other in zip(found["replace"], found["flag"], strict=True)] == flagged
    whole = json.loads((tmp_path / "drop" / "points.json").read_text())
    dropped = [landmark for landmark in whole["films"][0]["landmarks"] if landmark["review"]]
    assert dropped and all(landmark["x_px"] is None and landmark["x_mm"] is None for landmark in dropped)
    unseen = json.loads((tmp_path / "none" / "points.json").read_text())["films"][0]["landmarks"]
    assert all(landmark["review"] is None for landmark in unseen), "nobody looked"


def test_predict_without_the_file_flags_nothing_and_refuses_to_be_asked(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = tmp_path / "film.png"
    cv2.imwrite(str(film), drawn_film(120, 100, seed=0))
    config = apply(Config(), {"model.name": "hrnet_w18_small", "data.image_size": 64})
    save_member(tmp_path / "member", config, Canvas(64, 64), models.build(config.model, 19).state_dict(), 19)
    asked = ["predict", "--model", str(tmp_path / "member"), str(film), "--out", str(tmp_path / "out")]
    assert main(asked) == 0
    assert all(row["review"] == "" for row in rows_of(tmp_path / "out" / "points.csv"))
    capsys.readouterr()
    assert main([*asked, "--refine", "drop"]) == 2
    assert f"no {SHAPE_FILE}" in capsys.readouterr().err


def test_evaluate_says_what_flags_catch(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CEPH_CACHE_DIR", str(tmp_path / "cache"))
    root, random = tmp_path / "isbi", np.random.default_rng(0)
    for number in range(1, 16):
        film = root / "RawImage" / ("TrainingData" if number <= 12 else "Test1Data") / f"{number:03d}.png"
        film.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(film), drawn_film(60, 48, seed=number))
        for reader in ("400_senior", "400_junior"):
            notes = root / reader / f"{number:03d}.txt"
            notes.parent.mkdir(exist_ok=True)
            notes.write_text("".join(f"{x},{y}\n" for x, y in random.integers(5, 40, (19, 2))))
    (root / "same_radiograph.csv").write_text("id,same_as\n")
    asked = ["evaluate", "--model", str(model), "--data", str(root), "--spacing-mm", "2", "--refine"]
    assert main([*asked, "--out", str(tmp_path / "scores.json")]) == 0
    assert "points to review, of 57" in capsys.readouterr().out
    effects = {each["reason"]: each for each in json.loads((tmp_path / "scores.json").read_text())["review"]}
    assert set(effects) == {"low confidence", "shape", "distance", "any"}
    assert effects["any"]["caught_4mm"] > 0 and effects["any"]["flagged"] <= effects["any"]["points"] == 57
    assert main([*asked, "--out", str(tmp_path / "scores.csv")]) == 0
    rows = rows_of(tmp_path / "scores.csv")
    assert sum(row["review"] != "" for row in rows) == effects["any"]["flagged"]


def test_confidence_comes_from_films_that_judge(tmp_path: Path) -> None:
    data = make(tmp_path / "films", train=6, validation=4)
    config = apply(Config(), {"model.name": "hrnet_w18_small", "data.image_size": 64})
    save_member(tmp_path / "member", config, Canvas(64, 64), models.build(config.model, 3).state_dict(), 3)
    confidence = validation_answers(tmp_path / "member", data).confidence
    assert confidence.shape == (4, 3) and ((confidence >= 0) & (confidence <= 1)).all()
