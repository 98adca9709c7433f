"""Which film is for what: training, validation (the search looks at it) and locked test, with one radiograph never on two sides."""

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ceph_core.config.data import SourceConfig
from ceph_core.data.records import CephDataset, CephRecord
from ceph_core.errors import InputError

TRAIN, VALIDATION, TEST, DOUBLE = "train", "validation", "test", "double"
MIN_FILMS = 2
"""Films that every side needs at least."""

COLUMNS = ("film_id", "split", "fold", "group")

FindDuplicates = Callable[[Mapping[str, Path]], Iterable[tuple[str, str]]]


@dataclass(frozen=True)
class Row:
    """One film: its split, its fold among train and validation films (-1 elsewhere) and its radiograph's group."""

    film_id: str
    split: str
    fold: int
    group: str


@dataclass(frozen=True)
class Splits:
    """Every film's split, ordered by film id.

    Splits are "train", "validation", the locked "test", further locked ones under their own name ("test2"), and "double":
    films dropped from training because their radiograph also stands in a locked split or in a validation split of the
    data's own.  `notes` say in words what was decided; they are for the log and not part of the file.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def ids(self, split: str) -> tuple[str, ...]:
        """Film ids of a split, ordered; none if there is no such split."""
        return tuple(row.film_id for row in self.rows if row.split == split)

    def without_validation(self) -> "Splits":
        """These splits, validation films among the training films."""
        return Splits(tuple(replace(row, split=TRAIN) if row.split == VALIDATION else row for row in self.rows), self.notes)

    def to_csv(self, path: Path) -> None:
        """Write one row a film: film_id, split, fold, group."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows((row.film_id, row.split, row.fold, row.group) for row in self.rows)

    @classmethod
    def from_csv(cls, path: Path) -> "Splits":
        """Read what `to_csv` wrote.

        Raises:
            InputError: other columns, a fold that is no whole number, a film listed twice.
        """
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise InputError(f"{path}: columns are {', '.join(reader.fieldnames or ())}; needed are {', '.join(COLUMNS)}")
            lines = list(reader)
        problems = [
            f"{path}: line {number}: fold {line['fold']!r} must be a whole number, -1 for none"
            for number, line in enumerate(lines, start=2)
            if not (line["fold"] or "").removeprefix("-").isdecimal()
        ]
        twice = [film_id for film_id, count in Counter(line["film_id"] for line in lines).items() if count > 1]
        problems += [f"{path}: film {film_id} is listed more than once; keep one row" for film_id in twice]
        if problems:
            raise InputError(problems)
        return cls(tuple(Row(line["film_id"], line["split"], int(line["fold"]), line["group"]) for line in lines))


def assign(dataset: CephDataset, source: SourceConfig, find_duplicates: FindDuplicates | None = None, to_learn: bool = True) -> Splits:
    """Split a data set: its own splits where it has them, drawn ones (grouped, seeded) where not.

    The result does not depend on the order of the records.

    Args:
        dataset: the films; a film with no split of its own counts as training.
        source: shares, seed and number of folds.
        find_duplicates: pairs of films that show one radiograph, asked only if the data set does not list them; needed then.
        to_learn: whether films to train on are needed; else a data set whose films are all locked is taken as it stands.

    Raises:
        InputError: too few films for the splits or folds.
    """
    records = sorted(dataset.records, key=lambda record: record.film_id)
    listed = dataset.same_radiograph
    if listed is None:
        assert find_duplicates is not None, "nobody listed the doubles of this data set"
        pairs = find_duplicates({record.film_id: record.image for record in records})
    else:
        pairs = listed
    group_of = _groups(records, pairs)
    split_of = _own_splits(records)
    found = "looked for in the pixels" if listed is None else "listed beside the data"
    notes = [*dataset.notes, f"{dataset.name}: films of one radiograph were {found}"]
    notes += _drop_doubles(split_of, group_of)
    if not to_learn and all(_is_locked(split) for split in split_of.values()):
        return Splits(tuple(Row(film_id, split, -1, group_of[film_id]) for film_id, split in split_of.items()), tuple(notes))

    if not any(_is_locked(split) for split in split_of.values()):
        _draw(split_of, group_of, TEST, round(source.test_share * len(records)), source.split_seed, dataset.name)
        notes.append(f"{dataset.name}: no test split; {_count(split_of, TEST)} of {len(records)} films were drawn and locked as test")
    if VALIDATION not in split_of.values() and source.validation_share > 0:
        _draw(split_of, group_of, VALIDATION, round(source.validation_share * _count(split_of, TRAIN)), source.split_seed, dataset.name)
        notes.append(f"{dataset.name}: no validation split; {_count(split_of, VALIDATION)} films were drawn from training")

    for split in (TRAIN, VALIDATION) if source.validation_share > 0 else (TRAIN,):
        if (count := _count(split_of, split)) < MIN_FILMS:
            raise InputError(
                f"{dataset.name}: {count} {split} films are too few; needed are at least {MIN_FILMS}, without doubles; add films"
            )
    fold_of = _folds(split_of, group_of, source, dataset.name)
    rows = tuple(Row(film_id, split, fold_of.get(film_id, -1), group_of[film_id]) for film_id, split in split_of.items())
    return Splits(rows, tuple(notes))


def _groups(records: Sequence[CephRecord], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Group by film id: films joined by a pair or by the data set's own group, named after the smallest id among them."""
    parent = {record.film_id: record.film_id for record in records}

    def root(film_id: str) -> str:
        while parent[film_id] != film_id:
            parent[film_id] = film_id = parent[parent[film_id]]
        return film_id

    first_of: dict[str, str] = {}
    own = [(first_of.setdefault(record.group, record.film_id), record.film_id) for record in records if record.group is not None]
    for one, other in [*pairs, *own]:
        smaller, larger = sorted((root(one), root(other)))
        parent[larger] = smaller
    return {film_id: root(film_id) for film_id in parent}


def _own_splits(records: Sequence[CephRecord]) -> dict[str, str]:
    """The data set's own splits; "test1" (or the first of what there is) is the test where no split is named "test"."""
    main_test = min((record.split for record in records if record.split and _is_locked(record.split)), default=TEST)
    return {record.film_id: TEST if record.split == main_test else record.split or TRAIN for record in records}


def _is_locked(split: str) -> bool:
    return split.startswith(TEST)


def _drop_doubles(split_of: dict[str, str], group_of: Mapping[str, str]) -> list[str]:
    """Mark films whose radiograph also stands on a side that judges them; the judging side keeps its film."""
    notes = []
    for sides, taken_from in (("locked", (TRAIN, VALIDATION)), (VALIDATION, (TRAIN,))):
        judges = {group_of[film]: film for film, split in split_of.items() if (_is_locked(split) if sides == "locked" else split == sides)}
        doubles = {film: judges[group_of[film]] for film, split in split_of.items() if split in taken_from and group_of[film] in judges}
        split_of.update(dict.fromkeys(doubles, DOUBLE))
        if doubles:
            shown = ", ".join(f"{film} = {judge}" for film, judge in doubles.items())
            notes.append(f"{len(doubles)} films are out of training because a {sides} film shows the same radiograph: {shown}")
    return notes


def _draw(split_of: dict[str, str], group_of: Mapping[str, str], split: str, wanted: int, seed: int, name: str) -> None:
    """Move whole groups from training to `split`, in an order that hangs on seed and group name alone, until `wanted` is nearest."""
    members: dict[str, list[str]] = {}
    for film, current in split_of.items():
        if current == TRAIN:
            members.setdefault(group_of[film], []).append(film)
    available = sum(map(len, members.values()))
    target, drawn = max(MIN_FILMS, wanted), 0
    for group in sorted(members, key=lambda group: _order(seed, split, group)):
        if len(members[group]) < 2 * (target - drawn):
            split_of.update(dict.fromkeys(members[group], split))
            drawn += len(members[group])
    if drawn < MIN_FILMS or available - drawn < MIN_FILMS:
        raise InputError(
            f"{name}: {available} training films of {len(members)} radiographs are too few to draw a {split} split from; "
            f"needed are {MIN_FILMS} films for {split} and {MIN_FILMS} to stay in training, no radiograph in both; add films"
        )


def _folds(split_of: Mapping[str, str], group_of: Mapping[str, str], source: SourceConfig, name: str) -> dict[str, int]:
    """Folds over train and validation films: whole groups, the largest first, each to the lightest fold."""
    sizes = Counter(group_of[film] for film, split in split_of.items() if split in (TRAIN, VALIDATION))
    if len(sizes) < source.num_folds:
        raise InputError(
            f"{name}: num_folds {source.num_folds} needs as many radiographs outside the test and finds {len(sizes)}; add films or lower it"
        )
    loads = [0] * source.num_folds
    fold_of_group = {}
    for group in sorted(sizes, key=lambda group: (-sizes[group], _order(source.split_seed, "fold", group))):
        lightest = loads.index(min(loads))
        fold_of_group[group] = lightest
        loads[lightest] += sizes[group]
    return {film: fold_of_group[group_of[film]] for film, split in split_of.items() if split in (TRAIN, VALIDATION)}


def _order(seed: int, purpose: str, group: str) -> str:
    return hashlib.sha256(f"{seed} {purpose} {group}".encode()).hexdigest()


def _count(split_of: Mapping[str, str], split: str) -> int:
    return sum(current == split for current in split_of.values())
