"""Training, validation and test: no radiograph on two sides, and enough films to learn from."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ceph_core.check.films import problems
from ceph_core.check.finding import Finding, some
from ceph_core.config import Config, SourceConfig
from ceph_core.data.films import TrainingData
from ceph_core.data.records import CephDataset
from ceph_core.data.splits import Splits
from ceph_core.errors import InputError
from ceph_core.training.feedback import begin
from ceph_core.training.progressive import largest_batch

FEW_FILMS = 100
"""Training films below which the guide's advice for small data holds."""


def split(dataset: CephDataset, source: SourceConfig, cache_dir: Path) -> tuple[list[Finding], Splits | None]:
    """The data set's sides as every command makes them, and what was decided on the way."""
    try:
        splits = TrainingData.of(dataset, source, cache_dir).splits
    except InputError as error:
        return problems("splits", error.problems), None
    counts = Counter(row.split for row in splits.rows)
    sides = ", ".join(f"{count} {name}" for name, count in counts.items() if name != "double")
    found = [Finding("ok", "splits", f"{sides} films")]
    doubles = [note for note in splits.notes if "same radiograph" in note]
    how = next((note.partition(": ")[2] for note in splits.notes if "films of one radiograph" in note), "")
    for note in doubles:
        what, _, pairs = note.rpartition(": ")
        found.append(Finding("note", "doubles", f"{what}: {some(pairs.split(', '))}"))
    if not doubles:
        found.append(Finding("ok", "doubles", f"no radiograph stands on two sides ({how})"))
    return found, splits


def schedule(splits: Splits, dataset: CephDataset, config: Config) -> Iterator[Finding]:
    """What a schedule says of films and landmarks: every film's difficulty, factors of known landmarks."""
    try:
        begin(config, splits.ids("train"), dataset, ())
    except InputError as error:
        yield from problems("schedule", error.problems)


def enough(splits: Splits, config: Config) -> Iterator[Finding]:
    """Whether an epoch has a batch, and whether the films are few for a large network."""
    films, batch = len(splits.ids("train")), largest_batch(config)
    if batch > films:
        found = f"train.batch_size {config.train.batch_size} makes a batch of {batch} in the largest stage, of {films} training films"
        most = max(1, films * config.train.batch_size // batch)
        yield Finding("error", "batch", found, f"set train.batch_size to {most} at most, or give more films")
        return
    yield Finding("ok", "batch", f"{films} training films make {-(-films // batch)} steps of {batch} an epoch")
    if films < FEW_FILMS and config.model.name == "hrnet_w48":
        todo = "the guide takes hrnet_w32 then; more augmentation helps too (augment.strength)"
        yield Finding("note", "batch", f"{films} training films are few for hrnet_w48", todo)
