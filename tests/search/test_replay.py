"""Recorded curves searched again in simulated time."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import yaml

from ceph_core.errors import InputError
from search.__main__ import main
from search.replay import Recorded, Replayed, read_curves, replay
from search.replay.sources import of_table
from search.replay.summary import regrets, unit_seconds
from search.told import StoppedAs
from tests.search.simulated import made_up_space, search

EPOCHS = 6


def table(number: int = 40) -> pd.DataFrame:
    """Curves of two knobs, the best at a rate of 1e-3."""
    random = np.random.default_rng(0)
    rows = []
    for config in range(number):
        rate, kind = float(10 ** random.uniform(-5, -1)), "ab"[config % 2]
        end = 1 + (np.log10(rate) + 3) ** 2 + 0.5 * (kind == "b")
        rows += [
            {"config": config, "epoch": epoch, "value": end * (1 + 2 / epoch), "seconds": 2.0 + (kind == "b"), "rate": rate, "kind": kind}
            for epoch in range(1, EPOCHS + 1)
        ]
    return pd.DataFrame(rows)


@pytest.fixture
def recorded() -> Recorded:
    return of_table(table(), "table", budget={"trials": 1000})


def test_a_table_s_knobs_are_read_off_its_values(recorded: Recorded) -> None:
    rate, kind = recorded.space.knobs
    assert (rate.key, rate.kind, rate.log) == ("rate", "float", True)
    assert (kind.key, kind.kind, kind.choices) == ("kind", "categorical", ("a", "b"))


def test_a_recorded_training_stands_for_itself_and_for_what_is_near(recorded: Recorded) -> None:
    for place, point in enumerate(recorded.points):
        assert recorded.nearest(point) == place
    moved = {**recorded.points[3], "rate": recorded.points[3]["rate"] * 1.0001}
    assert recorded.nearest(moved) == 3
    assert recorded.best == pytest.approx(min(curve.values[-1] for curve in recorded.curves))


def test_a_search_takes_the_time_of_its_trainings_and_ends_with_it(recorded: Recorded) -> None:
    until_s = 8 * unit_seconds(recorded) / 2
    done = replay(recorded, seed=0, workers=2, until_s=until_s)
    assert 0.8 * 2 * until_s < done.seconds <= 2 * until_s
    assert done.stopped_share > 0.3 and len(done.policy.trials) > 8
    times, values = zip(*done.found, strict=True)
    assert list(times) == sorted(times) and list(values) == sorted(values, reverse=True)
    assert done.best_at(0) == float("inf") and done.best_at(until_s) == values[-1]
    again = replay(recorded, seed=0, workers=2, until_s=until_s)
    assert again.found == done.found and [event.get("values") for event in again.events] == [event.get("values") for event in done.events]


def test_more_time_and_another_seed_never_hurt_and_change(recorded: Recorded) -> None:
    replays = [replay(recorded, seed=seed, workers=4, until_s=16 * unit_seconds(recorded) / 4) for seed in range(3)]
    found = regrets(replays, recorded, [2.0, 8.0, 16.0], workers=4)
    assert found.shape == (3, 3) and (np.diff(found, axis=1) <= 0).all() and (found >= 0).all()
    assert len({each.found for each in replays}) == 3


def test_a_run_replays_through_its_own_space(tmp_path: Path) -> None:
    """Its baseline is first; with every epoch of every trial recorded, the sampler and rungs of the run decide as they did."""
    space = made_up_space(scheduler={"rungs": []}, budget={"trials": 12})
    folder = tmp_path / "run"
    _, events = search(folder, space)
    (folder / "plan.yaml").write_text(
        yaml.safe_dump({"space": space.to_dict(), "seed": 3, "source": {}, "data": {}}, sort_keys=False), encoding="utf-8"
    )
    recorded = read_curves(folder)
    assert len(recorded.points) == 12
    again = replay(recorded, seed=3, workers=1)
    told = [[event["values"] for event in each if event["event"] == "trial"] for each in (events, again.events)]
    assert told[0][:1] == told[1][:1] == [dict(space.baseline)]
    assert told[0] == told[1]


def test_a_run_with_priors_replays_with_samplers_that_use_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rate = {"float": [1e-4, 1e-2], "log": True, "prior": {"mode": 1e-3, "width": 0.2}}
    space = made_up_space(search={"train.lr": rate}, sampler={"name": "curve_gp"}, scheduler={"rungs": []}, budget={"trials": 6})
    folder = tmp_path / "run"
    search(folder, space)
    (folder / "plan.yaml").write_text(
        yaml.safe_dump({"space": space.to_dict(), "seed": 3, "source": {}, "data": {}}, sort_keys=False), encoding="utf-8"
    )
    assert read_curves(folder).space == space
    assert main(["replay", str(folder), "--sampler", "curve_gp", "tpe", "--trainings", "3", "--seeds", "1", "--workers", "1"]) == 0
    assert "tpe" in capsys.readouterr().out


def test_the_command_prints_a_row_a_sampler(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "curves.csv", tmp_path / "regrets.csv"
    table().to_csv(file, index=False)
    asked = [
        "replay",
        str(file),
        "--sampler",
        "random",
        "tpe",
        "--trainings",
        "4",
        "8",
        "--seeds",
        "2",
        "--workers",
        "2",
        "--out",
        str(out),
    ]
    assert main(asked) == 0
    printed = capsys.readouterr().out
    assert "random" in printed and "tpe" in printed and "0.1, 0.3" in printed
    assert len(pd.read_csv(out)) == 2 * 2 * 2


def test_any_policy_of_the_sampler_can_be_chosen_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, searched = tmp_path / "curves.csv", []
    table().to_csv(file, index=False)

    def noted(curves: Recorded, **asked: Any) -> Replayed:
        searched.append(curves.space.sampler)
        return replay(curves, **asked)

    monkeypatch.setattr("search.replay.replay", noted)

    def settings(*asked: str) -> list[tuple[str, str | None, bool]]:
        searched.clear()
        assert main(["replay", str(file), "--trainings", "4", "--seeds", "1", "--startup-trials", "3", *asked]) == 0
        return [(each.name, each.stopped_as, each.cost_aware) for each in searched]

    for policy in get_args(StoppedAs):
        assert settings("--sampler", "tpe", "random", "--stopped-as", policy) == [("tpe", policy, False), ("random", policy, False)]
    assert settings("--sampler", "tpe", "curve_gp", "--cost-aware") == [("tpe", None, False), ("curve_gp", None, True)]
    assert settings("--sampler", "curve_gp", "--no-cost-aware") == [("curve_gp", None, False)]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["replay", "--help"])
    described = " ".join(capsys.readouterr().out.split())
    assert all(policy in described for policy in get_args(StoppedAs)) and "pruned for tpe, complete for gp" in described


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.drop(columns="value"), "column `value` is missing"),
        (lambda rows: rows[["config", "epoch", "value"]], "nothing to search over"),
        (lambda rows: rows[rows["config"] == 0], "too few to replay"),
        (lambda rows: rows.assign(value="good"), "column `value` holds other things than numbers"),
        (lambda rows: rows.assign(value=1.0), "do not end at different values"),
    ],
)
def test_a_table_that_cannot_be_replayed_says_why(change, said: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "curves.csv"
    change(table()).to_csv(file, index=False)
    with pytest.raises(InputError, match=said):
        read_curves(file)


def test_bad_options_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "curves.csv"
    table().to_csv(file, index=False)
    assert main(["replay", str(file), "--sampler", "best", "--workers", "0", "--trainings", "-1", "--stopped-as", "lost"]) == 2
    said = capsys.readouterr().err
    assert "lost is unknown; allowed are complete, pruned, failed, predicted" in said
    assert "best is unknown" in said and "--workers: 0" in said and "--trainings: -1" in said
    assert main(["replay", str(file), "--sampler", "tpe", "gp", "--stopped-as", "pruned"]) == 2
    assert "use complete, predicted or failed" in capsys.readouterr().err
    assert main(["replay", str(file), "--sampler", "tpe", "--cost-aware"]) == 2
    assert "is for curve_gp, got tpe" in capsys.readouterr().err
    assert main(["replay", str(tmp_path / "none.txt")]) == 2
