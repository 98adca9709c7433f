"""Data sets: one reader a format, found by name or by what lies in the folder."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from ceph_core.config.data import SourceConfig
from ceph_core.data.records import CephDataset
from ceph_core.errors import InputError


@dataclass(frozen=True)
class Reader:
    """A module with `read(source, cache_dir) -> CephDataset`, and the entry (a glob) by which a folder of its format is known."""

    module: str
    mark: str

    def __call__(self, source: SourceConfig, cache_dir: Path) -> CephDataset:
        """Read the data set; the module is imported now, so that a reader's dependencies cost only those who use it."""
        reader: Callable[[SourceConfig, Path], CephDataset] = import_module(self.module).read
        return reader(source, cache_dir)


READERS = {
    "isbi2015": Reader("ceph_core.data.isbi2015", mark="RawImage"),
    "phantom": Reader("ceph_core.data.phantom", mark="train-*.json"),
}


def read(source: SourceConfig, cache_dir: Path) -> CephDataset:
    """The films of `source`; drawn ones, kept in `cache_dir`, if it names no folder.

    Raises:
        InputError: no such folder, a folder of no known format, or whatever is wrong with the data, all problems at once.
    """
    return READERS[_resolved_format(source)](source, cache_dir)


def default_cache_dir() -> Path:
    """The environment's CEPH_CACHE_DIR, else `ceph-search` in the user's cache folder (XDG)."""
    if given := os.environ.get("CEPH_CACHE_DIR"):
        return Path(given).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "ceph-search"


def _resolved_format(source: SourceConfig) -> str:
    root = source.root
    if root is None:
        if source.format not in ("auto", "phantom"):
            raise InputError(f"--format {source.format}: needs a data folder; name it with --data")
        return "phantom"
    if not root.is_dir():
        raise InputError(f"--data {root}: {'is no folder' if root.exists() else 'no such folder'}; name the folder that holds the data set")
    if source.format != "auto":
        return source.format
    for name, reader in READERS.items():
        if any(root.glob(reader.mark)):
            return name
    looked_for = ", ".join(f"{reader.mark} ({name})" for name, reader in READERS.items())
    raise InputError(f"--data {root}: no known data set; looked for {looked_for}; name the folder that holds one of them")
