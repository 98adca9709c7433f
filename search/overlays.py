"""Small pictures of validation films with predicted and reference points: drawn by a trial, taken from its folder by the driver.

A trial has the points and no TensorBoard, the driver the reverse; a file in the trial's folder, written before the report that it
belongs to and gone when it was taken, passes from one to the other on any storage that a run may lie on.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

import cv2
import numpy as np

from ceph_core.inference import overlay
from ceph_core.training.examples import Example

FOLDER = "overlays"
LONG_SIDE = 512
"""px; about 30 kB a picture, so that a trial's few weigh little beside its checkpoint."""
_QUALITY = 85


def put(folder: Path, epoch: int, examples: Sequence[Example]) -> None:
    """Draw what a trial in this folder predicted after an epoch."""
    if examples:
        (folder / FOLDER).mkdir(exist_ok=True)
    for example in examples:
        picture = overlay.draw(example.image, example.points_px, None, example.reference_px, long_side=LONG_SIDE)
        _, data = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
        (folder / FOLDER / f"{epoch:05d}-{quote(example.film_id, safe='')}.jpg").write_bytes(data.tobytes())


def take(folder: Path, epoch: int) -> Iterator[tuple[str, bytes]]:
    """(film, JPEG) of the epoch; then they are gone, and with the last of them the folder."""
    waiting = sorted((folder / FOLDER).glob(f"{epoch:05d}-*.jpg"))
    for path in waiting:
        yield unquote(path.stem.partition("-")[2]), path.read_bytes()
        path.unlink()
    if waiting and not any((folder / FOLDER).iterdir()):
        shutil.rmtree(folder / FOLDER, ignore_errors=True)


def size_of(picture: bytes) -> tuple[int, int]:
    """Height and width, px."""
    decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert decoded is not None, "not a picture"
    return int(decoded.shape[0]), int(decoded.shape[1])
