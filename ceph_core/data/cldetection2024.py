"""The CL-Detection 2024 challenge: films and labels.csv (image file, spacing(mm), p1x, p1y, ..., p53y).

Its 53 landmarks stay numbers: their anatomy is not part of the files.
"""

from pathlib import Path

from ceph_core.config.data import SourceConfig
from ceph_core.data.records import CephDataset
from ceph_core.data.table import known_by_count, read_table
from ceph_core.errors import InputError

LABELS = "labels.csv"
NUM_LANDMARKS = 53
LOOKED_FOR = f"{LABELS} with {NUM_LANDMARKS} numbered points"


def known_by(root: Path) -> str | None:
    """A table of so many numbered points."""
    return known_by_count(root, NUM_LANDMARKS)


def read(source: SourceConfig, cache_dir: Path) -> CephDataset:
    """The challenge's films; nothing is decoded and nothing goes into the cache.

    Raises:
        InputError: everything that is wrong, one line each.
    """
    assert source.root is not None
    root = source.root.absolute()
    file = root if root.is_file() else root / LABELS
    if not file.is_file():
        raise InputError(f"{file}: no such file; it holds the landmarks and mm a pixel of CL-Detection 2024, add it")
    return read_table(file, source, "cldetection2024", NUM_LANDMARKS)
