import random
from pathlib import Path

import numpy as np
import pytest

from ceph_core.config import SourceConfig
from ceph_core.data.records import CephDataset, CephRecord
from ceph_core.data.splits import Splits, assign
from ceph_core.errors import InputError
from ceph_core.landmarks import ISBI19

SOURCE = SourceConfig(validation_share=0.2, test_share=0.25, num_folds=3, split_seed=1)


def _dataset(split_of, pairs=(), groups=None):
    records = tuple(
        CephRecord(film_id, Path(f"/{film_id}.png"), (8, 6), np.zeros((19, 2)), (0.1, 0.1), split, (groups or {}).get(film_id))
        for film_id, split in split_of.items()
    )
    return CephDataset("drawn", Path("/"), ISBI19, records, pairs)


def _films(first, last, split):
    return {f"{number:03d}": split for number in range(first, last)}


ISBI_LIKE = {**_films(0, 30, "train"), **_films(30, 40, "test1"), **_films(40, 45, "test2")}


def _sides(splits):
    return {row.film_id: row.split for row in splits.rows}


def test_own_test_is_locked_and_doubles_leave_training():
    splits = assign(_dataset(ISBI_LIKE, (("001", "031"), ("041", "002"), ("003", "004"), ("032", "033"))), SOURCE)
    assert splits.ids("test") == tuple(_films(30, 40, None))
    assert splits.ids("test2") == tuple(_films(40, 45, None))
    assert splits.ids("double") == ("001", "002")
    assert len(splits.ids("validation")) == 6  # 20 % of the 28 films left
    assert len(splits.ids("train")) == 22
    assert any("2 films are out of training" in note and "001 = 031, 002 = 041" in note for note in splits.notes)


def test_a_group_never_stands_on_two_sides_even_through_a_chain():
    pairs = [(f"{number:03d}", f"{number + 1:03d}") for number in range(0, 24, 3)] + [
        (f"{number:03d}", f"{number + 2:03d}") for number in range(0, 24, 3)
    ]
    for seed in range(10):
        splits = assign(_dataset(_films(0, 40, None), tuple(pairs)), SOURCE.model_copy(update={"split_seed": seed}))
        for key in ("split", "fold"):
            for group in {row.group for row in splits.rows}:
                assert len({getattr(row, key) for row in splits.rows if row.group == group}) == 1
        assert len({row.group for row in splits.rows}) == 40 - len(pairs)
        assert abs(len(splits.ids("test")) - 10) <= 1  # groups are of three


def test_a_chain_through_training_reaches_the_test():
    assert assign(_dataset(ISBI_LIKE, (("005", "006"), ("006", "030"))), SOURCE).ids("double") == ("005", "006")


def test_groups_of_the_data_set_count_like_pairs():
    splits = assign(_dataset(ISBI_LIKE, (), {"007": "person", "035": "person"}), SOURCE)
    assert splits.ids("double") == ("007",)
    assert {row.group for row in splits.rows if row.film_id in ("007", "035")} == {"007"}


def test_own_validation_is_kept_and_its_doubles_leave_training():
    splits = assign(_dataset({**ISBI_LIKE, **_films(50, 55, "validation")}, (("010", "051"), ("052", "036"))), SOURCE)
    assert splits.ids("validation") == ("050", "051", "053", "054")
    assert splits.ids("double") == ("010", "052")


def test_order_of_records_does_not_matter_and_the_seed_does():
    dataset = _dataset(_films(0, 40, None), (("001", "002"),))
    shuffled = dict(random.Random(0).sample(list(_films(0, 40, None).items()), 40))
    splits = assign(dataset, SOURCE)
    assert splits == assign(_dataset(shuffled, (("002", "001"),)), SOURCE)
    assert splits != assign(dataset, SOURCE.model_copy(update={"split_seed": 2}))


def test_a_film_more_moves_few_others():
    before, after = (_sides(assign(_dataset(_films(0, num, None), ()), SOURCE)) for num in (60, 61))
    assert sum(before[film_id] != after[film_id] for film_id in before) <= 3


def test_folds_are_even_and_hold_training_and_validation_films_alone():
    splits = assign(_dataset(ISBI_LIKE, (("001", "031"),)), SOURCE)
    by_fold = [[row.film_id for row in splits.rows if row.fold == fold] for fold in range(-1, 3)]
    assert sorted(by_fold[0]) == sorted(splits.ids("test") + splits.ids("test2") + splits.ids("double"))
    assert max(map(len, by_fold[1:])) - min(map(len, by_fold[1:])) <= 1


def test_duplicates_are_looked_for_only_where_nobody_listed_them():
    asked = []

    def find(films):
        asked.append(films)
        return (("001", "031"),)

    assert assign(_dataset(ISBI_LIKE, None), SOURCE, find).ids("double") == ("001",)
    assert asked[0]["031"] == Path("/031.png")
    assert assign(_dataset(ISBI_LIKE, ()), SOURCE, find).ids("double") == ()
    assert len(asked) == 1


def test_test2_alone_is_the_test():
    assert assign(_dataset({**_films(0, 10, "train"), **_films(10, 13, "test2")}, ()), SOURCE).ids("test") == ("010", "011", "012")


@pytest.mark.parametrize(
    ("films", "pairs", "match"),
    [
        (_films(0, 3, None), (), "3 training films of 3 radiographs are too few to draw a test"),
        ({**_films(0, 3, None), **_films(3, 9, "test")}, (), "too few to draw a validation split .* 2 films for validation and 2 to stay"),
        (_films(0, 5, None), tuple((f"{one:03d}", "004") for one in range(4)), "5 training films of 1 radiographs"),
        (
            {**_films(0, 4, None), **_films(4, 9, "test")},
            (("000", "001"), ("002", "003")),
            "num_folds 3 needs as many radiographs .* finds 2",
        ),
        (
            {**_films(0, 1, "train"), **_films(1, 9, "test"), **_films(9, 12, "validation")},
            (),
            "1 train films are too few; needed are at least 2",
        ),
    ],
)
def test_too_few_films(films, pairs, match):
    with pytest.raises(InputError, match=match):
        assign(_dataset(films, pairs), SOURCE)


def test_csv_round_trip(tmp_path):
    splits = assign(_dataset(ISBI_LIKE, (("001", "031"),)), SOURCE)
    splits.to_csv(tmp_path / "splits.csv")
    assert Splits.from_csv(tmp_path / "splits.csv") == splits
    assert (tmp_path / "splits.csv").read_text().splitlines()[0] == "film_id,split,fold,group"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("film,split\n1,train\n", "columns are film, split; needed are film_id, split, fold, group"),
        (
            "film_id,split,fold,group\n1,train,x,1\n1,train,0,1\n",
            "line 2: fold 'x' must be a whole number.*\n.*film 1 is listed more than once",
        ),
        ("", "columns are ; needed are"),
    ],
)
def test_broken_csv(tmp_path, text, match):
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(InputError, match=match):
        Splits.from_csv(tmp_path / "splits.csv")
