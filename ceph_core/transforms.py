"""Augmentation: image and points moved together by albumentations, which only this file knows.

Randomness is a function of (seed, epoch, film) alone, so that a resumed run and a run with other workers draw the same.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # no look-up of newer versions on import

import albumentations as albu
import cv2
import numpy as np
from albumentations.core.type_definitions import Targets
from numpy.typing import NDArray

from ceph_core.config.augment import AugmentConfig
from ceph_core.elastic import Elastic
from ceph_core.shading import bands, blur, gamma

CUTOUT = (0.07, 0.30)
"""Height and width of the rectangle cut out, each a share of that side."""


class Augment:
    """One configuration's augmentation."""

    def __init__(self, config: AugmentConfig) -> None:
        ranges = config.resolved().model_dump()
        moves, shades = _moves(ranges), _shades(ranges)
        chain = [*moves, *shades]
        self._idle, self._stays = not chain, not moves
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
        if self._stays:
            return moved["image"], points
        keypoints = np.asarray(moved["keypoints"], dtype=np.float64).reshape(-1, 2)
        keypoints[missing] = np.nan
        return moved["image"], keypoints


def _moves(ranges: Mapping[str, Any]) -> list[albu.BasicTransform]:
    """What moves the film and its points; a range of 0 adds nothing."""
    chain: list[albu.BasicTransform] = []
    if ranges["flip_p"]:
        chain.append(albu.HorizontalFlip(p=ranges["flip_p"]))
    if ranges["rotation_deg"] or ranges["shift"] or ranges["scale"]:
        apart = ranges["anisotropic_p"] if ranges["scale"] else 1.0
        ways = [_affine(ranges, keep_ratio, p) for keep_ratio, p in ((False, apart), (True, 1 - apart)) if p]
        chain.append(ways[0] if len(ways) == 1 else albu.OneOf(ways, p=1.0))
    if ranges["elastic"]:
        chain.append(_Elastic(ranges["elastic"]))
    return chain


def _affine(ranges: Mapping[str, Any], keep_ratio: bool, p: float) -> albu.BasicTransform:
    """Rotation, shift and scale, x and y scaled together or apart."""
    turn, shift, scale = ranges["rotation_deg"], ranges["shift"], ranges["scale"]
    return albu.Affine(
        rotate=(-turn, turn),
        translate_percent={"x": (-shift, shift), "y": (-shift, shift)},
        scale=(1 - scale, 1 + scale),
        keep_ratio=keep_ratio,
        interpolation=cv2.INTER_LINEAR,
        border_mode=cv2.BORDER_CONSTANT,
        fill=0,
        p=p,
    )


def _shades(ranges: Mapping[str, Any]) -> list[albu.BasicTransform]:
    """What changes grey values alone, in the order in which a film comes by them; a range of 0 adds nothing."""
    brightness, contrast, gain = ranges["brightness"], ranges["contrast"], ranges["gain"]
    chain: list[albu.BasicTransform] = []
    if brightness or contrast:
        chain.append(albu.RandomBrightnessContrast(brightness_limit=brightness, contrast_limit=contrast, p=1.0))
    if gain:
        chain.append(albu.MultiplicativeNoise(multiplier=(1 - gain, 1 + gain), p=1.0))
    if ranges["gamma"]:
        chain.append(_Shade(partial(gamma, reach=ranges["gamma"]), p=1.0))
    if ranges["bands_p"]:
        chain.append(_Shade(bands, p=ranges["bands_p"]))
    if ranges["blur_p"]:
        chain.append(_Shade(blur, p=ranges["blur_p"]))
    if ranges["invert_p"]:
        chain.append(albu.InvertImg(p=ranges["invert_p"]))
    if ranges["cutout_p"]:
        hole = albu.CoarseDropout(num_holes_range=(1, 1), hole_height_range=CUTOUT, hole_width_range=CUTOUT, fill=0, p=ranges["cutout_p"])
        chain.append(hole)
    return chain


class _Elastic(albu.DualTransform):  # type: ignore[misc]
    """Our own: albumentations' moves key points only roughly (the test tells)."""

    _targets = (Targets.IMAGE, Targets.KEYPOINTS)

    def __init__(self, share: float) -> None:
        super().__init__(p=1.0)
        self.share = share

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        return {"elastic": Elastic(params["shape"][:2], self.share, self.random_generator)}

    def apply(self, img: NDArray[np.uint8], elastic: Elastic, **params: Any) -> Any:
        return cv2.remap(img, *elastic.sources(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)

    def apply_to_keypoints(self, keypoints: NDArray[Any], elastic: Elastic, **params: Any) -> NDArray[Any]:
        """Rows begin with x and y."""
        return np.column_stack([elastic.targets(keypoints[:, :2].astype(np.float64)), keypoints[:, 2:]])


class _Shade(albu.ImageOnlyTransform):  # type: ignore[misc]
    """A change of grey values that draws from the chain's generator."""

    def __init__(self, shade: Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]], p: float) -> None:
        super().__init__(p=p)
        self.shade = shade

    def apply(self, img: NDArray[np.uint8], **params: Any) -> NDArray[np.uint8]:
        return self.shade(img, self.random_generator)
