"""DICOM films: grey values and mm a pixel.  Nothing else of a header leaves this file, so that no patient's data do."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, convert_color_space

from ceph_core.errors import InputError

_MARK_AT, _MARK = 128, b"DICM"
HEAD = _MARK_AT + len(_MARK)
"""Bytes of a file that show whether it is DICOM."""
MAX_SPACING_MM = 5.0
"""Larger than any detector's pixel."""
_SIZE_TAGS = ["Rows", "Columns", "NumberOfFrames"]
_SPACING_TAGS = ["PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "EstimatedRadiographicMagnificationFactor"]
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""ITU-R BT.601, as OpenCV turns colour into grey."""


@dataclass(frozen=True)
class Spacing:
    """What a header says of a pixel's size.

    Attributes:
        mm: (x, y) mm a pixel.
        tag: that says so.
        note: what a user should know of it; empty if there is nothing.
    """

    mm: tuple[float, float]
    tag: str
    note: str = ""


def is_dicom(data: bytes) -> bool:
    """Whether a file's beginning (132 bytes at least) is a DICOM file's."""
    return data[_MARK_AT:HEAD] == _MARK


def decode(data: bytes, path: Path) -> NDArray[np.float32] | NDArray[np.uint8]:
    """A film's (h, w) grey values as they are meant to be seen, dark to bright: uint8 if its window says what is black and what white,
    else float32 in the detector's own range.

    Modality and window (PS3.3 C.11.1, C.11.2) are applied, MONOCHROME1 is inverted, colour becomes luma.

    Raises:
        InputError: no pixels, several frames, a compression that cannot be read, damage.
    """
    with _named(path):
        header = pydicom.dcmread(BytesIO(data))
        if "PixelData" not in header:
            raise InputError(f"{path}: a DICOM file without pixels; export the image")
        if int(header.get("NumberOfFrames") or 1) > 1:
            raise InputError(f"{path}: a DICOM file of {header.NumberOfFrames} frames; one film a file is needed")
        interpretation = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
        pixels = header.pixel_array
        if pixels.ndim == 3:
            if interpretation.startswith("YBR"):
                pixels = convert_color_space(pixels, interpretation, "RGB")
            return np.asarray(np.rint(pixels[..., :3].astype(np.float32) @ _LUMA), dtype=np.uint8)
        shown = apply_modality_lut(pixels, header)
        bounds = _window(header)
        if bounds is None and header.get("VOILUTSequence"):
            shown = apply_voi_lut(shown, header)
            bounds = 0.0, float(2 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1)
        grey = np.asarray(shown, dtype=np.float32)
        if bounds is None and int(header.get("BitsStored", 8)) <= 8 and not header.get("PixelRepresentation"):
            bounds = 0.0, 255.0
        if bounds is not None:
            low, high = bounds
            grey = np.clip((grey - np.float32(low)) * np.float32(255 / max(high - low, 1e-6)), 0, 255)
            if interpretation == "MONOCHROME1":
                grey = 255 - grey
            return np.asarray(np.rint(grey), dtype=np.uint8)
        return -grey if interpretation == "MONOCHROME1" else grey


def size(stream: BinaryIO, path: Path) -> tuple[int, int]:
    """(height, width) from the header.

    Raises:
        InputError: it does not say so.
    """
    with _named(path):
        header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=_SIZE_TAGS)
        if not header.get("Rows") or not header.get("Columns"):
            raise InputError(f"{path}: a DICOM file without pixels; export the image")
        return int(header.Rows), int(header.Columns)


def spacing(path: Path) -> Spacing | None:
    """Millimetres a pixel of a DICOM file; None if it does not say, or is none.

    PixelSpacing is in the patient; ImagerPixelSpacing at the detector, where a film is magnified: divided by the estimated magnification
    where the header has it, else taken as it is and noted (PS3.3 10.7).

    Raises:
        InputError: damage, or mm that no pixel has.
    """
    with path.open("rb") as stream:
        if not is_dicom(stream.read(HEAD)):
            return None
        stream.seek(0)
        with _named(path):
            header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=_SPACING_TAGS)
            for tag in _SPACING_TAGS[:3]:
                if given := header.get(tag):
                    found = _spacing(tag, tuple(float(each) for each in given), header)
                    if not all(0 < each <= MAX_SPACING_MM for each in found.mm):
                        raise InputError(f"{path}: {tag}: {found.mm} must be mm a pixel above 0 and up to {MAX_SPACING_MM:g}; correct it")
                    return found
    return None


def _spacing(tag: str, row_column_mm: tuple[float, ...], header: Any) -> Spacing:
    y, x = row_column_mm[0], row_column_mm[-1]
    if tag != "ImagerPixelSpacing":
        return Spacing((x, y), tag)
    factor = float(header.get("EstimatedRadiographicMagnificationFactor") or 0)
    if factor > 0:
        return Spacing((x / factor, y / factor), tag, f"divided by the estimated magnification {factor:g}")
    return Spacing((x, y), tag, "measured at the detector, where a head is some 5 to 15 % larger; mm are as much too large")


def _window(header: Any) -> tuple[float, float] | None:
    """Values that become black and white by the first window; None without one."""
    if header.get("WindowCenter") in (None, "") or header.get("WindowWidth") in (None, ""):
        return None
    center, width = (_first(header[tag].value) for tag in ("WindowCenter", "WindowWidth"))
    if width <= 1:
        return None
    return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, MultiValue) else value)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the library as ours, without what stands in the header; its warnings on values it mends are not shown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except InvalidDicomError:
        raise InputError(f"{path}: a damaged DICOM file; restore it from its source") from None
    except Exception as error:  # pydicom and its decoders raise whatever their parts do
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: the DICOM file cannot be read ({type(error).__name__}: {reason}); restore it, or export it "
            "uncompressed (JPEG needs the extra: pip install -e '.[formats]')"
        ) from error
