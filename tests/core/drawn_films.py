"""A data set that takes milliseconds: three marks on small films, moved and lit together."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ceph_core.config import Config, SourceConfig, apply
from ceph_core.data.films import TrainingData
from ceph_core.data.records import CephDataset, CephRecord
from ceph_core.landmarks import Protocol

MARKS = Protocol("marks", ("D", "R", "C"), ("disc", "ring", "cross"))
SIDE = 96
SPACING_MM = 1.0

TINY: dict[str, Any] = {
    "model.name": "hrnet_w18_small",
    "data.image_size": 64,
    "train.epochs": 4,
    "train.batch_size": 4,
    "train.precision": "fp32",  # the same on every processor
    "heatmap.sigma_rel": 0.05,
    "heatmap.loss": "cross_entropy",
}


def tiny(**changes: Any) -> Config:
    """The smallest configuration; keys with `__` for the dot."""
    return apply(Config(), {**TINY, **{key.replace("__", "."): value for key, value in changes.items()}})


def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
    """One film (SIDE, SIDE) uint8 and its points (3, 2) px."""
    random = np.random.default_rng(number)
    points = np.array([[28.0, 30.0], [66.0, 36.0], [46.0, 68.0]]) + random.uniform(-12, 12, 2) + random.uniform(-4, 4, (3, 2))
    film = np.full((SIDE, SIDE), 70, dtype=np.uint8)
    x, y = np.round(points * 16).astype(int).T
    cv2.circle(film, (int(x[0]), int(y[0])), 5 * 16, 220, -1, cv2.LINE_AA, shift=4)
    cv2.circle(film, (int(x[1]), int(y[1])), 6 * 16, 220, 2, cv2.LINE_AA, shift=4)
    for dx, dy in ((96, 0), (0, 96)):
        cv2.line(film, (int(x[2]) - dx, int(y[2]) - dy), (int(x[2]) + dx, int(y[2]) + dy), 10, 2, cv2.LINE_AA, shift=4)
    return np.clip(film + random.normal(0, 6, film.shape), 0, 255).astype(np.uint8), points


def make(folder: Path, train: int = 10, validation: int = 4, missing: bool = False) -> TrainingData:
    """The data set on disk, with its cache; with `missing` every second film lacks its ring, the first film everything."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for number in range(train + validation + 2):
        film, points = draw(number)
        image = folder / f"{number:03d}.png"
        cv2.imwrite(str(image), film)
        if missing and number % 2:
            points[1] = np.nan
        if missing and number == 0:
            points[:] = np.nan
        split = "train" if number < train else "validation" if number < train + validation else "test"
        records.append(CephRecord(f"{number:03d}", image, (SIDE, SIDE), points, (SPACING_MM, SPACING_MM), split=split))
    dataset = CephDataset("marks", folder, MARKS, tuple(records), same_radiograph=())
    return TrainingData.of(dataset, SourceConfig(), folder / "cache")
