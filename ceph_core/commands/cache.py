"""`python -m ceph_core cache`: what the film cache holds, and how to empty it."""

import argparse
from pathlib import Path

from ceph_core.data import default_cache_dir
from ceph_core.data.cache import LOCK_FILE, limit_from_environment, purge, usage
from ceph_core.errors import InputError

NAME = "cache"
HELP = "show or empty the cache of films"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--purge", action="store_true", help="remove every cached and drawn film; the next run makes them again")
    parser.add_argument(
        "--dir", type=Path, default=None, help="cache folder (default: CEPH_CACHE_DIR, else ceph-search in the user's cache folder)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the cache's files and sizes, or purge it; InputError if `--dir` names a folder that is no cache, by mistake perhaps."""
    folder: Path = args.dir or default_cache_dir()
    if args.dir and not (folder / LOCK_FILE).exists():
        raise InputError(f"--dir {folder}: no film cache (it holds no {LOCK_FILE}); name the folder of one or leave the option out")
    if args.purge:
        print(f"{folder}: {purge(folder) / 1e6:.1f} MB freed")
        return 0
    files = usage(folder)
    for name, size in files.items():
        print(f"{size / 1e6:10.1f} MB  {name}")
    print(f"{folder}: {sum(files.values()) / 1e9:.3f} of {limit_from_environment() / 1e9:g} GB, {len(files)} files, longest unused first")
    return 0
