"""What a run has learned about itself: with configuration and epoch, all that a plan may look at."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ceph_core.config import Config
from ceph_core.config.heatmap import sigma_factors
from ceph_core.data.films import Films
from ceph_core.data.records import CephDataset
from ceph_core.errors import InputError
from ceph_core.training import curriculum, hard_landmarks

SAVED = ("difficulty", "landmark_error", "micro_batch", "checkpoints")
"""What a checkpoint holds of it; the rest follows from data and configuration."""


@dataclass(frozen=True)
class Feedback:
    """What a plan may look at besides the configuration.

    Attributes:
        film_ids: training films, in data-set order.
        num_landmarks: K.
        marks: shares of the run at which trials are compared (rungs).
        sigma_factors: (K,) fixed factors on sigma; None: all 1.
        difficulty: of each film, higher is harder; None: not known (yet), or of no interest.
        landmark_error: (K,) running training error, share of the long side; None: not known, or of no interest.
        micro_batch: the most films that the device held at once; None: it has not been too small yet.
        checkpoints: whether the device was too small even for one film's activations.
    """

    film_ids: tuple[str, ...]
    num_landmarks: int
    marks: tuple[float, ...] = ()
    sigma_factors: tuple[float, ...] | None = None
    difficulty: tuple[float, ...] | None = None
    landmark_error: tuple[float, ...] | None = None
    micro_batch: int | None = None
    checkpoints: bool = False


@dataclass(frozen=True)
class Seen:
    """What an epoch's training showed; None where its plan did not ask.

    Attributes:
        landmark_error: (K,) mean distance of the training answers from their targets, share of the long side, NaN if never visible.
        film_loss: a film's mean loss over visible landmarks, in data-set order.
    """

    landmark_error: tuple[float, ...] | None = None
    film_loss: tuple[float, ...] | None = None


def begin(config: Config, film_ids: tuple[str, ...], dataset: CephDataset, marks: tuple[float, ...]) -> Feedback:
    """What is known before the first epoch.

    Raises:
        InputError: landmarks that the data does not mark, or difficulties that are missing, all problems at once.
    """
    problems: list[str] = []
    protocol = dataset.protocol
    factors = sigma_factors(config.heatmap.landmark_sigma)
    if strangers := [symbol for symbol in factors if symbol not in protocol.symbols]:
        problems.append(f"heatmap.landmark_sigma: no landmark {', '.join(strangers)} here; there are {' '.join(protocol.symbols)}")
    difficulty = None
    if config.curriculum.difficulty == "csv":
        try:
            from_file = config.curriculum.csv is not None
            difficulty = curriculum.from_csv(config.curriculum, film_ids) if from_file else curriculum.from_data(dataset, film_ids)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    fixed = tuple(factors.get(symbol, 1.0) for symbol in protocol.symbols) if factors else None
    return Feedback(film_ids, len(protocol), marks, fixed, difficulty)


def look_at(config: Config, feedback: Feedback, films: Films) -> Feedback:
    """With the difficulty that the films' pictures show, if it is asked for; films of any one size."""
    if config.curriculum.difficulty != "image" or feedback.difficulty is not None:
        return feedback
    return replace(feedback, difficulty=curriculum.from_images(films.images[films.rows(feedback.film_ids)]))


def after(config: Config, feedback: Feedback, seen: Seen) -> Feedback:
    """With what an epoch has shown."""
    if seen.landmark_error is not None:
        feedback = replace(feedback, landmark_error=hard_landmarks.running(config, feedback.landmark_error, seen.landmark_error))
    if seen.film_loss is not None:
        # A film without a landmark has no loss: as hard as any.
        worst = float(np.nanmax(seen.film_loss)) if not np.isnan(seen.film_loss).all() else 0.0
        feedback = replace(feedback, difficulty=tuple(worst if np.isnan(loss) else float(loss) for loss in seen.film_loss))
    return feedback


def saved(feedback: Feedback) -> dict[str, Any]:
    """Plain values for a checkpoint."""
    values = {name: getattr(feedback, name) for name in SAVED}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def restored(feedback: Feedback, values: dict[str, Any]) -> Feedback:
    """With what `saved` gave."""
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return replace(feedback, **given)
