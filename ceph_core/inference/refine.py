"""Which predicted points to look at again: unsure ones, and ones that the training films' shape does not allow.

Everything is learned once, from the training films' landmarks and a network's confidence on films it did not learn from, and kept in
one file beside the weights.

What it brings hangs on the network, measured on held-out folds of ISBI 2015's training films.  One point of a film moved by 6, 8 or
10 mm is flagged by shape in 65, 89 and 96 % of cases, 0.5 % of the others with it.  But a good network (MRE 1.3 mm) hardly makes such
errors: what it has over 4 mm lies along contours, where readers differ too, and there low confidence finds 8 of 28 at 3 % flags,
shape 1.  Moving a point to where the shape puts it errs by 2.1 mm on average: it hurt the good networks (1.31 to 1.35 mm) and
helped ones of a few epochs (2.87 to 2.84 mm), so points are moved only when asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ceph_core.data.films import TrainingData
from ceph_core.distance_limits import DistanceLimits
from ceph_core.errors import InputError
from ceph_core.landmarks import Protocol
from ceph_core.shape_model import IMPOSSIBLE_Z, MIN_FILMS, ShapeModel, held_out

Array = NDArray[np.float64]
Action = Literal["flag", "drop", "replace"]
ACTIONS: tuple[Action, ...] = get_args(Action)

SHAPE_FILE = "shape.safetensors"
REASONS = ("low confidence", "shape", "distance")
"""Why a point is flagged: the network is unsure; the other points put it elsewhere; its distances to most others are unheard of."""

# Together they flag 3.3 % of a good network's points and 5.7 % of a poor one's.
Z_LIMIT = 3.5
BROKEN_LIMIT = 0.3
CONFIDENCE_SHARE = 0.03


@dataclass(frozen=True, eq=False)
class Review:
    """What is to be looked at on N films.

    Attributes:
        flags: (N, K, 3) bool, in the order of `REASONS`.
        expected_px: (N, K, 2) where the shape puts each point, original px; NaN where it cannot say.
        z: (N, K) distance from there over what is usual; NaN where it cannot say.
    """

    flags: NDArray[np.bool_]
    expected_px: Array
    z: Array

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """(N, K) whether there is any reason."""
        return np.asarray(self.flags.any(axis=-1))

    def reasons(self, film: int) -> tuple[str, ...]:
        """K texts: the reasons of each point of a film, joined by ` + `; empty for a point that is not flagged."""
        return tuple(" + ".join(name for name, flag in zip(REASONS, flags, strict=True) if flag) for flags in self.flags[film])

    def apply(self, points_px: Array, action: Action) -> Array:
        """(N, K, 2) points with the flagged ones as they are, NaN (drop), or where the shape puts them, if it can say (replace)."""
        if action == "flag":
            return points_px
        instead = np.full_like(points_px, np.nan)
        if action == "replace":
            instead = np.where(np.isnan(self.expected_px), points_px, self.expected_px)
        return np.where(self.flagged[..., None], instead, points_px)


@dataclass(frozen=True, eq=False)
class Reviewer:
    """Flags points.

    Attributes:
        symbols: K landmarks.
        shape: of the training films.
        distances: of the training films.
        confidence_floor: confidence below which a point is unsure; NaN if nobody calibrated it.
    """

    symbols: tuple[str, ...]
    shape: ShapeModel
    distances: DistanceLimits
    confidence_floor: float

    @classmethod
    def fit(cls, symbols: Sequence[str], landmarks_mm: Array, confidence: NDArray[np.floating] | None = None) -> "Reviewer":
        """Learn what is usual.

        Args:
            symbols: K landmarks.
            landmarks_mm: (N, K, 2) of the training films, NaN where missing.
            confidence: (M, K) of films that the network did not learn from.

        Raises:
            ValueError: too few films or landmarks for a shape model.
        """
        shape, examined = held_out(landmarks_mm)
        possible = np.where((examined.z > IMPOSSIBLE_Z)[..., None], np.nan, landmarks_mm)
        floor = np.nan if confidence is None else confidence_floor(np.asarray(confidence, dtype=np.float64))
        return cls(tuple(symbols), shape, DistanceLimits.fit(possible), floor)

    def review(self, points_px: Array, confidence: NDArray[np.floating], spacing_mm: Array | None = None) -> Review:
        """Flag points.

        Args:
            points_px: (N, K, 2) original px.
            confidence: (N, K).
            spacing_mm: (N, 2) mm per original px; None: unknown, pixels are taken as square.  Only their aspect matters.
        """
        pixel = np.ones((len(points_px), 1, 2)) if spacing_mm is None else np.asarray(spacing_mm, dtype=np.float64)[:, None, :]
        points = np.asarray(points_px, dtype=np.float64) * pixel
        examined = self.shape.examine(points, Z_LIMIT)
        with np.errstate(invalid="ignore"):  # NaN: not known, not flagged
            flags = (confidence < self.confidence_floor, examined.z > Z_LIMIT, self.distances.broken(points) > BROKEN_LIMIT)
        return Review(np.stack(flags, axis=-1), examined.expected / pixel, examined.z)

    def save(self, path: Path) -> None:
        """Write everything to one safetensors file, whole or not at all."""
        parts = {
            "shape": self.shape.tensors(),
            "distances": self.distances.tensors(),
            "confidence": {"floor": np.array([self.confidence_floor])},
        }
        tensors = {f"{part}.{name}": np.ascontiguousarray(value) for part, values in parts.items() for name, value in values.items()}
        fresh = path.with_name(f".{path.name}.part")
        save_file(tensors, str(fresh), metadata={"landmarks": "\n".join(self.symbols)})
        fresh.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Reviewer":
        """Read what `save` wrote.

        Raises:
            InputError: the file cannot be read, or is another.
        """
        try:
            with safe_open(str(path), framework="numpy") as file:
                symbols = tuple((file.metadata() or {}).get("landmarks", "").split("\n"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            parts = {
                part: {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}
                for part in ("shape", "distances", "confidence")
            }
            made = cls(
                symbols, ShapeModel.of(parts["shape"]), DistanceLimits.of(parts["distances"]), float(parts["confidence"]["floor"][0])
            )
            if not len(symbols) == len(made.shape.mean_mm) == len(made.distances.usual):
                raise ValueError(f"{len(symbols)} landmarks are named")
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise InputError(f"{path}: is no shape file ({error}); copy it again, or remove it and predict without") from error
        return made


def confidence_floor(confidence: Array, share: float = CONFIDENCE_SHARE) -> float:
    """The limit below which this share of (M, K) confidences lies.

    One for all landmarks: where a network is always less sure it also errs more, and limits relative to each landmark's own
    confidence caught fewer large errors at equal numbers of flags.
    """
    return float(np.quantile(confidence, share))


def write_shape(folder: Path, data: TrainingData, confidence: NDArray[np.floating] | None = None) -> str | None:
    """Write the shape file of a data set's training films into a model's folder.

    Args:
        folder: of an ensemble or a member.
        data: whose training films are learned from.
        confidence: (M, K) of the model on films it did not learn from.

    Returns:
        Why there is none, if the films are too few: a model without one works, but flags nothing.
    """
    by_id = data.dataset.by_id()
    records = [by_id[film] for film in data.train_ids]
    landmarks_mm = np.stack([record.landmarks_px * record.spacing_mm for record in records])
    try:
        Reviewer.fit(data.dataset.protocol.symbols, landmarks_mm, confidence).save(folder / SHAPE_FILE)
    except ValueError as error:
        return f"no {SHAPE_FILE}: {error}"
    return None


def reviewer_of(folder: Path, protocol: Protocol, needed: bool) -> Reviewer | None:
    """The reviewer beside a model, or beside the ensemble that a member's folder lies in; None if there is none.

    Raises:
        InputError: none is there though needed, or it is of other landmarks.
    """
    path = next((path for path in (folder / SHAPE_FILE, folder.parent / SHAPE_FILE) if path.is_file()), None)
    if path is None:
        if needed:
            raise InputError(
                f"--refine: {folder}: no {SHAPE_FILE}; give a model that was trained on {MIN_FILMS} films or more, or leave it out"
            )
        return None
    reviewer = Reviewer.load(path)
    if reviewer.symbols != protocol.symbols:
        raise InputError(f"{path}: is of {len(reviewer.symbols)} landmarks, not those of {protocol.name}; take both from one export")
    return reviewer
