"""Landmarks that a run finds hard weigh more and get wider targets (the guide's hard negative mining; Shrivastava et al., CVPR 2016)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ceph_core.config import Config

Errors = tuple[float, ...]
"""(K,) running error of each landmark on the training films, as a share of the input's long side."""


def weights(config: Config, epoch: int, num_landmarks: int, errors: Errors | None) -> tuple[float, ...]:
    """(K,) weights in the loss, of mean 1."""
    hard = config.hard_landmarks
    if errors is None or not hard.weight or not _counts(config, epoch):
        return (1.0,) * num_landmarks
    raised = np.clip(_relative(errors) ** hard.weight, 1 / hard.max_weight, hard.max_weight)
    return _plain(raised / raised.mean())


def widening(config: Config, epoch: int, num_landmarks: int, errors: Errors | None) -> tuple[float, ...]:
    """(K,) factors on sigma, from 1 to `max_widen`."""
    hard = config.hard_landmarks
    if errors is None or not hard.widen or not _counts(config, epoch):
        return (1.0,) * num_landmarks
    return _plain(np.clip(_relative(errors) ** hard.widen, 1.0, hard.max_widen))


def running(config: Config, before: Errors | None, epoch_errors: Sequence[float]) -> Errors:
    """The running error after an epoch; a landmark that the epoch did not show (NaN) keeps what it had."""
    new = np.asarray(epoch_errors, dtype=np.float64)
    if before is None:
        return _plain(new)
    old, memory = np.asarray(before), config.hard_landmarks.memory
    mixed = np.where(np.isnan(old), new, memory * old + (1 - memory) * new)
    return _plain(np.where(np.isnan(new), old, mixed))


def _counts(config: Config, epoch: int) -> bool:
    return epoch > config.hard_landmarks.start * config.train.epochs


def _relative(errors: Errors) -> NDArray[np.float64]:
    """Errors over their mean; 1 where nothing is known."""
    known = np.asarray(errors, dtype=np.float64)
    mean = np.nanmean(known) if not np.isnan(known).all() else 0.0
    relative: NDArray[np.float64] = np.where(np.isnan(known), 1.0, known / mean) if mean > 0 else np.ones_like(known)
    return relative


def _plain(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
