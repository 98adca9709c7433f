"""Data sets: one reader a format, found by name or by what lies in the folder."""

import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from ceph_core.config.data import SourceConfig
from ceph_core.data.records import CephDataset
from ceph_core.errors import InputError


class Reader(Protocol):
    """A module that reads one format."""

    LOOKED_FOR: str
    """What a folder of the format has, in words."""

    @staticmethod
    def known_by(root: Path) -> str | None:
        """What shows that the folder, or file, is of this format; None if nothing does."""

    @staticmethod
    def read(source: SourceConfig, cache_dir: Path) -> CephDataset:
        """The films of `source.root`; what must be made of them first is kept in `cache_dir`."""


_LOOKED_THROUGH = ("isbi2015", "aariz", "cldetection2023", "cldetection2024", "phantom", "coco", "table")
READERS = {name: f"ceph_core.data.{name}" for name in _LOOKED_THROUGH}
"""Module by format, in the order in which a folder is looked at; imported only when asked, for some bring libraries of their own."""


def reader_of(name: str) -> Reader:
    """The reader of a format."""
    return cast(Reader, import_module(READERS[name]))


def read(source: SourceConfig, cache_dir: Path) -> CephDataset:
    """The films of `source`; drawn ones, kept in `cache_dir`, if it names no folder.

    Raises:
        InputError: no such folder, a folder of no known format, or whatever is wrong with the data, all problems at once.
    """
    name, why = _resolved_format(source)
    dataset = reader_of(name).read(source, cache_dir)
    return replace(dataset, notes=(why, *dataset.notes)) if why else dataset


def default_cache_dir() -> Path:
    """The environment's CEPH_CACHE_DIR, else `ceph-search` in the user's cache folder (XDG)."""
    if given := os.environ.get("CEPH_CACHE_DIR"):
        return Path(given).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "ceph-search"


def _resolved_format(source: SourceConfig) -> tuple[str, str]:
    """The format's name, and what it was known by where the data themselves had to say."""
    root = source.root
    if root is None:
        if source.format not in ("auto", "phantom"):
            raise InputError(f"--format {source.format}: needs a data folder; name it with --data")
        return "phantom", ""
    if not root.exists():
        raise InputError(f"--data {root}: no such folder; name the folder that holds the data set")
    if source.format != "auto":
        return source.format, ""
    for name in READERS:
        if (mark := reader_of(name).known_by(root)) is not None:
            return name, f"--data {root}: read as {name}, for it has {mark}"
    looked_for = "\n".join(f"  {name}: {reader_of(name).LOOKED_FOR}" for name in READERS)
    raise InputError(f"--data {root}: no known data set; name the folder that holds one of these, or write a table:\n{looked_for}")
