"""The one way a film's pixels are read: cache, duplicate search and predictor all come through here.

OpenCV turns a picture by its EXIF tag and Pillow does not; annotations are made on the stored pixels, so nothing here
turns anything.  Sizes are (height, width).
"""

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ceph_core.data import dicom
from ceph_core.errors import InputError

SUFFIXES = frozenset({".bmp", ".dcm", ".dicom", ".jpeg", ".jpg", ".jp2", ".pgm", ".png", ".tif", ".tiff", ".webp"})
"""What films come in, lower case.  A DICOM file is known by its content, whatever its name."""

_EXIF_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_ORIENTATION = 0x0112

WINDOW_16BIT = (0.1, 99.9)
"""Percentiles of a 16-bit film that become black and white: detectors fill 10 to 16 of the bits, so full range would leave some black."""


def read_grey(path: Path) -> NDArray[np.uint8]:
    """A film as (h, w) grey values 0-255, in stored orientation.

    Raises:
        InputError: the file is missing, truncated, damaged or no image.
    """
    return decode_grey(read_bytes(path), path)


def decode_grey(data: bytes, path: Path) -> NDArray[np.uint8]:
    """The same from a file's content; `path` is only named in errors.  Colour becomes luma, 16 bits are windowed by `WINDOW_16BIT`."""
    if dicom.is_dicom(data):
        shown = dicom.decode(data, path)
        return np.asarray(shown, dtype=np.uint8) if shown.dtype == np.uint8 else _windowed(shown)
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    film = None if _is_cut_jpeg(data) or not data else cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    if film is None:
        raise InputError(f"{path}: the image cannot be decoded (truncated, damaged or no image); restore it from its source")
    if film.dtype == np.uint8:
        return np.asarray(film, dtype=np.uint8)
    if film.dtype != np.uint16:
        raise InputError(f"{path}: pixels are {film.dtype}; allowed are 8 and 16 bit whole numbers; convert the film")
    return _windowed(film)


def _windowed(film: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = np.percentile(film, WINDOW_16BIT)
    scaled = film.astype(np.float32)  # and in place from here on: a large film's floats are in memory once
    scaled -= np.float32(low)
    scaled *= np.float32(255 / max(high - low, 1))
    np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled)
    return scaled.astype(np.uint8)


def read_bytes(path: Path) -> bytes:
    """A file's content; InputError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); restore the file or its permissions") from error


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header alone, in stored orientation.

    Raises:
        InputError: no header that says so.
    """
    if (size := _dicom_size(path)) is not None:
        return size
    try:
        # Pillow warns from 89 million pixels and refuses from 179; large detectors deliver 95.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                width, height = image.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no readable image header"
        raise InputError(f"{path}: {reason}; restore the film from its source") from error
    return height, width


def _dicom_size(path: Path) -> tuple[int, int] | None:
    """(height, width) of a DICOM file; None of any other, or of none."""
    try:
        with path.open("rb") as stream:
            if dicom.is_dicom(stream.read(dicom.HEAD)):
                stream.seek(0)
                return dicom.size(stream, path)
    except OSError:
        pass  # told by whoever reads it next
    return None


def is_turned(path: Path) -> bool:
    """Whether an EXIF tag asks viewers to turn the picture, which nothing here does."""
    if path.suffix.lower() not in _EXIF_SUFFIXES:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                # Pillow would decode a whole PNG to look behind its pixels.
                said = image.format != "PNG" or "exif" in image.info
                return said and image.getexif().get(_ORIENTATION, 1) not in (0, 1)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError):
        return False


def _is_cut_jpeg(data: bytes) -> bool:
    """Whether a JPEG ends before its end marker: decoders then pad with grey, and not every OpenCV says so.

    In a scan 0xFF is followed by 0x00 or a restart marker, so both markers stand out; a thumbnail's lie before the film's scan.
    """
    return data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
