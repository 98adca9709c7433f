"""Easy films first: who is admitted when, and what makes a film hard."""

import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drawn_films import tiny
from pydantic import ValidationError

from ceph_core.config import Config, CurriculumConfig
from ceph_core.errors import InputError
from ceph_core.training.curriculum import admitted, from_csv, from_images, measures_losses, share_admitted
from ceph_core.training.feedback import Feedback, Seen, after, restored, saved
from ceph_core.training.plan import plan, relative_cost

FILMS = tuple(f"{number:03d}" for number in range(30))


def config(epochs: int = 250, **curriculum: Any) -> Config:
    return tiny(train__epochs=epochs, **{f"curriculum__{key}": value for key, value in curriculum.items()})


def test_the_guide_s_stages_admit_easy_medium_all() -> None:
    guide = config(difficulty="image")
    shares = [share_admitted(guide.curriculum, epoch, 250) for epoch in (1, 50, 51, 150, 151, 250)]
    assert shares == [0.34, 0.34, 0.67, 0.67, 1.0, 1.0]


@pytest.mark.parametrize("epochs", [1, 3, 10, 250])
def test_films_are_only_ever_added_and_the_last_epoch_shows_all(epochs: int) -> None:
    difficulty = tuple(np.random.default_rng(0).random(30))
    setting = config(epochs, difficulty="image", easy_until=0.5, medium_until=1.0)
    shown = [set(admitted(setting, epoch, 30, difficulty)) for epoch in range(1, epochs + 1)]
    assert all(before <= later for before, later in itertools.pairwise(shown))
    assert len(shown[-1]) == 30
    if epochs > 2:
        easiest = set(np.argsort(difficulty)[:11])
        assert shown[0] == easiest, "11 of 30 are 34 %, rounded up"


def test_a_plan_shows_the_easy_films_in_the_epoch_s_order_and_costs_their_share() -> None:
    difficulty = tuple(float(-number) for number in range(30))
    setting = config(100, difficulty="image")
    known = Feedback(FILMS, 3, difficulty=difficulty)
    first, second, last = (plan(setting, epoch, known) for epoch in (1, 2, 100))
    assert set(first.film_ids) == set(FILMS[-11:]) == set(second.film_ids) and first.film_ids != second.film_ids
    assert set(last.film_ids) == set(FILMS)
    assert relative_cost(setting, 1) == pytest.approx(0.34) and relative_cost(setting, 100) == 1
    assert set(plan(setting, 1, Feedback(FILMS, 3)).film_ids) == set(FILMS), "nobody knows which are easy"


def test_losses_are_compared_once_after_the_warm_up_which_shows_all() -> None:
    setting = config(100, difficulty="loss", warmup=0.05)
    assert [epoch for epoch in range(1, 101) if measures_losses(setting, epoch)] == [5]
    assert [share_admitted(setting.curriculum, epoch, 100) for epoch in (1, 5, 6)] == [1, 1, 0.34]
    assert plan(setting, 5, Feedback(FILMS, 3)).watches_films and not plan(setting, 6, Feedback(FILMS, 3)).watches_films
    losses = (*map(float, range(28)), float("nan"), 5.0)
    learned = after(setting, Feedback(FILMS, 3), Seen(film_loss=losses))
    assert learned.difficulty is not None and learned.difficulty[28] == 27.0, "a film without a landmark is as hard as any"
    assert restored(Feedback(FILMS, 3), saved(learned)) == learned


def spoil(film: np.ndarray, what: str) -> np.ndarray:
    random = np.random.default_rng(1)
    changed = {
        "blur": lambda: cv2.GaussianBlur(film, (0, 0), 4),
        "noise": lambda: np.clip(film + random.normal(0, 30, film.shape), 0, 255),
        "contrast": lambda: film * 0.3 + 80,
    }[what]()
    return changed.astype(np.uint8)


@pytest.mark.parametrize("what", ["blur", "noise", "contrast"])
def test_a_spoilt_film_is_harder(what: str) -> None:
    random = np.random.default_rng(0)
    films = []
    for _ in range(12):
        film = cv2.GaussianBlur(random.normal(0, 1, (96, 80)).astype(np.float32), (0, 0), 3)
        films.append(np.clip(128 + 60 * film / film.std() + random.normal(0, 4, film.shape), 0, 255).astype(np.uint8))
    before, spoilt = from_images(np.stack(films)), from_images(np.stack([spoil(films[0], what), *films[1:]]))
    rank = [int(np.argsort(np.argsort(values))[0]) for values in (before, spoilt)]
    assert spoilt[0] > before[0] and rank[1] >= rank[0] and rank[1] >= 8


def csv_config(path: Path, column: str = "difficulty") -> CurriculumConfig:
    return CurriculumConfig(difficulty="csv", csv=path, column=column)


def test_a_column_says_what_is_hard(tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_text("\ufefffilm_id,quality,difficulty\n002,x,0.5\n000,x,3\n001,x,-1e2\n", encoding="utf-8")
    assert from_csv(csv_config(path), ("000", "001", "002")) == (3.0, -100.0, 0.5)


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("film,difficulty\n", "difficulty", "no column film_id; there are film, difficulty"),
        ("film_id,difficulty\n", "quality", "no column quality; there are film_id, difficulty"),
        ("film_id,difficulty\n000,1\n001,hard\n", "difficulty", r"film 001: 'hard' is no finite number"),
        ("film_id,difficulty\n000,1\n", "difficulty", "film 001: None is no finite number"),
        (None, "difficulty", "no such file"),
        ("film_id,difficulty\n000,\udcff\n", "difficulty", "cannot be read as a CSV in UTF-8"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, text: str | None, column: str, said: str) -> None:
    path = tmp_path / "films.csv"
    if text is not None:
        path.write_bytes(text.encode("utf-8", errors="surrogateescape"))
    with pytest.raises(InputError, match=said):
        from_csv(csv_config(path, column), ("000", "001"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"easy_until": 0.7}, "easy_until 0.7 must not be above medium_until 0.6"),
        ({"easy_films": 0.9}, "easy_films 0.9 must not be above medium_films 0.67"),
        ({"csv": "films.csv"}, "goes with"),
    ],
)
def test_settings_that_contradict_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        CurriculumConfig(**values)
