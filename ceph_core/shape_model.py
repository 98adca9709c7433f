"""Where a landmark should be if the others are right: a statistical model of the shape that landmarks form.

Training shapes are laid on their mean (generalised Procrustes, Gower 1975) and described by one Gaussian over all
coordinates: the point distribution model of Cootes et al. (Active Shape Models, CVIU 61, 1995) with every mode kept and shrunk
rather than a few kept whole.  Given all other points, a point's place is again Gaussian (posterior shape models, Albrecht et al., Medical
Image Analysis 17, 2013); for all points at once it can be read from the inverse covariance Q: with r the film's distance from
the mean, point k lies Q_kk^-1 (Q r)_k from where the others put it.

Position, direction and size of a film are unknown, so they get a very wide prior of their own (`_POSE_MM`): how a film was laid on the
mean then does not matter, and z needs no spacing.  Films may face either way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ceph_core.procrustes import Plane, as_plane, as_points, generalised, lay_on

Array = NDArray[np.float64]

MIN_FILMS, MIN_POINTS = 20, 3
"""Films that a model needs, with at least half of their points; points that a film needs to be judged."""
MIN_MARKED = 10
"""Films that must mark a landmark for it to be modelled."""
IMPOSSIBLE_Z = 6.0
"""A training point this far from where the others put it is a wrong mark: it is left out, once, and the model is made again."""

_FOLDS = 20
_SHRINKAGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_POSE_MM = 1e3
_FILL_ROUNDS = 8
_TRIM = 9.21  # 99 % of a chi-square of two degrees of freedom
_TRIMMED_SHARE = 0.9535  # of the variance that is left below it


@dataclass(frozen=True, eq=False)
class Examined:
    """What the shape says of N films.

    Attributes:
        expected: (N, K, 2) where the trusted other points put each point, in the films' own frame and unit; also for missing points.
        residual: (N, K) distance from there, the films' unit; NaN where missing.
        z: (N, K) the same over what is usual on held-out training films, by direction (Mahalanobis): 1 % of a Gaussian's are beyond 3.
        trusted: (N, K) points that the expectations of others rest on.
        mirrored: (N,) films that face the other way than the model's mean.
    """

    expected: Array
    residual: Array
    z: Array
    trusted: NDArray[np.bool_]
    mirrored: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """The Gaussian of shapes.

    Attributes:
        mean_mm: (K, 2) mean shape about its centre; NaN for a landmark that too few films mark.
        covariance_mm2: (2K, 2K) of x0, y0, x1, ..., shrunk; 0 for such a landmark.
        spread_mm2: (K, 2, 2) covariance of held-out films' points about where their other points put them.
        shrinkage: share of the mean variance added to every direction, chosen on held-out films.
        num_films: learned from.
    """

    mean_mm: Array
    covariance_mm2: Array
    spread_mm2: Array
    shrinkage: float
    num_films: int

    @classmethod
    def fit(cls, landmarks_mm: Array) -> "ShapeModel":
        """Learn from films' landmarks.

        Args:
            landmarks_mm: (N, K, 2), NaN where missing.

        Raises:
            ValueError: too few films or landmarks.
        """
        return held_out(landmarks_mm)[0]

    def examine(self, points: Array, limit: float) -> Examined:
        """Judge films, each point by the others.

        A wrong point would also make its neighbours look wrong: the worst point beyond the limit stops being evidence, one
        after the other (half of them at most), before all are judged by those that are left.

        Args:
            points: (N, K, 2) in mm, or in pixels where these are square; NaN where missing.
            limit: z beyond which a point is no evidence for others.
        """
        plane, mean = as_plane(np.asarray(points, dtype=np.float64)), as_plane(self.mean_mm)
        mirrored = lay_on(plane, mean).mirrored
        wide = self.covariance_mm2 + _pose_prior(mean)
        everything = ~np.isnan(mean)
        usual = _doubt(wide, everything)
        expected, z = np.full(plane.shape, complex(np.nan, np.nan)), np.full(plane.shape, np.nan)
        trusted = ~np.isnan(plane) & everything
        for n in range(len(plane)):
            least = max(MIN_POINTS, int(trusted[n].sum() + 1) // 2)
            if trusted[n].sum() < MIN_POINTS:
                trusted[n] = False
                continue
            while True:
                pose = lay_on(plane[n : n + 1], mean, trusted[n : n + 1], mirrored[n : n + 1])
                if np.isnan(pose.turn[0]):
                    trusted[n] = False
                    break
                laid = pose.apply(plane[n : n + 1])[0]
                off, doubt = _left_out(wide, _flat(laid - mean), trusted[n])
                off[~everything] = np.nan
                z[n] = np.sqrt(_squares(off, self.spread_mm2) * usual / doubt)
                expected[n] = pose.undo((np.where(np.isnan(laid), mean, laid) - as_plane(off))[None])[0]
                suspect = np.where(trusted[n], z[n], 0.0)
                if suspect.max() <= limit or trusted[n].sum() <= least:
                    break
                trusted[n, np.argmax(suspect)] = False
        z[np.isnan(plane)] = np.nan
        return Examined(as_points(expected), np.abs(plane - expected), z, trusted, mirrored)

    def tensors(self) -> dict[str, Array]:
        """The model as arrays by name."""
        numbers = np.array([self.shrinkage, self.num_films], dtype=np.float64)
        return {"mean_mm": self.mean_mm, "covariance_mm2": self.covariance_mm2, "spread_mm2": self.spread_mm2, "numbers": numbers}

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> "ShapeModel":
        """The model of `tensors()`.

        Raises:
            ValueError: arrays are missing or do not fit each other.
        """
        num = len(tensors["mean_mm"]) if "mean_mm" in tensors else 0
        shapes = {"mean_mm": (num, 2), "covariance_mm2": (2 * num, 2 * num), "spread_mm2": (num, 2, 2), "numbers": (2,)}
        wrong = [name for name, shape in shapes.items() if name not in tensors or tensors[name].shape != shape]
        if wrong:
            raise ValueError(f"no shape model: {', '.join(wrong)} missing or of another shape")
        shrinkage, num_films = tensors["numbers"]
        return cls(tensors["mean_mm"], tensors["covariance_mm2"], tensors["spread_mm2"], float(shrinkage), int(num_films))

    def save(self, path: Path) -> None:
        """Write the model as safetensors."""
        save_file(self.tensors(), str(path))

    @classmethod
    def load(cls, path: Path) -> "ShapeModel":
        """Read what `save` wrote.

        Raises:
            ValueError: no such file, or something else.
        """
        try:
            return cls.of(load_file(str(path)))
        except (OSError, SafetensorError, ValueError) as error:
            raise ValueError(f"{path}: no shape model ({error}); write it again or remove it") from error


def held_out(landmarks_mm: Array, limit: float = IMPOSSIBLE_Z) -> tuple[ShapeModel, Examined]:
    """The model of all films, and what models of the other films say of each of them.

    Args:
        landmarks_mm: (N, K, 2), NaN where missing.
        limit: z beyond which a point is a wrong mark, no model learns from it.

    Raises:
        ValueError: too few films or landmarks.
    """
    shapes = as_plane(np.asarray(landmarks_mm, dtype=np.float64))
    first = _Folds.of(shapes)
    examined = first.examine(shapes, limit)
    wrong = examined.z > limit
    if not wrong.any():
        return first.whole(), examined
    cleaned = np.where(wrong, complex(np.nan, np.nan), shapes)
    second = _Folds.of(cleaned)
    return second.whole(), second.examine(shapes, limit)


@dataclass(frozen=True, eq=False)
class _Gaussian:
    """Mean (K,) and unshrunk covariance (2K, 2K) of some films, and the mean variance of a coordinate."""

    mean: Plane
    covariance: Array
    variance: float

    @classmethod
    def of(cls, shapes: Plane, modelled: NDArray[np.bool_], start: Plane | None = None) -> "_Gaussian":
        some = shapes[:, modelled]
        mean, pose = generalised(some, None if start is None else start[modelled])
        covariance = _covariance(_flat(pose.apply(some) - mean), _pose_prior(mean))
        rows = np.repeat(modelled, 2)
        whole_mean = np.full(len(modelled), complex(np.nan, np.nan))
        whole_mean[modelled] = mean
        whole = np.zeros((len(rows), len(rows)))
        whole[np.ix_(rows, rows)] = covariance
        return cls(whole_mean, whole, float(np.trace(covariance) / rows.sum()))

    def shrunk(self, share: float) -> Array:
        """The covariance with a share of the mean variance in every modelled direction."""
        ridge = np.where(np.repeat(np.isnan(self.mean), 2), 0.0, share * self.variance)
        return np.asarray(self.covariance + np.diag(ridge))


@dataclass(frozen=True, eq=False)
class _Folds:
    """Gaussians of all films and of all but a fold, and what the latter taught: how much to shrink, how far points lie off."""

    everything: _Gaussian
    num_films: int
    fold: NDArray[np.int64]
    models: tuple[_Gaussian, ...]
    shrinkage: float
    spread: Array

    @classmethod
    def of(cls, shapes: Plane) -> "_Folds":
        # Of fewer films than that no landmark is rare; there are too few films then.
        modelled = (~np.isnan(shapes)).sum(axis=0) >= max(1, min(MIN_MARKED, len(shapes)))
        points = (~np.isnan(shapes[:, modelled])).sum(axis=1)
        usable = points >= max(MIN_POINTS, modelled.sum() / 2)
        if modelled.sum() < MIN_POINTS or usable.sum() < MIN_FILMS:
            raise ValueError(
                f"{int(usable.sum())} films with at least half of {int(modelled.sum())} landmarks are too few for a shape model; "
                f"needed are {MIN_FILMS} films and {MIN_POINTS} landmarks that {MIN_MARKED} films mark"
            )
        # Films in turn, so that neighbours in the list (one patient, one day) are rarely of one fold.
        fold = np.arange(len(shapes)) % min(_FOLDS, len(shapes))
        everything = _Gaussian.of(shapes[usable], modelled)
        # All face the same way: which of a set's films are mirrored must not hang on the fold.
        models = tuple(_Gaussian.of(shapes[usable & (fold != number)], modelled, everything.mean) for number in range(fold.max() + 1))
        tried = {share: _residuals(shapes, usable, fold, models, share) for share in _SHRINKAGES}
        shrinkage = min(tried, key=lambda share: float(np.nanmean(np.linalg.norm(tried[share], axis=-1))))
        spread = np.stack([_robust_covariance(tried[shrinkage][:, k]) for k in range(shapes.shape[1])])
        return cls(everything, int(usable.sum()), fold, models, shrinkage, spread)

    def whole(self) -> ShapeModel:
        """The model of all films."""
        return self._model(self.everything, self.num_films)

    def examine(self, shapes: Plane, limit: float) -> Examined:
        """All films, each by the model that has not seen it."""
        parts = [
            (rows, self._model(model, 0).examine(as_points(shapes[rows]), limit))
            for number, model in enumerate(self.models)
            if len(rows := np.flatnonzero(self.fold == number))
        ]
        order = np.argsort(np.concatenate([rows for rows, _ in parts]))
        return Examined(
            *(
                np.concatenate([getattr(part, name) for _, part in parts])[order]
                for name in ("expected", "residual", "z", "trusted", "mirrored")
            )
        )

    def _model(self, gaussian: _Gaussian, num_films: int) -> ShapeModel:
        return ShapeModel(as_points(gaussian.mean), gaussian.shrunk(self.shrinkage), self.spread, self.shrinkage, num_films)


def _residuals(shapes: Plane, usable: NDArray[np.bool_], fold: NDArray[np.int64], models: tuple[_Gaussian, ...], share: float) -> Array:
    """(N, K, 2) distance of each point of a held-out film from where its others put it, mm of the mean shape; NaN where there is none.

    Of a film that lacks points the distances are shortened to what they would be if it had all.
    """
    found = np.full((*shapes.shape, 2), np.nan)
    for number, model in enumerate(models):
        rows = np.flatnonzero(usable & (fold == number))
        wide = model.shrunk(share) + _pose_prior(model.mean)
        usual = _doubt(wide, ~np.isnan(model.mean))
        for row, laid in zip(rows, lay_on(shapes[rows], model.mean).apply(shapes[rows]), strict=True):
            away = _flat(laid - model.mean)
            off, doubt = _left_out(wide, away, ~np.isnan(away[::2]))
            found[row] = off * np.sqrt(usual / doubt)[:, None]
    return np.where(np.isnan(shapes)[..., None], np.nan, found)


def _left_out(wide: Array, away: Array, trusted: NDArray[np.bool_]) -> tuple[Array, Array]:
    """How far each point lies from where the trusted others put it.

    Args:
        wide: (2K, 2K) covariance with the pose's prior.
        away: (2K,) distance from the mean; NaN where missing, counted from the mean then.
        trusted: (K,) points that are evidence.

    Returns:
        (K, 2) distances; (K,) variance of the expectation (both directions together).
    """
    rows = np.repeat(trusted, 2)
    precision = np.linalg.inv(wide[np.ix_(rows, rows)])
    pull = precision @ away[rows]
    off, doubt = np.empty((len(trusted), 2)), np.empty(len(trusted))
    blocks = precision.reshape(trusted.sum(), 2, trusted.sum(), 2)[np.arange(trusted.sum()), :, np.arange(trusted.sum()), :]
    given = np.linalg.inv(blocks)
    off[trusted] = (given @ pull.reshape(-1, 2, 1))[..., 0]
    doubt[trusted] = given.trace(axis1=1, axis2=2)
    if not trusted.all():
        cross = wide[np.ix_(~rows, rows)]
        off[~trusted] = (np.nan_to_num(away[~rows]) - cross @ pull).reshape(-1, 2)
        left = wide.diagonal()[~rows] - np.einsum("ij,jk,ik->i", cross, precision, cross)
        doubt[~trusted] = left.reshape(-1, 2).sum(axis=1)
    return off, doubt


def _doubt(wide: Array, modelled: NDArray[np.bool_]) -> Array:
    """(K,) variance of the expectations where all other points are there; NaN where not modelled."""
    return np.where(modelled, _left_out(wide, np.zeros(len(wide)), modelled)[1], np.nan)


def _covariance(away: Array, pose: Array) -> Array:
    """(2K, 2K) about 0 of films' (N, 2K); missing ones are filled in by expectation maximisation (Dempster et al., JRSS B 39, 1977)."""
    missing = np.isnan(away)
    covariance = np.asarray(np.nan_to_num(away).T @ np.nan_to_num(away) / np.maximum((~missing).T.astype(float) @ ~missing, 1))
    if not missing.any():
        return covariance
    covariance = np.diag(covariance.diagonal())  # pairs of different films need not make a covariance
    patterns = [(gone, (missing == gone).all(axis=1)) for gone in np.unique(missing, axis=0)]
    for _ in range(_FILL_ROUNDS):
        ridge = 0.01 * covariance.trace() / len(covariance)
        wide = covariance + pose + ridge * np.eye(len(covariance))
        total = np.zeros_like(covariance)
        filled = away.copy()
        for gone, films in patterns:
            gain = wide[np.ix_(gone, ~gone)] @ np.linalg.inv(wide[np.ix_(~gone, ~gone)])
            filled[np.ix_(films, gone)] = away[np.ix_(films, ~gone)] @ gain.T
            total[np.ix_(gone, gone)] += films.sum() * (wide[np.ix_(gone, gone)] - gain @ wide[np.ix_(~gone, gone)])
        covariance = (filled.T @ filled + total) / len(away)
    return covariance


def _robust_covariance(away: Array) -> Array:
    """(2, 2) about 0 of (N, 2) distances without the farthest: a few wrong marks must not widen what is usual."""
    away = away[~np.isnan(away).any(axis=1)]
    if len(away) < MIN_MARKED:
        return np.full((2, 2), np.nan)
    floor = 1e-12
    # Half of a round Gaussian lies within sqrt(2 ln 2) of its sigma.
    covariance = np.eye(2) * max(float(np.median((away**2).sum(axis=1)) / (2 * np.log(2))), floor)
    for _ in range(5):
        kept = away[_squares(away, covariance[None]) <= _TRIM]
        if len(kept) < MIN_MARKED:
            break
        covariance = kept.T @ kept / len(kept) / _TRIMMED_SHARE + floor * np.eye(2)
    return covariance


def _squares(away: Array, covariance: Array) -> Array:
    """(N,) squared Mahalanobis lengths of (N, 2) by (N or 1, 2, 2)."""
    return np.asarray(np.einsum("ni,nij,nj->n", away, np.linalg.inv(covariance), away))


def _flat(plane: Plane) -> Array:
    """(..., K) complex to (..., 2K)."""
    return as_points(plane).reshape(*plane.shape[:-1], -1)


def _pose_prior(mean: Plane) -> Array:
    """(2K, 2K) covariance of a shape's free position, direction and size, to first order; 0 for points that are not modelled."""
    there = np.where(np.isnan(mean), 0, mean)
    one = np.where(np.isnan(mean), 0, 1).astype(np.complex128)
    basis, _ = np.linalg.qr(np.stack([_flat(vector) for vector in (one, 1j * one, there, 1j * there)], axis=1))
    return np.asarray(_POSE_MM**2 * basis @ basis.T)
