"""The films a training reads: any canvas size, by film id, with the one affine that maps each film's frames."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ceph_core.closeup import close_canvas, largest_zoom
from ceph_core.config.data import SourceConfig
from ceph_core.data import duplicates
from ceph_core.data.cache import CachedFilms, open_cache, open_canvases
from ceph_core.data.records import CephDataset
from ceph_core.data.splits import TRAIN, VALIDATION, Splits, assign
from ceph_core.data.views import View
from ceph_core.errors import InputError
from ceph_core.geometry import Affine, Canvas, canvas_for, data_aspect, transform

OWN_SPLIT, EVERY_FILM = -1, -2
"""In the place of a fold's number: the data set's own validation films validate; or none do, and every film that is not locked trains."""


@dataclass(frozen=True, eq=False)
class Films:
    """Films at one canvas size.

    Attributes:
        ids: N film ids; every array below follows their order.
        images: (N, H, W) uint8, a read-only memory map shared by every process of a node.
        affines: (N, 2, 3) original -> input pixels.
        landmarks_px: (N, K, 2) float64, original pixels, NaN where missing.
        spacing_mm: (N, 2) mm per original pixel, x then y.
        canvas: height and width of the images.
    """

    ids: tuple[str, ...]
    images: NDArray[np.uint8]
    affines: Affine
    landmarks_px: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]
    canvas: Canvas

    @cached_property
    def index(self) -> dict[str, int]:
        """Row of each film id."""
        return {film_id: row for row, film_id in enumerate(self.ids)}

    def rows(self, film_ids: tuple[str, ...]) -> NDArray[np.int64]:
        """Rows of these films."""
        return np.array([self.index[film_id] for film_id in film_ids], dtype=np.int64)

    @cached_property
    def landmarks_input(self) -> NDArray[np.float64]:
        """(N, K, 2) landmarks in input pixels."""
        return transform(self.affines, self.landmarks_px)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """A data set with its split, to be opened at any size.  Small and picklable: pixels stay in the cache."""

    dataset: CephDataset
    splits: Splits
    cache_dir: Path

    @classmethod
    def of(
        cls, dataset: CephDataset, source: SourceConfig, cache_dir: Path, image_sizes: Collection[int] = (), to_learn: bool = True
    ) -> "TrainingData":
        """Split a data set.  Where doubles must be looked for, the pass that does it fills the cache at these sizes too.

        Args:
            to_learn: see `assign`.

        Raises:
            InputError: as of `assign`; films that cannot be decoded.
        """

        def find_doubles(films: Mapping[str, Path]) -> tuple[tuple[str, str], ...]:
            if image_sizes:
                _cache(dataset, image_sizes, cache_dir, beside=[duplicates.SMALL])
            return duplicates.find(films, cache_dir)

        return cls(dataset, assign(dataset, source, find_doubles, to_learn), cache_dir)

    def with_fold(self, fold: int) -> "TrainingData":
        """The same films, of which this fold validates and the other folds train; locked films stay locked.

        Raises:
            InputError: no film is in that fold.
        """
        rows = self.splits.rows
        if not any(row.fold == fold for row in rows):
            known = sorted({row.fold for row in rows if row.fold >= 0})
            raise InputError(f"fold {fold}: no film of {self.dataset.root} is in it; there are {', '.join(map(str, known))}")
        sides = {True: VALIDATION, False: TRAIN}
        moved = tuple(row if row.fold < 0 else replace(row, split=sides[row.fold == fold]) for row in rows)
        return replace(self, splits=Splits(moved, self.splits.notes))

    def with_every_film(self) -> "TrainingData":
        """The same films, of which every one that is not locked trains and none validates."""
        return replace(self, splits=self.splits.without_validation())

    def for_fold(self, fold: int) -> "TrainingData":
        """The films as a training sees them whose fold is OWN_SPLIT, EVERY_FILM or a number from 0.

        Raises:
            InputError: no film is in that fold.
        """
        if fold == EVERY_FILM:
            return self.with_every_film()
        return self if fold == OWN_SPLIT else self.with_fold(fold)

    @property
    def train_ids(self) -> tuple[str, ...]:
        """Films a network may learn from."""
        return self.splits.ids("train")

    @property
    def validation_ids(self) -> tuple[str, ...]:
        """Films the search compares trials on."""
        return self.splits.ids("validation")

    @property
    def test_ids(self) -> tuple[str, ...]:
        """The locked films."""
        return self.splits.ids("test")

    @cached_property
    def _largest_zoom(self) -> float:
        """See `closeup.largest_zoom`; of all films that are not locked, so that folds agree."""
        unlocked = {*self.train_ids, *self.validation_ids}
        records = [record for record in self.dataset.records if record.film_id in unlocked]
        return largest_zoom([record.landmarks_px for record in records], [record.size for record in records])

    def close_canvas(self, image_size: int, zoom: float) -> Canvas | None:
        """The larger canvas that a second pass (`data.zoom`) reads its windows from, for a canvas of this size; None: one pass."""
        if zoom == 1:
            return None
        return close_canvas(data_aspect([record.size for record in self.dataset.records]), image_size, min(zoom, self._largest_zoom))

    def canvas(self, image_size: int) -> Canvas:
        """The data set's one canvas at this size; its aspect comes from all its films, so that splits agree."""
        return _canvas(self.dataset, image_size)

    def cache(self, image_sizes: Collection[int]) -> None:
        """Fill the cache at these sizes, each film decoded once at most for all of them."""
        _cache(self.dataset, image_sizes, self.cache_dir)

    def open(self, image_size: int) -> Films:
        """All films on the canvas of this size, built once and shared."""
        records = self.dataset.records
        canvas = self.canvas(image_size)
        cached: CachedFilms = open_cache(records, canvas, self.cache_dir)
        return Films(
            ids=tuple(record.film_id for record in records),
            images=cached.images,
            affines=cached.affines,
            landmarks_px=np.stack([record.landmarks_px for record in records]),
            spacing_mm=np.array([record.spacing_mm for record in records], dtype=np.float64),
            canvas=canvas,
        )


def _canvas(dataset: CephDataset, image_size: int) -> Canvas:
    return canvas_for(data_aspect([record.size for record in dataset.records]), image_size)


def _cache(dataset: CephDataset, image_sizes: Collection[int], cache_dir: Path, beside: Sequence[View] = ()) -> None:
    open_canvases(dataset.records, [_canvas(dataset, size) for size in sorted(image_sizes)], cache_dir, beside=beside)


class OpenFilms:
    """The films at the sizes in use.  Another process opens its own: a memory map that is pickled travels with every pixel."""

    def __init__(self, data: TrainingData, zoom: float = 1.0) -> None:
        self._data, self._zoom = data, zoom
        self._opened: dict[int, Films] = {}

    def at(self, image_size: int) -> Films:
        """All films at this size; a map that is open costs no memory that others want."""
        if image_size not in self._opened:
            self._opened[image_size] = self._data.open(image_size)
        return self._opened[image_size]

    def close_up(self, image_size: int) -> Films | None:
        """All films on the larger canvas from which the second pass at this size reads its windows; None: there is one pass."""
        close = self._data.close_canvas(image_size, self._zoom)
        return None if close is None else self.at(max(close.height, close.width))

    def __reduce__(self) -> tuple[type["OpenFilms"], tuple[TrainingData, float]]:
        return type(self), (self._data, self._zoom)
