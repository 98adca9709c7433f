"""Easy films first: what makes a film hard, and which films an epoch shows."""

import csv
from collections.abc import Sequence
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from ceph_core.config import Config, CurriculumConfig
from ceph_core.data.records import CephDataset
from ceph_core.errors import InputError

Difficulty = tuple[float, ...]
"""A number a training film, in data-set order; higher is harder."""


def share_admitted(curriculum: CurriculumConfig, epoch: int, epochs: int) -> float:
    """Share of the films that an epoch (from 1) shows."""
    if curriculum.difficulty == "off" or _warms_up(curriculum, epoch, epochs) or epoch == epochs:
        return 1.0
    done = epoch / epochs
    return curriculum.easy_films if done <= curriculum.easy_until else curriculum.medium_films if done <= curriculum.medium_until else 1.0


def admitted(config: Config, epoch: int, num_films: int, difficulty: Difficulty | None) -> NDArray[np.int64]:
    """Places of the films that an epoch shows, the easiest there are; all, as long as nobody knows which are easy."""
    everything = np.arange(num_films)
    if difficulty is None:
        return everything
    count = max(1, ceil(share_admitted(config.curriculum, epoch, config.train.epochs) * num_films - 1e-9))
    return np.sort(np.argsort(difficulty, kind="stable")[:count])


def measures_losses(config: Config, epoch: int) -> bool:
    """Whether films' losses are to be compared after this epoch: the last of the warm-up."""
    curriculum, epochs = config.curriculum, config.train.epochs
    return curriculum.difficulty == "loss" and _warms_up(curriculum, epoch, epochs) and not _warms_up(curriculum, epoch + 1, epochs)


def from_csv(curriculum: CurriculumConfig, film_ids: Sequence[str]) -> Difficulty:
    """The column of the file, a finite number for every training film.

    Raises:
        InputError: no such file or column, films without a number: all problems at once.
    """
    path, column = curriculum.csv, curriculum.column
    assert path is not None
    where = f"curriculum.csv: {path}"
    if not path.is_file():
        raise InputError(f"{where}: no such file; give a CSV with the columns film_id and {column}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            fields, rows = reader.fieldnames or [], list(reader)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise InputError(f"{where}: cannot be read as a CSV in UTF-8 ({type(error).__name__}: {error})") from error
    if missing := [name for name in ("film_id", column) if name not in fields]:
        raise InputError(f"{where}: no column {' and no '.join(missing)}; there are {', '.join(fields) or 'none'}")
    given = {row["film_id"]: row[column] for row in rows}
    problems = [f"{where}: film {film}: {given.get(film)!r} is no finite number" for film in film_ids if not _is_number(given.get(film))]
    if problems:
        raise InputError(problems[:20] + ([f"{where}: and {len(problems) - 20} films more"] if len(problems) > 20 else []))
    return tuple(float(given[film]) for film in film_ids)


def from_data(dataset: CephDataset, film_ids: Sequence[str]) -> Difficulty:
    """What the data set itself says of every training film.

    Raises:
        InputError: it does not.
    """
    known = {record.film_id: record.difficulty for record in dataset.records}
    lacking = [film for film in film_ids if known[film] is None]
    if lacking:
        raise InputError(
            f"curriculum.difficulty: csv: {len(lacking)} of {len(film_ids)} training films of {dataset.root} have no difficulty "
            f"({', '.join(lacking[:3])}{', …' if len(lacking) > 3 else ''}); add a column difficulty to the table, or name a file in "
            "curriculum.csv"
        )
    return tuple(float(known[film] or 0.0) for film in film_ids)


def from_images(images: NDArray[np.uint8]) -> Difficulty:
    """Mean rank of three complaints: low contrast, low sharpness, high noise.

    Contrast is the deviation of grey values, sharpness the mean gradient of the smoothed film over its contrast, noise the median
    of the Laplacian's size (Immerkaer, CVIU 1996), which edges hardly move, over contrast.

    Args:
        images: (N, H, W) uint8 of the training films, any one size.
    """
    contrast, sharpness, noise = (np.empty(len(images)) for _ in range(3))
    for row, image in enumerate(images):
        film = image.astype(np.float32)
        smooth = cv2.GaussianBlur(film, (0, 0), 1.5)
        contrast[row] = film.std()
        gradient = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
        sharpness[row] = gradient.mean() / max(contrast[row], 1e-6)
        noise[row] = np.median(np.abs(cv2.Laplacian(film, cv2.CV_32F))) / max(contrast[row], 1e-6)
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (-contrast, -sharpness, noise)]
    return tuple(float(each) for each in np.mean(ranks, axis=0))


def warms_up(config: Config, epoch: int) -> bool:
    """Whether an epoch still shows all films because nobody knows which are easy."""
    return _warms_up(config.curriculum, epoch, config.train.epochs)


def _warms_up(curriculum: CurriculumConfig, epoch: int, epochs: int) -> bool:
    return curriculum.difficulty == "loss" and epoch <= max(1, round(curriculum.warmup * epochs))


def _is_number(text: str | None) -> bool:
    try:
        return bool(np.isfinite(float(text or "nan")))
    except ValueError:
        return False
