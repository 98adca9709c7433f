"""Gaussian-process regression on the unit cube: a few hundred points, each as certain as it is said to be.  Pure.

Matérn 5/2 with a length scale a coordinate, found by maximum a posteriori under the prior of Hvarfner et al. ("Vanilla Bayesian
optimization performs great in high dimensions", ICML 2024): scales that grow with the square root of the number of coordinates.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize
from scipy.special import ndtr

Floats = NDArray[np.float64]

_ROOT5 = math.sqrt(5.0)
_SCALE_SPREAD = 1.0
_NOISE_MEAN, _NOISE_SPREAD = math.log(1e-2), 1.5
_BOUNDS_SCALE, _BOUNDS_NOISE = (math.log(0.05), math.log(30.0)), (math.log(1e-5), math.log(1.0))
_MAX_ITERATIONS = 50
_TELLING = 64
"""Twice so many observations tell scales well enough; the time goes with the third power."""


@dataclass(frozen=True, eq=False)
class Process:
    """A fitted process.

    Attributes:
        points: (N, D) in the unit cube.
        scales: (D,) length scales.
        noise: (N,) variances of the observations, their own and the process's common one.
        factor: (N, N) Cholesky factor of the covariance.
        weights: (N,) covariance^-1 (values - mean).
        mean: of the process far from all points.
    """

    points: Floats
    scales: Floats
    noise: Floats
    factor: Floats
    weights: Floats
    mean: float

    @classmethod
    def fit(cls, points: Floats, values: Floats, own_noise: Floats) -> "Process":
        """Find scales and common noise.

        Args:
            points: (N, D) in the unit cube.
            values: (N,) of about unit variance.
            own_noise: (N,) variance that each observation is known to have, beside a common one.
        """
        telling = _telling(own_noise)
        scales, common = _most_likely(points[telling], values[telling], own_noise[telling])
        return cls.of(points, values, own_noise + common, scales)

    @classmethod
    def of(cls, points: Floats, values: Floats, noise: Floats, scales: Floats) -> "Process":
        """The process of these scales."""
        kernel, _ = _matern(_squares(points, points, scales))
        factor = cholesky(kernel + np.diag(noise + 1e-9), lower=True, check_finite=False)
        ones = cho_solve((factor, True), np.ones(len(values)), check_finite=False)
        mean = float(ones @ values / ones.sum())
        weights = cho_solve((factor, True), values - mean, check_finite=False)
        return cls(points, scales, noise, factor, weights, mean)

    def at(self, points: Floats) -> tuple[Floats, Floats]:
        """Mean (M,) and standard deviation (M,) of the process at points (M, D), without noise."""
        kernel, _ = _matern(_squares(points, self.points, self.scales))
        means = self.mean + kernel @ self.weights
        solved = solve_triangular(self.factor, kernel.T, lower=True, check_finite=False)
        return means, np.sqrt(np.clip(1.0 - (solved**2).sum(axis=0), 1e-12, None))

    def contrast(self, one: Floats, other: Floats) -> tuple[float, float]:
        """How much higher the process is at the points `other` (M, D) than at `one` (M, D), on average: mean and standard deviation."""
        points, weights = np.concatenate([other, one]), np.repeat([1.0, -1.0], len(one)) / len(one)
        means, _ = self.at(points)
        kernel, _ = _matern(_squares(points, self.points, self.scales))
        solved = solve_triangular(self.factor, kernel.T @ weights, lower=True, check_finite=False)
        prior, _ = _matern(_squares(points, points, self.scales))
        return float(weights @ means), math.sqrt(max(float(weights @ prior @ weights - solved @ solved), 0.0))

    def believing(self, points: Floats) -> "Process":
        """As if what is awaited at these points (M, D) had come out as expected (Ginsbourger et al. 2010, the kriging believer)."""
        if not len(points):
            return self
        means, _ = self.at(points)
        known = self.mean + _matern(_squares(self.points, self.points, self.scales))[0] @ self.weights + self.noise * self.weights
        return Process.of(
            np.concatenate([self.points, points]), np.concatenate([known, means]),
            np.concatenate([self.noise, np.full(len(points), 1e-6)]), self.scales,
        )  # fmt: skip


def log_expected_improvement(means: Floats, deviations: Floats, best: float) -> Floats:
    """(M,) logarithm of the expected fall below `best`, stable where it is tiny (Ament et al., NeurIPS 2023)."""
    z = (best - means) / deviations
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    direct = np.log(np.clip(density + z * ndtr(z), 1e-300, None))
    far = -0.5 * z**2 - math.log(math.sqrt(2 * math.pi)) - 2 * np.log(np.abs(z) + 1e-12)  # z -> -inf: density / z^2
    found: Floats = np.where(z > -6, direct, far) + np.log(deviations)
    return found


def _matern(squares: Floats) -> tuple[Floats, Floats]:
    """Kernel of scaled squared distances, and - 2 d kernel / d squares."""
    distance = np.sqrt(np.clip(squares, 0, None))
    decay = np.exp(-_ROOT5 * distance)
    return (1 + _ROOT5 * distance + 5 / 3 * squares) * decay, 5 / 3 * (1 + _ROOT5 * distance) * decay


def _most_likely(points: Floats, values: Floats, own_noise: Floats) -> tuple[Floats, float]:
    """(D,) scales and common noise, a posteriori."""
    dimensions = points.shape[1]
    prior = math.log(0.5) + 0.5 * math.log(dimensions)

    def cost(raw: Floats) -> tuple[float, Floats]:
        scales, common = np.exp(raw[:-1]), math.exp(raw[-1])
        kernel, slope = _matern(_squares(points, points, scales))
        kernel.flat[:: len(values) + 1] += own_noise + common
        inverse, log_determinant = _inverse(kernel)
        if inverse is None:
            return 1e10, np.zeros_like(raw)
        ones = inverse.sum(axis=0)
        mean = float(ones @ values / ones.sum())
        weights = inverse @ (values - mean)
        likelihood = -0.5 * float((values - mean) @ weights) - 0.5 * log_determinant
        outer = np.outer(weights, weights) - inverse
        # d kernel / d log scale = slope * (distance along it / scale)^2
        gradient = np.append(0.5 * _along(outer * slope, points / scales), 0.5 * common * np.trace(outer))
        deviation = (raw[:-1] - prior) / _SCALE_SPREAD
        noise_deviation = (raw[-1] - _NOISE_MEAN) / _NOISE_SPREAD
        likelihood -= 0.5 * float(deviation @ deviation) + 0.5 * noise_deviation**2
        gradient -= np.append(deviation / _SCALE_SPREAD, noise_deviation / _NOISE_SPREAD)
        return -float(likelihood), -gradient

    start = np.append(np.full(dimensions, prior), _NOISE_MEAN)
    bounds = [_BOUNDS_SCALE] * dimensions + [_BOUNDS_NOISE]
    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _MAX_ITERATIONS}).x
    return np.exp(found[:-1]), math.exp(found[-1])


def _telling(own_noise: Floats) -> NDArray[np.intp]:
    """Observations that scales are found from: all, or of many the surest and as many of the others, evenly."""
    if len(own_noise) <= 2 * _TELLING:
        return np.arange(len(own_noise))
    by_noise = np.argsort(own_noise, kind="stable")
    others = np.sort(by_noise[_TELLING:])
    return np.sort(np.concatenate([by_noise[:_TELLING], others[np.linspace(0, len(others) - 1, _TELLING).round().astype(int)]]))


def _inverse(covariance: Floats) -> tuple[Floats | None, float]:
    """Inverse and logarithm of the determinant; None where it is not positive definite.  The covariance is used up."""
    factor, failed = dpotrf(covariance.T, lower=1, overwrite_a=1)
    if failed:
        return None, math.nan
    log_determinant = 2 * float(np.log(np.diag(factor)).sum())
    lower, failed = dpotri(factor, lower=1, overwrite_c=1)
    if failed:
        return None, math.nan
    half = np.tril(lower)
    inverse: Floats = half + half.T
    inverse.flat[:: len(half) + 1] *= 0.5
    return inverse, log_determinant


def _along(shares: Floats, points: Floats) -> Floats:
    """(D,) sums over pairs of a symmetric (N, N) weight times the squared difference of points (N, D) along each coordinate."""
    found: Floats = 2 * (shares.sum(axis=0) @ points**2 - (points * (shares @ points)).sum(axis=0))
    return found


def _squares(one: Floats, other: Floats, scales: Floats) -> Floats:
    scaled, against = one / scales, other / scales
    found: Floats = (scaled**2).sum(1)[:, None] + (against**2).sum(1)[None, :] - 2 * scaled @ against.T
    return np.clip(found, 0, None, out=found)
