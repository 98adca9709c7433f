"""A made-up run folder: curves, predictions and small drawn films, nothing trained."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from ceph_core.config import Config
from ceph_core.inference import calibration
from ceph_core.inference.refine import SHAPE_FILE, Reviewer
from ceph_core.landmarks import ISBI19
from ceph_core.shape_model import MIN_FILMS
from search import records
from search.report.comparison import points_of
from search.report.doubts import confidence_of
from search.space import Space

SIZE = (400, 322)  # height, width
SPACING_MM = 0.6
RUNGS = (2, 4)
EPOCHS = 12
SHAPE = np.array(
    [
        [130, 120], [235, 105], [210, 165], [100, 165], [240, 215], [225, 270], [232, 305], [222, 325], [230, 318], [120, 275],
        [235, 245], [240, 243], [262, 225], [255, 255], [258, 205], [250, 310], [180, 200], [245, 195], [110, 190],
    ],
    dtype=float,
)  # fmt: skip


def draw_film(path: Path, points: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    film = np.zeros(SIZE, np.uint8)
    cv2.ellipse(film, (165, 150), (120, 125), 0, 0, 360, 90, -1)
    cv2.ellipse(film, (165, 150), (120, 125), 0, 0, 360, 190, 7)
    cv2.fillPoly(film, [points[[9, 5, 6, 7]].astype(np.int32)], 170)
    cv2.fillPoly(film, [points[[16, 17, 4, 10]].astype(np.int32)], 200)
    film = cv2.GaussianBlur(film, (0, 0), 3).astype(float) + rng.normal(0, 6, SIZE)
    cv2.imwrite(str(path), film.clip(0, 255).astype(np.uint8))


def draw_run(
    folder: Path, trials: int = 12, promoted: bool = True, finished: bool = True, films: int = 10, judged: bool = False
) -> records.RunFolder:
    """Trial 0 is the baseline, 3 fails, most of the others are stopped at a rung.

    Args:
        promoted: whether there are predictions of a test.
        judged: whether there are such of validation films, too.
    """
    plan = {
        "command": f"python run_search.py --space spaces/drawn.yaml --trials {trials} --seed 7",
        "space": drawn_space(trials).to_dict(),
        "seed": 7,
        "data": {"name": "phantom", "protocol": "isbi-19", "fingerprint": "0123456789abcdef"},
        "versions": {"python": "3.12", "torch": "2.14", "ray": "2.60"},
    }
    run = records.create(folder / "drawn", plan)
    draw_splits(run, folder / "films", films)
    with records.Ledger(run.path) as ledger:
        ledger.append_run(pid=1, time=1000.0)
        for number in range(trials):
            draw_trial(ledger, number)
        if promoted:
            ledger.append_promotion(
                members=["t0001", "t0006 seed 1"],
                best_single="t0001",
                combination="heatmap mean",
                candidates=["t0000", "t0001", "t0006"],
                time=2900.0,
                validation_mre_mm=1.31,
                validation_films=20,
                expected_mm={
                    "ensemble": {"mre_mm": 1.42, "low_mm": 1.3, "high_mm": 1.55},
                    "best single": {"mre_mm": 1.6, "low_mm": 1.4, "high_mm": 1.8},
                },
                confirmed=[
                    {
                        "candidate": trial,
                        "is_baseline": trial == "t0000",
                        "searched_mm": searched,
                        "expected_mm": searched + 0.1,
                        "expected_deviation_mm": 0.05,
                        "confirmed_mm": anew,
                        "deviation_mm": float("nan"),
                        "fresh": 0 if anew is None else 1,
                    }
                    for trial, searched, anew in (("t0000", 1.7, 1.72), ("t0001", 1.4, 1.55), ("t0006", 1.45, None))
                ],
            )
            draw_predictions(run, judged)
            draw_doubts(run)
        if finished:
            ledger.append_finished(time=3000.0)
    records.write_tables(run)
    return run


def drawn_space(trials: int) -> Space:
    start = {"heatmap.sigma_rel": 0.007, "augment.strength": 1.0, "train.batch_size": 4, "schedule": "small-flat"}
    tree = {
        "description": "Drawn for a test: sigma, augmentation, batch and schedule.",
        "fixed": {"model.name": "hrnet_w18_small", "train.epochs": EPOCHS},
        "search": {
            "heatmap.sigma_rel": {"float": [0.003, 0.02], "log": True},
            "augment.strength": {"float": [0.0, 2.0]},
            "train.batch_size": {"int": [2, 8]},
            "schedule": {"categorical": ["small-flat", "small-progressive"]},
        },
        "schedules": {
            "small-flat": {"stages": [{"epochs": 1.0}]},
            "small-progressive": {"stages": [{"epochs": 0.4, "size": 0.75, "batch": 2}, {"epochs": 0.6}]},
        },
        "start_from": [start],
        "scheduler": {"rungs": [0.1, 0.3], "reduction_factor": 3.0},
        "budget": {"trials": max(1, trials)},
    }
    return Space.from_dict(tree)


def draw_trial(ledger: records.Ledger, number: int) -> None:
    rng = np.random.default_rng(number)
    trial = f"t{number:04d}"
    values = {
        "heatmap.sigma_rel": 0.007 if number == 0 else float(np.exp(rng.uniform(np.log(0.003), np.log(0.02)))),
        "augment.strength": 1.0 if number == 0 else float(rng.uniform(0, 2)),
        "train.batch_size": 4 if number == 0 else int(rng.integers(2, 9)),
        "schedule": "small-flat" if number % 2 == 0 else "small-progressive",
    }
    config = Config().model_dump(mode="json")
    config["train"]["epochs"] = EPOCHS
    start = 1000.0 + 100 * number
    ledger.append_trial(
        trial,
        number=number,
        role="search",
        candidate=trial,
        is_baseline=number == 0,
        values=values,
        config=config,
        seed=7,
        fold=-1,
        time=start,
    )
    floor = 1.5 + 3 * np.log(values["heatmap.sigma_rel"] / 0.007) ** 2 + 0.3 * abs(values["augment.strength"] - 1)
    for epoch in range(1, EPOCHS + 1):
        error = float(floor + 12 / epoch**1.6 + rng.normal(0, 0.04))
        broken = number == 3 and epoch == 3
        stops = number not in (0, 3) and ((epoch == RUNGS[0] and floor > 3) or (epoch == RUNGS[1] and floor > 1.9))
        share = 100 * float(np.exp(-((error / 3.2) ** 1.5)))
        ledger.append_report(
            trial, epoch,
            train_loss=0.1 / epoch, val_loss=0.12 / epoch, val_mre_mm=float("nan") if broken else error, val_median_mm=error * 0.8,
            val_sdr_2mm=share, val_sdr_2_5mm=min(100, share + 8), val_sdr_3mm=min(100, share + 14), val_sdr_4mm=min(100, share + 20),
            lr=5e-4, image_size=256, batch_size=values["train.batch_size"], seconds=6.5, films_per_s=18.0, peak_memory_mb=800.0 + number,
            rung=RUNGS.index(epoch) if epoch in RUNGS else None,
            decision="fail" if broken else "stop" if stops else "done" if epoch == EPOCHS else "continue", time=start + 6.5 * epoch,
        )  # fmt: skip
        if broken or stops:
            break
    end = {"event": "end", "trial": trial, "status": "completed", "reason": "all epochs done", "error": None, "time": start + 6.5 * epoch}
    if broken:
        trace = "Traceback (most recent call last):\n  <loss>\nFloatingPointError: NaN"
        end |= {"status": "failed", "reason": "val_mre_mm is not a number", "error": trace}
    elif stops:
        end |= {"status": "stopped", "reason": f"rung {RUNGS.index(epoch)} (epoch {epoch}): {error:.2f} mm is not in the top third"}
    ledger.append(end)


def draw_splits(run: records.RunFolder, images: Path, films: int) -> None:
    images.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(films):
        path = images / f"{number:03d}.png"
        draw_film(path, true_points(number), number)
        split = "test" if number >= films // 2 else "validation"
        device, difficulty = f"machine {number % 2}", float(number % 3)
        rows.append((f"{number:03d}", split, -1, f"g{number}", SPACING_MM, SPACING_MM, str(path), device, difficulty))
    columns = ["film", "split", "fold", "group", "spacing_x_mm", "spacing_y_mm", "image", "device", "difficulty"]
    records.write_splits(run, pd.DataFrame(rows, columns=columns))


def sure(number: int) -> np.ndarray:
    """Confidences of a film's points."""
    return np.random.default_rng([number, 2]).uniform(0.3, 0.9, len(ISBI19.symbols))


def true_points(number: int) -> np.ndarray:
    rng = np.random.default_rng([number, 1])
    return SHAPE + rng.normal(0, 4, 2) + rng.normal(0, 3, SHAPE.shape)


def draw_doubts(run: records.RunFolder) -> None:
    """Radii and shape of an ensemble, learned from its made-up answers for the validation films, where they are enough."""
    found = records.load(run.path)
    placed = points_of(found, "validation")
    if isinstance(placed, str) or len(placed.films) < MIN_FILMS:
        return
    run.ensemble_dir.mkdir()
    errors, confidence = placed.errors_mm("ensemble"), confidence_of(found, "validation", placed)
    calibration.fit(ISBI19.symbols, errors, confidence, 1.05).save(run.ensemble_dir / calibration.CALIBRATION_FILE)
    Reviewer.fit(ISBI19.symbols, placed.points["reference"] * SPACING_MM, confidence).save(run.ensemble_dir / SHAPE_FILE)


def draw_predictions(run: records.RunFolder, judged: bool) -> None:
    """Errors grow from ensemble to mean shape; the last film's ensemble misses one landmark by far; "LL" is missing on one film.

    If they are judged, the validation films have the mean shape's and the readers' points, and the ensemble's.
    """
    splits = records.load(run.path).splits
    scatter_px = {"ensemble": 1.6, "best single": 1.9, "baseline": 2.3, "member:t0001": 1.9, "member:t0006 seed 1": 2.0, "mean shape": 9.0}
    scatter_px |= {"reader:senior": 1.5, "reader:junior": 1.6}
    tables = []
    for film, split in splits[["film", "split"]].itertuples(index=False):
        truth = true_points(int(film))
        if int(film) % 5 == 2:
            truth[13] = np.nan
        for model, scatter in {"reference": 0.0, **scatter_px}.items():
            if split == "validation" and (not judged or model in ("best single", "baseline") or model.startswith("member")):
                continue
            points = truth + np.random.default_rng([int(film), len(tables)]).normal(0, scatter, truth.shape)
            if not model.startswith(("reference", "reader")):
                points = np.where(np.isnan(points), SHAPE, points)
            if model == "ensemble" and film == splits["film"].iloc[-1]:
                points[3] += 22
            table = pd.DataFrame(points, columns=["x_px", "y_px"])
            tables.append(table.assign(model=model, role=split, fold=-1, film=film, landmark=ISBI19.symbols, confidence=sure(len(tables))))
    records.write_predictions(run, pd.concat(tables))
