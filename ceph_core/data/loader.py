"""Batches of augmented uint8 films and their points; heatmaps are drawn on the training device, never here."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import threadpoolctl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ceph_core.closeup import drawn_origin
from ceph_core.data.films import OpenFilms
from ceph_core.transforms import Augment

_Item = tuple[NDArray[np.uint8], NDArray[np.float64]]


@dataclass(frozen=True)
class Batch:
    """One step's films.

    Attributes:
        images: (B, 1, H, W) uint8.
        points: (B, K, 2) float32 input px, NaN where missing.
    """

    images: Tensor
    points: Tensor


class _Draw(NamedTuple):
    """Everything that one drawn film depends on, beside the seed: a worker keeps no state."""

    size: int
    epoch: int
    row: int


class _Drawn(Dataset[_Item]):
    """Films as they are shown, augmented when asked for, in any order and at any size."""

    def __init__(self, films: OpenFilms, augment: Augment, seed: int) -> None:
        self._films, self._augment, self._seed = films, augment, seed

    def __getitem__(self, draw: _Draw) -> _Item:
        films, close = self._films.at(draw.size), self._films.close_up(draw.size)
        image, points = films.images[draw.row], films.landmarks_input[draw.row]
        if close is not None:
            # A generator of its own: the augmentation's draws are those of a film that is shown whole.
            random = np.random.default_rng((self._seed, draw.epoch, draw.row))
            first = drawn_origin(close.landmarks_input[draw.row], films.canvas, close.canvas, random)
            if first is not None:
                (x, y), canvas = first, films.canvas
                image = close.images[draw.row, y : y + canvas.height, x : x + canvas.width]
                points = close.landmarks_input[draw.row] - first
        return self._augment(image, points, self._seed, draw.epoch, draw.row)


class Loader:
    """The batches of a whole training, the same whatever the number of workers.

    Worker processes start with the first epoch and live as long as the loader: importing the augmentation takes them seconds.
    """

    def __init__(self, films: OpenFilms, augment: Augment, seed: int, workers: int, pin_memory: bool) -> None:
        cv2.setNumThreads(1)  # its threads wait by spinning, on the cores that torch's need
        self._films = films
        self._draws: list[list[_Draw]] = []  # the batch sampler: read anew at the start of each epoch
        self._loader: DataLoader[_Item] = DataLoader(
            _Drawn(films, augment, seed),
            batch_sampler=self._draws,
            collate_fn=_collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            multiprocessing_context=_context() if workers else None,
            worker_init_fn=_begin_worker if workers else None,
            generator=torch.Generator(),  # or it would draw from the global one, at moments that a resume moves
        )

    def epoch(self, sizes: Sequence[int], epoch: int, film_ids: tuple[str, ...], batch: int) -> Iterator[Batch]:
        """The epoch's batches in the order of `film_ids`, the last one with what is left.

        Args:
            sizes: long side of each batch's films, px.
            epoch: films are drawn anew each epoch.
            batch: films a step.
        """
        rows = self._films.at(sizes[0]).rows(film_ids)
        parts = (rows[start : start + batch] for start in range(0, len(rows), batch))
        self._draws[:] = [[_Draw(size, epoch, int(row)) for row in part] for size, part in zip(sizes, parts, strict=True)]
        for images, points in self._loader:
            yield Batch(images, points)

    def close(self) -> None:
        """End the workers; there are no more epochs."""
        del self._loader


def _context() -> multiprocessing.context.ForkServerContext:
    """Forked from a clean server, which imports once what all workers need: neither CUDA nor a thread's lock is inherited."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _begin_worker(_: int) -> None:
    cv2.setNumThreads(1)
    threadpoolctl.threadpool_limits(1)  # or an elastic film's small matrices would wake a thread a core, in every worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; what it means the trainer decides


def _collate(items: list[_Item]) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(np.stack([image for image, _ in items]))[:, None]
    points = torch.from_numpy(np.stack([points for _, points in items]).astype(np.float32))
    return images, points
