"""How far off a point may be: a radius that holds the given share of errors, from what the network's confidence was worth on films it
did not learn from.

The error of a landmark is taken to scale with exp(intercept of the landmark + slope x log confidence), intercepts drawn towards their mean
as far as they cannot be told apart (empirical Bayes); the radius is that scale times a quantile of error over scale, each film scaled by
the other films (split conformal prediction with a normalised score: Lei et al., JASA 2018).

Which films were at hand is luck, and other films are never quite like them.  So the quantile is an upper tolerance limit (Wilks, Ann. Math.
Stat. 1941): with `CONFIDENCE` it holds at least what it says of points on films of the same kind.  Films are drawn again, not points,
which are alike within a film.

On out-of-fold points of ISBI 2015's 130 training films (MRE 1.33 mm), learned from 20 of them, the 90 % radius holds 92.4 % of the other
films' points and at least 90 % in 97 of 100 draws of the 20 (the quantile itself: 90.0 % and 57); from 100, 91.3 %.  At an equal share
confidence makes it 8 % smaller than one constant radius a landmark where 22 films teach both, 1 % where 104 do.  The spread of views or
snapshots adds nothing to confidence there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from ceph_core.config import Frozen, problems_of
from ceph_core.errors import InputError
from ceph_core.metrics import bootstrap_interval

Array = NDArray[np.float64]

CALIBRATION_FILE = "calibration.json"
LEVEL = 0.9
CONFIDENCE = 0.95
"""With which a radius holds at least its share: 90 % with 95 % confidence are customary for tolerance limits."""
MIN_FILMS = 8
"""Fewer films say too little of what is rare."""
_PARTS = 20
"""Groups of films that are scaled by the others; so many, or a film each."""
_DRAWS = 500
_LEAST_MM, _LEAST_CONFIDENCE = 0.05, 1e-3
"""Errors and confidences below these count as these: their logarithms would say too much."""


class Calibration(Frozen):
    """Radii of one model."""

    symbols: tuple[str, ...] = Field(min_length=1, description="landmarks, in the model's order")
    intercepts: tuple[float, ...] = Field(description="logarithm of each landmark's usual error at confidence 1, mm")
    slope: float = Field(description="of that logarithm over the logarithm of confidence")
    scores: tuple[float, ...] = Field(
        min_length=2, description="upper tolerance limits of quantiles 0 to 100 % of error over usual error, held out"
    )
    constant_mm: tuple[float, ...] = Field(description="one radius a landmark that holds 90 % of its errors, for comparison")
    inflation: float = Field(1.0, ge=1, description="what errors are multiplied by because the model was chosen on the same films")
    num_films: int = Field(ge=1, description="films it was learned from")

    def usual_mm(self, confidence: NDArray[np.floating]) -> Array:
        """(..., K) the scale of the error of points of these confidences (..., K)."""
        return np.asarray(np.exp(np.array(self.intercepts) + self.slope * _log_confidence(confidence)))

    def radius_mm(self, confidence: NDArray[np.floating], level: float = LEVEL) -> Array:
        """(..., K) mm around points of these confidences that hold this share of errors or more."""
        score = float(np.interp(level, np.linspace(0, 1, len(self.scores)), self.scores))
        return self.usual_mm(confidence) * score * self.inflation

    def only(self, places: Sequence[int]) -> "Calibration":
        """For these landmarks, in this order."""
        return self.model_copy(
            update={key: tuple(getattr(self, key)[place] for place in places) for key in ("symbols", "intercepts", "constant_mm")}
        )

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        fresh = path.with_name(f".{path.name}.part")
        fresh.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        fresh.replace(path)


@dataclass(frozen=True)
class Coverage:
    """What radii are worth on films they were not learned from.

    Attributes:
        level: share they should hold at least; share: that they hold; low, high: 95 % interval, films drawn again.
        mean_mm: radius.
        constant_mm: mean of one constant radius a landmark, all of them scaled to hold the same share of these points.
        films: counted.
    """

    level: float
    share: float
    low: float
    high: float
    mean_mm: float
    constant_mm: float
    films: int

    def __str__(self) -> str:
        return (
            f"the {self.level:.0%} radius holds {self.share:.1%} of points [{self.low:.1%}, {self.high:.1%}], {self.mean_mm:.2f} mm on "
            f"average; one constant radius a landmark that holds as many: {self.constant_mm:.2f} mm"
        )


def fit(symbols: Sequence[str], errors_mm: Array, confidence: NDArray[np.floating], inflation: float = 1.0) -> Calibration:
    """Learn radii.

    Args:
        symbols: K landmarks.
        errors_mm: (N, K) on films that the model did not learn from, NaN where a landmark is missing.
        confidence: (N, K).
        inflation: see `Calibration`.

    Raises:
        ValueError: too few films.
    """
    marked = ~np.isnan(errors_mm)
    rows = np.flatnonzero(marked.any(axis=1))
    if len(rows) < MIN_FILMS:
        raise ValueError(f"{len(rows)} films that the model did not learn from; {MIN_FILMS} are needed to calibrate it")
    errors = np.log(np.maximum(errors_mm[rows], _LEAST_MM))
    sure = np.where(marked[rows], _log_confidence(confidence[rows]), np.nan)
    part = np.arange(len(rows)) % min(_PARTS, len(rows))
    scores = np.full(errors.shape, np.nan)
    for held_out in np.unique(part):
        intercepts, slope = _scale(errors[part != held_out], sure[part != held_out])
        scores[part == held_out] = errors[part == held_out] - intercepts - slope * sure[part == held_out]
    intercepts, slope = _scale(errors, sure)
    known = [(each, ~np.isnan(each)) for each in errors_mm.T]
    return Calibration(
        symbols=tuple(symbols),
        intercepts=tuple(map(float, intercepts)),
        slope=slope,
        scores=tuple(map(float, _tolerance_limits(np.exp(scores)))),
        constant_mm=tuple(max(1.0, inflation) * _conformal(each if marked.any() else errors_mm) for each, marked in known),
        inflation=max(1.0, inflation),
        num_films=len(rows),
    )


def coverage(calibration: Calibration, errors_mm: Array, confidence: NDArray[np.floating], level: float = LEVEL) -> Coverage:
    """How the radii do on films (N, K) that neither model nor radii were learned from."""
    marked = ~np.isnan(errors_mm)
    radius = calibration.radius_mm(confidence, level)
    held = np.where(marked, errors_mm <= radius, np.nan)
    share = float(np.nanmean(held))
    low, high = bootstrap_interval(held)
    constant = np.broadcast_to(np.maximum(calibration.constant_mm, _LEAST_MM), errors_mm.shape)[marked]
    constant_mm = float(constant.mean() * np.quantile(errors_mm[marked] / constant, share))
    return Coverage(level, share, low, high, float(radius[marked].mean()), constant_mm, int(marked.any(axis=1).sum()))


def read_calibration(folder: Path, symbols: Sequence[str]) -> Calibration | None:
    """That of a model's folder, or of the ensemble a member's folder lies in; None if there is none.

    Raises:
        InputError: the file is damaged, or of other landmarks.
    """
    path = next((path for path in (folder / CALIBRATION_FILE, folder.parent / CALIBRATION_FILE) if path.is_file()), None)
    if path is None:
        return None
    try:
        found = Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise InputError(problems_of(error, str(path))) from error
    if found.symbols != tuple(symbols) or not len(found.symbols) == len(found.intercepts) == len(found.constant_mm):
        raise InputError(f"{path}: is of {len(found.symbols)} other landmarks than the model; take both from one export")
    return found


def _scale(errors: Array, sure: Array) -> tuple[Array, float]:
    """(K,) intercepts and the slope of log errors (N, K) over log confidences; NaN: not marked."""
    count = (~np.isnan(errors)).sum(axis=0)
    at_error, at_sure = _means(errors), _means(sure)
    left, right = np.nan_to_num(sure - at_sure), np.nan_to_num(errors - at_error)
    spread = float((left**2).sum())
    slope = min(0.0, float((left * right).sum()) / spread) if spread > 1e-12 else 0.0
    raw = at_error - slope * at_sure
    known = count > 0
    if known.sum() < 2:
        return np.where(known, raw, np.nanmean(raw)), slope
    noise = float((right - slope * left)[~np.isnan(errors)].var()) / np.maximum(count, 1)
    center = float(raw[known].mean())
    between = max(float(raw[known].var(ddof=1)) - float(noise[known].mean()), 1e-6)
    kept = np.where(known, between / (between + noise), 0.0)
    return center + kept * np.where(known, raw - center, 0.0), slope


def _tolerance_limits(scores: Array) -> Array:
    """(101,) upper limits, films drawn again, of the quantiles 0 to 100 % of scores (N, K); NaN: not marked."""
    random, shares = np.random.default_rng(0), np.linspace(0, 1, 101)
    draws = (scores[random.integers(0, len(scores), len(scores))] for _ in range(_DRAWS))
    return np.asarray(np.quantile([np.quantile(draw[~np.isnan(draw)], shares) for draw in draws], CONFIDENCE, axis=0))


def _means(values: Array) -> Array:
    """(K,) of (N, K), NaN where there is none."""
    count = (~np.isnan(values)).sum(axis=0)
    return np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)


def _conformal(errors_mm: Array) -> float:
    """The radius that holds 90 % of errors, by split conformal prediction: the largest where they are too few."""
    known = np.sort(errors_mm[~np.isnan(errors_mm)])
    return float(known[min(len(known), math.ceil(LEVEL * (len(known) + 1))) - 1])


def _log_confidence(confidence: NDArray[np.floating]) -> Array:
    return np.log(np.maximum(np.asarray(confidence, dtype=np.float64), _LEAST_CONFIDENCE))
