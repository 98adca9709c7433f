"""Pictures of single films: reference and predicted points over the film, as one SVG."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from ceph_core.errors import InputError
from search.records import ENSEMBLE, Run
from search.report.comparison import Comparison

ReadFilm = Callable[[Path], NDArray[np.uint8]]

PICTURE_SIDE_PX = 500
_JPEG_QUALITY = 82
_NAMED_ABOVE_MM = 4.0


@dataclass(frozen=True)
class FilmCard:
    """One film of the gallery: its errors and its picture, or why there is no picture."""

    film: str
    mean_mm: float
    worst_mm: float
    worst_landmark: str
    picture: Markup | None
    problem: str


def worst_films(run: Run, comparison: Comparison, read_film: ReadFilm, count: int = 6) -> list[FilmCard]:
    """The test films on which the ensemble errs most in the mean, worst first."""
    errors = comparison.rows[ENSEMBLE].errors_mm
    means = np.array([float(np.nanmean(row)) if not np.isnan(row).all() else np.nan for row in errors])
    order = [int(row) for row in np.argsort(-np.nan_to_num(means, nan=-1.0), kind="stable") if not np.isnan(means[row])]
    paths = run.splits.drop_duplicates("film").set_index("film")["image"]
    cards = []
    for row in order[:count]:
        film = comparison.films[row]
        worst = int(np.nanargmax(errors[row]))
        picture, problem = None, ""
        try:
            picture = overlay(
                read_film(Path(paths[film])),
                comparison.points[ENSEMBLE][row],
                comparison.reference[row],
                errors[row],
                comparison.landmarks,
                f"film {film}, reference and predicted landmarks",
            )
        except (InputError, OSError) as error:
            problem = f"no picture: {error}"
        cards.append(FilmCard(film, float(means[row]), float(errors[row, worst]), comparison.landmarks[worst], picture, problem))
    return cards


def overlay(
    film: NDArray[np.uint8],
    predicted_px: NDArray[np.float64],
    reference_px: NDArray[np.float64],
    errors_mm: NDArray[np.float64],
    landmarks: tuple[str, ...],
    label: str,
) -> Markup:
    """An SVG of the film with a ring at each reference, a dot at each prediction and a line between them.

    Args:
        film: (h, w) grey values 0-255.
        predicted_px: (K, 2) original pixels.
        reference_px: (K, 2) original pixels, NaN where missing: such a landmark shows its prediction alone.
        errors_mm: (K,) mm, NaN where missing.
        label: what the picture shows, for who cannot see it.
        landmarks: K symbols; those that err by more than 4 mm are written beside their point.
    """
    height, width = film.shape
    scale = min(1.0, PICTURE_SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    done, jpeg = cv2.imencode(".jpg", cv2.resize(film, size, interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    # Pixel centres on whole numbers: the SVG's corner is at (-0.5, -0.5) of the film.
    marks = [
        f'<svg viewBox="-0.5 -0.5 {width} {height}" role="img" aria-label="{escape(label)}" '
        f'style="--px:{max(height, width) / PICTURE_SIDE_PX:.3f}px">',
        f'<image href="data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}" x="-0.5" y="-0.5" '
        f'width="{width}" height="{height}" preserveAspectRatio="none"/>',
    ]
    for symbol, (x, y), (true_x, true_y), error in zip(landmarks, predicted_px, reference_px, errors_mm, strict=True):
        name = escape(symbol)
        title = f"{name}: {error:.1f} mm" if not np.isnan(error) else f"{name}: no reference"
        marks.append(f"<g><title>{title}</title>")
        if not np.isnan(true_x):
            marks.append(f'<line x1="{true_x:.1f}" y1="{true_y:.1f}" x2="{x:.1f}" y2="{y:.1f}"/>')
            marks.append(f'<circle class="reference" cx="{true_x:.1f}" cy="{true_y:.1f}"/>')
        marks.append(f'<circle class="predicted" cx="{x:.1f}" cy="{y:.1f}"/>')
        if error > _NAMED_ABOVE_MM:
            marks.append(f'<text x="{x:.1f}" y="{y:.1f}" dx="0.5em" dy="-0.4em">{name} {error:.1f}</text>')
        marks.append("</g>")
    return Markup("".join(marks) + "</svg>")
