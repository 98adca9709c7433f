"""The checklist before a run: everything that can be looked at is, whatever else is wrong."""

from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import torch

from ceph_core import data as datasets
from ceph_core.check import films, settings, sides
from ceph_core.check.anatomy import anatomy
from ceph_core.check.finding import Finding
from ceph_core.check.folder import folder
from ceph_core.check.memory import half_precision, memory
from ceph_core.config import Config, SourceConfig
from ceph_core.data.records import CephDataset
from ceph_core.errors import InputError
from ceph_core.geometry import data_aspect
from ceph_core.landmarks import ISBI19


def checklist(source: SourceConfig, config: Config, cache_dir: Path, device: torch.device, out: Path | None = None) -> list[Finding]:
    """Look at data set, settings, memory and output folder.

    Args:
        source: the films.
        config: the training.
        cache_dir: decoded films are kept there, for the training too.
        device: the training's.
        out: the training's folder.
    """
    found, dataset = _data(source, config, cache_dir)
    aspect = data_aspect([record.size for record in dataset.records]) if dataset and dataset.records else None
    num_landmarks = len(dataset.protocol) if dataset else len(ISBI19)
    looks: list[Callable[[], Iterable[Finding]]] = [
        lambda: settings.sigma(config),
        lambda: settings.guide(config, half_precision(config.train, device)),
        lambda: settings.weights(config),
        lambda: memory(config, aspect, num_landmarks, device),
    ]
    if out is not None:
        looks.append(lambda: folder(out))
    return [*found, *chain.from_iterable(look() for look in looks)]


def _data(source: SourceConfig, config: Config, cache_dir: Path) -> tuple[list[Finding], CephDataset | None]:
    """What is said of the data set, and its films that can be read."""
    try:
        dataset = datasets.read(source, cache_dir)
    except InputError as error:
        found = films.problems("data", error.problems)
        if source.root is not None and source.root.is_dir():
            found += films.decode_below(source.root, error.problems, cache_dir)
        return [
            *found,
            Finding("note", "data", "spacing, landmarks, anatomy and splits can be checked once the data set can be read"),
        ], None
    name = (
        f"{dataset.name}: {len(dataset.records)} films with {len(dataset.protocol)} landmarks ({dataset.protocol.name}) in {dataset.root}"
    )
    found = [Finding("ok", "data", name)]
    decoded, dataset = films.decode(dataset, config, cache_dir)
    found += decoded
    if not dataset.records:
        return found, dataset
    found += films.spacing(dataset)
    split, splits = sides.split(dataset, source, cache_dir)
    found += films.points(dataset, splits.ids("train") if splits else ())
    found += anatomy(dataset, config)
    found += split
    if splits:
        found += sides.enough(splits, config)
        found += sides.schedule(splits, dataset, config)
    return found, dataset
