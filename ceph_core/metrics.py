"""Errors in mm and what is said of them: MRE, SDR, intervals and paired tests.  Missing landmarks (NaN) never count."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Errors = NDArray[np.float64]

TIERS = (("excellent", 1.7, 75.0, 95.0), ("good", 2.0, 70.0, 90.0), ("minimum", 2.5, 60.0, 85.0))
"""Name, MRE below (mm), SDR at 2 mm above (%), SDR at 4 mm above (%); best first."""


@dataclass(frozen=True)
class Summary:
    """Over all marked points: errors in mm, shares in percent."""

    mre_mm: float
    median_mm: float
    p95_mm: float
    sdr_2mm: float
    sdr_2_5mm: float
    sdr_3mm: float
    sdr_4mm: float
    over_4mm: float
    over_10mm: float

    def to_dict(self) -> dict[str, float]:
        """The figures by name."""
        return asdict(self)


def tier(summary: Summary) -> str:
    """The best tier reached, all three of its marks: "excellent", "good", "minimum" or "below minimum"."""
    return tier_of(summary.mre_mm, summary.sdr_2mm, summary.sdr_4mm)


def tier_of(mre_mm: float, sdr_2mm: float, sdr_4mm: float) -> str:
    """`tier` of records, which hold single figures; empty if the error is NaN."""
    if np.isnan(mre_mm):
        return ""
    return next((name for name, mre, sdr2, sdr4 in TIERS if mre_mm < mre and sdr_2mm > sdr2 and sdr_4mm > sdr4), "below minimum")


def radial_errors_mm(predicted_px: ArrayLike, reference_px: ArrayLike, spacing_mm: ArrayLike) -> Errors:
    """Distance of each predicted point from its reference.

    Args:
        predicted_px: (N, K, 2) original px.
        reference_px: (N, K, 2) original px, NaN where missing.
        spacing_mm: (N, 2) mm per original px, x and y apart.

    Returns:
        (N, K) mm, NaN where the reference is missing.

    Raises:
        ValueError: a prediction is NaN where the reference is not: a model's failure must not vanish from the mean.
    """
    predicted, reference = np.asarray(predicted_px, dtype=np.float64), np.asarray(reference_px, dtype=np.float64)
    lost = np.isnan(predicted).any(-1) & ~np.isnan(reference).any(-1)
    if lost.any():
        raise ValueError(f"{int(lost.sum())} predicted points are NaN where the reference is not")
    apart = (predicted - reference) * np.asarray(spacing_mm, dtype=np.float64)[:, None, :]
    errors: Errors = np.linalg.norm(apart, axis=-1)
    return errors


def summarize(errors_mm: Errors) -> Summary:
    """MRE, median, 95th percentile, SDR at 2, 2.5, 3, 4 mm (error <= r) and shares beyond 4 and 10 mm of (N, K) errors."""
    errors = errors_mm[~np.isnan(errors_mm)]
    if errors.size == 0:
        return Summary(*[float("nan")] * 9)

    def within(radius: float) -> float:
        return float((errors <= radius).mean() * 100)

    return Summary(
        mre_mm=float(errors.mean()),
        median_mm=float(np.median(errors)),
        p95_mm=float(np.percentile(errors, 95)),
        sdr_2mm=within(2.0),
        sdr_2_5mm=within(2.5),
        sdr_3mm=within(3.0),
        sdr_4mm=within(4.0),
        over_4mm=float((errors > 4).mean() * 100),
        over_10mm=float((errors > 10).mean() * 100),
    )


def bootstrap_interval(errors_mm: Errors, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of the mean of (N, K) values, the MRE say, when films, not points, are drawn again: a film errs as a whole."""
    films = errors_mm[~np.isnan(errors_mm).all(axis=1)]
    if len(films) < 2:
        return float("nan"), float("nan")
    totals, counts = np.nansum(films, axis=1), (~np.isnan(films)).sum(axis=1)
    drawn = np.random.default_rng(seed).integers(0, len(films), size=(resamples, len(films)))
    means = totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = (1 - level) / 2 * 100
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Paired:
    """Model a against model b on the same films, mm; negative: a is better."""

    difference_mm: float
    low_mm: float
    high_mm: float
    p_value: float


def paired_test(a_mm: Errors, b_mm: Errors, level: float = 0.95) -> Paired:
    """Mean difference of per-film MRE with a bootstrap interval over films and a two-sided Wilcoxon signed-rank p-value.

    Args:
        a_mm: (N, K) errors of one model.
        b_mm: (N, K) errors of the other on the same films.
    """
    marked = ~np.isnan(a_mm).all(axis=1) & ~np.isnan(b_mm).all(axis=1)
    apart = np.nanmean(a_mm[marked], axis=1) - np.nanmean(b_mm[marked], axis=1)
    low, high = bootstrap_interval(apart[:, None], level)
    p_value = float(stats.wilcoxon(apart).pvalue) if len(apart) > 1 and np.any(apart != 0) else 1.0
    return Paired(float(apart.mean()), low, high, p_value)


def mean_shape_mm(landmarks_px: NDArray[np.float64], spacing_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, 2) mean of the training films' landmarks in mm from the film's corner: what a network that learned nothing answers.

    Args:
        landmarks_px: (N, K, 2) original px of the training films.
        spacing_mm: (N, 2) mm per px.

    Returns:
        (K, 2) mm; divide by a film's spacing for its pixels.  NaN where no training film marks the landmark.
    """
    in_mm = landmarks_px * spacing_mm[:, None, :]
    marks = (~np.isnan(in_mm)).sum(axis=0)
    shape: NDArray[np.float64] = np.where(marks > 0, np.nansum(in_mm, axis=0) / np.maximum(marks, 1), np.nan)
    return shape
