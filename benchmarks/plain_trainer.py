"""Training as public trainers do it, for comparison: HRNet/HRNet-Facial-Landmark-Detection, `lib/datasets` and `lib/core/function.py`.

Every film is decoded, resized, augmented and given its heatmaps in NumPy each time it is shown; float32, eager, a loss read back each step.
"""

import os
import time
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as albu
import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ceph_core import models
from ceph_core.config import Config
from ceph_core.data.films import TrainingData


class Cephalograms(Dataset[Any]):
    """Films from disk, each time anew."""

    def __init__(self, films: list[dict[str, Any]], config: dict[str, Any], stride: int, augmented: bool) -> None:
        self.films, self.augmented = films, augmented
        self.size, self.stride = config["data"]["image_size"], stride
        self.sigma = config["heatmap"]["sigma_rel"] * self.size / stride
        strength = config["augment"]["strength"]
        self.augment = albu.Compose(
            [
                albu.Affine(
                    rotate=(-10 * strength, 10 * strength),
                    translate_percent=dict.fromkeys("xy", (-0.1 * strength, 0.1 * strength)),
                    scale=(1 - 0.1 * strength, 1 + 0.1 * strength),
                    p=1.0,
                ),
                albu.RandomBrightnessContrast(0.2 * strength, 0.2 * strength, p=1.0),
            ],
            keypoint_params=albu.KeypointParams(format="xy", remove_invisible=False),
        )

    def __len__(self) -> int:
        return len(self.films)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        film = self.films[index]
        image = cv2.imread(film["image"], cv2.IMREAD_GRAYSCALE)
        scale = self.size / max(image.shape)
        height, width = (-(-round(side * scale) // 32) * 32 for side in image.shape)
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        image = cv2.copyMakeBorder(image, 0, height - image.shape[0], 0, width - image.shape[1], cv2.BORDER_CONSTANT)
        points = np.asarray(film["points"], dtype=np.float32) * scale
        if self.augmented:
            moved = self.augment(image=image, keypoints=points)
            image, points = moved["image"], np.asarray(moved["keypoints"], dtype=np.float32)
        tensor = torch.from_numpy(image)[None].float()
        return tensor, torch.from_numpy(self.heatmaps(points / self.stride, height // self.stride, width // self.stride)), points, scale

    def heatmaps(self, points: np.ndarray, height: int, width: int) -> np.ndarray:
        maps = np.zeros((len(points), height, width), dtype=np.float32)
        ys, xs = np.mgrid[:height, :width].astype(np.float32)
        for map_, (x, y) in zip(maps, points, strict=True):
            map_[:] = np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * self.sigma**2))
        return maps


class PlainLoop:
    """Epochs of one configuration on a data set's training films.

    Args:
        workers: loader processes; which number is fastest is for the caller to try.
    """

    def __init__(self, config: Config, data: TrainingData, device: torch.device, workers: int) -> None:
        torch.manual_seed(0)
        by_id = data.dataset.by_id()
        films = [{"image": str(by_id[film].image), "points": by_id[film].landmarks_px.tolist()} for film in data.train_ids]
        self.num_films, self.device = len(films), device
        shown = Cephalograms(films, config.model_dump(mode="json"), config.model.head_stride, augmented=True)
        self.loader = DataLoader(
            shown, config.train.batch_size, shuffle=True, num_workers=workers, pin_memory=device.type == "cuda",
            persistent_workers=workers > 0, multiprocessing_context="forkserver" if workers else None,
        )  # fmt: skip
        self.net = models.build(config.model, len(data.dataset.protocol)).to(device).train()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=config.train.lr)

    def films_per_s(self) -> float:
        """Rate of one epoch."""
        started = time.perf_counter()
        for images, maps, _, _ in self.loader:
            output = self.net(images.to(self.device, non_blocking=True))
            loss = torch.nn.functional.mse_loss(output, maps.to(self.device, non_blocking=True))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss.item()
        return self.num_films / (time.perf_counter() - started)
