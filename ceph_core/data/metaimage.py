"""MetaImage stacks (.mha), slice by slice: a stack of films is larger than memory, compressed or not.

Format: a text header, then the array with its first axis running fastest (itk.org, "MetaIO").
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ceph_core.errors import InputError

_TYPES = {"MET_UCHAR": "u1", "MET_USHORT": "u2", "MET_SHORT": "i2"}
_HEADER_BYTES = 65536
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Stack:
    """A stack of films in one file.

    Attributes:
        path: the file.
        count: films; each is height x width, with so many channels (1: grey).
        dtype: of a value, with its byte order.
        compressed: by zlib, all films in one stream.
        start: byte at which the array begins.
    """

    path: Path
    count: int
    height: int
    width: int
    channels: int
    dtype: np.dtype
    compressed: bool
    start: int

    @property
    def film_bytes(self) -> int:
        """Of one film, unpacked."""
        return self.height * self.width * self.channels * self.dtype.itemsize

    def films(self) -> Iterator[NDArray[np.generic]]:
        """Each film in turn, (h, w) or (h, w, channels); a few megabytes beside it are in memory.

        Raises:
            InputError: the file ends before the last film, or is damaged.
        """
        with self.path.open("rb") as file:
            file.seek(self.start)
            unpack = _Unpacked(file) if self.compressed else file
            for number in range(1, self.count + 1):
                try:
                    data = unpack.read(self.film_bytes)
                except zlib.error as error:
                    raise InputError(f"{self.path}: is damaged at film {number} of {self.count} ({error}); copy it again") from error
                if len(data) < self.film_bytes:
                    raise InputError(f"{self.path}: is cut short in film {number} of {self.count}; copy it again")
                film = np.frombuffer(data, self.dtype)
                yield film.reshape((self.height, self.width, self.channels) if self.channels > 1 else (self.height, self.width))


def open_stack(path: Path) -> Stack:
    """The header of a stack.

    Raises:
        InputError: no MetaImage, or of a kind that films do not come in; an uncompressed file that is too short.
    """
    fields, start = _header(path)
    try:
        sizes = [int(each) for each in fields["DimSize"].split()]
        kind, place = fields["ElementType"], fields["ElementDataFile"]
        channels = int(fields.get("ElementNumberOfChannels", "1"))
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: header: {error} is missing or no number; this is no stack of films") from error
    if len(sizes) == 4 and channels == 1 and sizes[0] in (1, 3):
        channels, *sizes = sizes
    problems = []
    if len(sizes) != 3 or min(sizes) < 1 or channels not in (1, 3):
        problems.append(
            f"{path}: header: DimSize {fields['DimSize']} with {channels} channels; width, height and films are needed, 1 or 3 channels"
        )
    if kind not in _TYPES:
        problems.append(f"{path}: header: ElementType {kind}; allowed are {', '.join(_TYPES)}")
    if place != "LOCAL":
        problems.append(f"{path}: header: ElementDataFile {place}; the array must be in the same file (LOCAL)")
    if problems:
        raise InputError(problems)
    is_big = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")).lower() == "true"
    dtype = np.dtype(_TYPES[kind]).newbyteorder(">" if is_big else "<")
    compressed = fields.get("CompressedData", "False").lower() == "true"
    width, height, count = sizes
    stack = Stack(path, count, height, width, channels, dtype, compressed, start)
    there = path.stat().st_size - start
    if not compressed and there < stack.film_bytes * count:
        raise InputError(f"{path}: is cut short: {there} bytes of {stack.film_bytes * count} for {count} films; copy it again")
    return stack


def _header(path: Path) -> tuple[dict[str, str], int]:
    """Fields by name, and where the array begins."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); restore the file or its permissions") from error
    fields: dict[str, str] = {}
    start = 0
    for line in head.splitlines(keepends=True):
        start += len(line)
        name, sign, value = line.decode("latin-1").partition("=")
        if not sign:
            break
        fields[name.strip()] = value.strip()
        if name.strip() == "ElementDataFile":  # the last, always
            return fields, start
    raise InputError(f"{path}: has no MetaImage header (name = value, ElementDataFile last); give the .mha file as it was downloaded")


class _Unpacked:
    """A zlib stream, read like a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._stream, self._left = file, zlib.decompressobj(), b""

    def read(self, size: int) -> bytes:
        parts: list[bytes] = []
        missing = size
        while missing:
            if not self._left and not (packed := self._stream.unconsumed_tail or self._file.read(_CHUNK)):
                break
            if not self._left:
                self._left = self._stream.decompress(packed, missing)
                continue
            part, self._left = self._left[:missing], self._left[missing:]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)
