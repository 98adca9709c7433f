"""A run that confirms by folds: every film that is not locked is answered by networks that did not train on it."""

import pytest

from search import records
from tests.app.driving import assert_sound, driver, write_space

pytestmark = pytest.mark.slow


def test_every_film_is_predicted_out_of_fold(tmp_path, films):
    run, log = tmp_path / "run", tmp_path / "log"
    promotion = {"candidates": 1, "seeds": 1, "folds": 2, "max_members": None}
    space = write_space(tmp_path, budget={"trials": 4}, resources={"max_concurrent": 2}, promotion=promotion)
    with driver("run_search.py", "--space", space, "--data", films, "--profile", "cpu", "--out", run, log=log) as live:
        assert live.wait() == 0, live.said()
    assert_sound(run)
    loaded = records.load(run)
    anew = loaded.trials[loaded.trials["role"] == "confirm"]
    assert sorted(anew["trial"]) == sorted(
        f"{each['candidate']}-seed1-fold{fold}" for each in loaded.promotion["confirmed"] for fold in (0, 1)
    )
    assert set(zip(anew["seed"], anew["fold"], strict=True)) == {(1, 0), (1, 1)}, "a seed the search has not seen"
    unlocked = loaded.splits[loaded.splits["split"].isin(["train", "validation"])]
    answered = loaded.predictions[(loaded.predictions["role"] == "validation") & loaded.predictions["model"].str.endswith("seed 1")]
    for _, rows in answered.groupby("model"):
        by_film = rows.drop_duplicates("film").set_index("film")["fold"]
        assert by_film.sort_index().equals(unlocked.set_index("film")["fold"].sort_index()), "each film once, by the networks of its fold"
    assert loaded.promotion["validation_films"] == len(unlocked)
    assert len(loaded.manifest["members"]) % 2 == 0, "an entry of two folds is two networks"
    limit = "at most 4 picks of 2 networks each, one a fold (promotion.max_members 8)"
    assert f"the ensemble is {limit}" in live.said() and limit in (run / "report.html").read_text()
    assert loaded.promotion["networks"] == len(loaded.manifest["members"])
    assert loaded.promotion["verdict"] in (run / "report.html").read_text()
