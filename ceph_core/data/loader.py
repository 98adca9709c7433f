"""Batches of augmented uint8 films and their points; heatmaps are drawn on the training device, never here."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ceph_core.data.films import Films
from ceph_core.transforms import Augment


@dataclass(frozen=True)
class Batch:
    """One step's films.

    Attributes:
        images: (B, 1, H, W) uint8.
        points: (B, K, 2) float32 input px, NaN where missing.
    """

    images: Tensor
    points: Tensor


@dataclass(frozen=True)
class _Drawn(Dataset[tuple[NDArray[np.uint8], NDArray[np.float64]]]):
    """The films of one epoch, augmented when asked for.  A map-style data set: workers may ask in any order."""

    films: Films
    rows: NDArray[np.int64]
    augment: Augment
    seed: int
    epoch: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        row = int(self.rows[item])
        return self.augment(self.films.images[row], self.films.landmarks_input[row], self.seed, self.epoch, row)


def epoch_batches(
    films: Films, film_ids: tuple[str, ...], batch: int, augment: Augment, seed: int, epoch: int, workers: int, pin_memory: bool
) -> Iterator[Batch]:
    """The epoch's batches in the order of `film_ids`, the last one with what is left; the same whatever the number of workers."""
    loader: DataLoader[tuple[NDArray[np.uint8], NDArray[np.float64]]] = DataLoader(
        _Drawn(films, films.rows(film_ids), augment, seed, epoch),
        batch_size=batch,
        collate_fn=_collate,
        num_workers=workers,
        pin_memory=pin_memory,
        multiprocessing_context="forkserver" if workers else None,
    )
    for images, points in loader:
        yield Batch(images, points)


def _collate(items: list[tuple[NDArray[np.uint8], NDArray[np.float64]]]) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(np.stack([image for image, _ in items]))[:, None]
    points = torch.from_numpy(np.stack([points for _, points in items]).astype(np.float32))
    return images, points
