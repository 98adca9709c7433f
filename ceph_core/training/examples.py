"""What a network says of a few films, to be looked at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceph_core.data.films import Films
from ceph_core.geometry import transform
from ceph_core.training.validate import Answers

NUM_EXAMPLES = 2
"""Films that are shown: the first of the validation films, always the same."""


@dataclass(frozen=True)
class Example:
    """One film as the network sees it.

    Attributes:
        image: (h, w) uint8.
        points_px: (K, 2) predicted, input px.
        reference_px: (K, 2) input px, NaN where missing.
    """

    film_id: str
    image: NDArray[np.uint8]
    points_px: NDArray[np.float64]
    reference_px: NDArray[np.float64]


def examples_of(films: Films, film_ids: tuple[str, ...], answers: Answers) -> tuple[Example, ...]:
    """The first of the films that were answered for."""
    shown = film_ids[:NUM_EXAMPLES]
    rows = films.rows(shown)
    points = transform(films.affines[rows], answers.points_px[:NUM_EXAMPLES])
    return tuple(
        Example(film_id, films.images[row], at, films.landmarks_input[row]) for film_id, row, at in zip(shown, rows, points, strict=True)
    )
