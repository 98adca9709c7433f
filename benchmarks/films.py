"""Films for benchmarks: drawn cephalograms at the size of a scanned radiograph, with a film's grain."""

import shutil
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ceph_core.data.phantom import draw

SIZE = (2400, 1935)
SPACING_MM = 0.1
NUM_DRAWN = 4
"""Different films; further ones are copies under other names: what they cost is the same."""


def film(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """One (h, w) film."""
    large = cv2.resize(draw(0, number)[0], size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float32)
    return np.clip(large + np.random.default_rng(number).normal(0, 2, size), 0, 255).astype(np.uint8)


def write(folder: Path, suffix: str, num: int, size: tuple[int, int] = SIZE, channels: int = 1) -> list[Path]:
    """`num` film files; those of 1 channel are grey, of 3 the same grey as colour."""
    folder.mkdir(parents=True)
    files = [folder / f"{number:05d}{suffix}" for number in range(num)]
    for number, file in enumerate(files):
        if number < NUM_DRAWN:
            grey = film(number, size)
            cv2.imwrite(str(file), grey if channels == 1 else cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
        else:
            shutil.copyfile(files[number % NUM_DRAWN], file)
    return files
