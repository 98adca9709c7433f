"""Augmentation: image and points moved together by albumentations, which only this file knows.

Randomness is a function of (seed, epoch, film) alone, so that a resumed run and a run with other workers draw the same.
"""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # no look-up of newer versions on import

import albumentations as albu
import cv2
import numpy as np
from numpy.typing import NDArray

from ceph_core.config.augment import AugmentConfig


class Augment:
    """One configuration's augmentation."""

    def __init__(self, config: AugmentConfig) -> None:
        chain = _transforms(config)
        self._idle = not chain
        # NoOp claims the key points, without which albumentations warns about a chain that only shades.
        self._compose = albu.Compose(
            [albu.NoOp(), *chain], keypoint_params=albu.KeypointParams(format="xy", remove_invisible=False), seed=0
        )

    def __call__(
        self, image: NDArray[np.uint8], points: NDArray[np.float64], seed: int, epoch: int, film: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Move and shade one film.

        Args:
            image: (H, W) uint8, input frame.
            points: (K, 2) input px, NaN where missing.
            seed: of the run.
            epoch: the film is drawn anew each epoch.
            film: its number within the data set.

        Returns:
            The image (H, W) and its points (K, 2), which may lie off the image; NaN stays NaN.
        """
        if self._idle:
            return image, points
        self._compose.set_random_seed(int(np.random.SeedSequence((seed, epoch, film)).generate_state(1)[0]))
        missing = np.asarray(np.isnan(points).any(axis=-1))
        moved = self._compose(image=np.ascontiguousarray(image), keypoints=np.where(missing[:, None], 0.0, points))
        keypoints = np.asarray(moved["keypoints"], dtype=np.float64).reshape(-1, 2)
        keypoints[missing] = np.nan
        return moved["image"], keypoints


def _transforms(config: AugmentConfig) -> list[albu.BasicTransform]:
    """The chain of a configuration; a range of 0 adds nothing."""
    ranges = config.resolved()
    assert ranges.rotation_deg is not None and ranges.shift is not None and ranges.scale is not None
    chain: list[albu.BasicTransform] = []
    if ranges.flip_p:
        chain.append(albu.HorizontalFlip(p=ranges.flip_p))
    if ranges.rotation_deg or ranges.shift or ranges.scale:
        chain.append(
            albu.Affine(
                rotate=(-ranges.rotation_deg, ranges.rotation_deg),
                translate_percent={"x": (-ranges.shift, ranges.shift), "y": (-ranges.shift, ranges.shift)},
                scale=(1 - ranges.scale, 1 + ranges.scale),
                interpolation=cv2.INTER_LINEAR,
                border_mode=cv2.BORDER_CONSTANT,
                fill=0,
                p=1.0,
            )
        )
    if ranges.brightness or ranges.contrast:
        chain.append(albu.RandomBrightnessContrast(brightness_limit=ranges.brightness, contrast_limit=ranges.contrast, p=1.0))
    return chain
