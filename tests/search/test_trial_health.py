"""Health through a search: records say what the live run said, people are told once, and the hopeless stop if that is asked for."""

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from ceph_core.config import Config, apply
from ceph_core.training.health import judge, names_in
from ceph_core.training.trainer import EpochResult, Training
from search import records
from search.live import LiveView
from search.policy import Policy
from search.records import Ledger
from search.report import build
from search.report.health import trial_health
from search.rungs import Action
from search.space import Space
from tests.core.drawn_films import make, tiny
from tests.search.drawn_run import draw_run
from tests.search.made_up import SPACE, mre_mm, result_of
from tests.search.simulated import NO_LIMIT, made_up_space

TRIAL = {"number": 0, "role": "search", "is_baseline": False, "values": {}, "seed": 0, "fold": -1}


def recorded(folder: Path, config: Config, results: list[EpochResult]) -> records.RunFolder:
    run = records.create(folder, {"command": "run"})
    with Ledger(run.path) as ledger:
        ledger.append_run()
        ledger.append_trial("t0000", candidate="t0000", config=config.model_dump(mode="json"), **TRIAL)
        for result in results:
            figures = result.figures()
            ledger.append_report("t0000", figures.pop("epoch"), **figures, rung=None, decision="continue")
    return run


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, list[EpochResult]]:
    """A real training at a quarter of a heatmap pixel, validated at every second epoch."""
    config = tiny(heatmap__loss="mse", heatmap__sigma_rel=0.0156, train__epochs=8, train__validations=4)
    return config, list(Training(config, make(tmp_path_factory.mktemp("films"), train=4, validation=2)))


@pytest.mark.parametrize("kept", ["ledger", "tables"])
def test_records_are_judged_as_the_live_run_was(tmp_path: Path, collapsed: Any, kept: str) -> None:
    config, results = collapsed
    run = recorded(tmp_path / "run", config, results)
    if kept == "tables":
        records.write_tables(run)
        run.ledger_path.unlink()
    curves = records.load(run.path).curves
    assert results[-1].health and "collapse" in results[-1].health
    for place, result in enumerate(results):
        told = curves.iloc[: place + 1].to_dict("records")
        assert names_in(told[-1]["health"]) == result.health
        assert judge(config, told, told[-1]["mean_shape_mm"]).names == result.health
    assert records.load(run.path).trials["health"].iloc[0] == ",".join(results[-1].health)


def test_a_run_of_an_earlier_version_loads_and_is_judged_by_its_curve(tmp_path: Path) -> None:
    run = draw_run(tmp_path, trials=4)
    for path in (run.curves_path, run.trials_path):
        table = pd.read_parquet(path)
        attrs = table.attrs
        table = table.drop(columns=[name for name in ("health", "peak_width_rel", "mean_shape_mm") if name in table])
        table.attrs = attrs
        table.to_parquet(path, index=False)
    loaded = records.load(run.path)
    assert set(loaded.curves["health"]) == {""} and loaded.curves["peak_width_rel"].isna().all() and set(loaded.trials["health"]) == {""}
    assert len(trial_health(loaded)) == 4
    assert build(run.path).exists()


def searched(folder: Path, stop_hopeless: bool) -> tuple[Policy, Ledger]:
    space = Space.from_dict({**SPACE, "fixed": {**SPACE["fixed"], "train.stop_hopeless": stop_hopeless}})  # type: ignore[dict-item]
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder)
    return Policy(space, ledger, 3, 2, NO_LIMIT), ledger


def report(policy: Policy, trial: str, epoch: int, health: str) -> Action:
    config = policy.trials[trial].config
    return policy.report(trial, {**result_of(config, epoch, mre_mm(config, epoch)).figures(), "health": health})


@pytest.mark.parametrize("asked", [False, True])
def test_a_hopeless_trial_stops_if_asked_for_and_the_baseline_never(tmp_path: Path, asked: bool) -> None:
    policy, ledger = searched(tmp_path, asked)
    with ledger:
        baseline, other = policy.next(), policy.next()
        assert baseline is not None and other is not None
        for trial in (baseline.trial, other.trial):
            assert report(policy, trial, 1, "vanishing-target,collapse") is (
                Action.STOP if asked and trial == other.trial else Action.CONTINUE
            )
        assert policy.is_live(baseline.trial)
        assert policy.trials[other.trial].health == ("vanishing-target", "collapse")
        ends = [event for event in ledger.events() if event["event"] == "end"]
        assert [(end["trial"], end["status"], end["reason"]) for end in ends] == (
            [(other.trial, "stopped", "epoch 1: hopeless: collapse")] if asked else []
        )
        outcome = policy.sampler.trials[1].outcome
        assert (outcome.kind if outcome else None) == ("stopped" if asked else None)
    if asked:  # a resume knows both
        again, ledger = searched(tmp_path, asked)
        with ledger:
            assert (
                again.trials[other.trial].status == "stopped"
                and again.trials[baseline.trial].health == policy.trials[baseline.trial].health
            )


def test_what_may_recover_is_not_stopped(tmp_path: Path) -> None:
    policy, ledger = searched(tmp_path, True)
    with ledger:
        trials = [policy.next(), policy.next()]
        assert trials[1] is not None
        assert report(policy, trials[1].trial, 1, "learnt-nothing,flat,above-5-mm") is Action.CONTINUE  # a ninth of the run


# --- the terminal


def watched() -> tuple[LiveView, io.StringIO]:
    text = io.StringIO()
    return LiveView(console=Console(file=text, width=200, force_terminal=False), clock=lambda: 0.0), text


def test_each_problem_is_said_once_a_trial_with_its_own_advice(tmp_path: Path) -> None:
    view, text = watched()
    with Ledger(tmp_path) as ledger:
        policy = Policy(made_up_space(), ledger, 3, 2, NO_LIMIT, observers=[view.on_event])
        view.watch(policy)
        first, second = policy.next(), policy.next()
        assert first is not None and second is not None
        for epoch, health in enumerate(["", "below-5-mm,blurry", "below-5-mm,blurry,overfitting", "", "blurry"], start=1):
            report(policy, first.trial, epoch, health)
        report(policy, second.trial, 1, "blurry")
        rendered = io.StringIO()
        Console(file=rendered, width=160).print(view._page())
    lines = [line for line in text.getvalue().splitlines() if "health:" in line]
    assert [line.split(":")[0] for line in lines] == ["t0000 epoch 2", "t0000 epoch 3", "t0001 epoch 1"]
    assert "warning: blurry: " in lines[0] and f"{first.config.heatmap.sigma_rel:.4f}" in lines[0]
    assert f"{second.config.heatmap.sigma_rel:.4f}" in lines[2]
    assert "! blurry" in rendered.getvalue()


def test_a_resumed_search_does_not_repeat_what_was_said(tmp_path: Path) -> None:
    policy, ledger = searched(tmp_path, False)
    with ledger:
        trial = policy.next()
        assert trial is not None
        report(policy, trial.trial, 1, "flat,collapse")
    view, text = watched()
    with Ledger(tmp_path) as ledger:
        policy = Policy(policy.space, ledger, 3, 2, NO_LIMIT, observers=[view.on_event])
        view.watch(policy)
        rendered = io.StringIO()
        Console(file=rendered, width=160).print(view._page())
        report(policy, trial.trial, 2, "flat,collapse,blurry")
    assert "!! collapse +1" in rendered.getvalue()
    assert [line.split(": ")[3] for line in text.getvalue().splitlines() if "health:" in line] == ["blurry"]


def test_a_confirming_run_says_what_its_candidate_did_not(tmp_path: Path) -> None:
    view, text = watched()
    config = tiny()
    shared = {"event": "report", "seconds": 1.0, "image_size": 64, "batch_size": 4, "val_sdr_2mm": 70.0, "val_mre_mm": 2.0}
    view.on_event({**shared, "trial": "t0000", "epoch": 3, "health": "flat"})
    dump = config.model_dump(mode="json")
    view.on_event(
        {
            "event": "trial",
            "role": "confirm",
            "trial": "t0000-full",
            "candidate": "t0000",
            "config": dump,
            "values": {},
            "seed": 0,
            "fold": -1,
        }
    )
    view.on_event({**shared, "trial": "t0000-full", "epoch": 4, "health": "flat,overfitting"})
    (line,) = [line for line in text.getvalue().splitlines() if "health:" in line]
    assert line.startswith("t0000-full epoch 4: health: warning: overfitting: ") and "augment.strength (it is 1" in line


# --- the report


def test_the_report_says_what_shows_and_what_to_do(tmp_path: Path, collapsed: Any) -> None:
    config, results = collapsed
    page = build(recorded(tmp_path / "run", config, results).path).read_text()
    assert '<span class="pill serious">collapse</span>' in page and "set it to 0.0438" in page
    assert "0 of 1 trials show no warning" in page and "below minimum" in page


def test_a_confirming_run_is_judged_with_its_candidate_s_curve(tmp_path: Path) -> None:
    config = apply(Config(), {"train.epochs": 10})
    run = records.create(tmp_path / "run", {"command": "run"})
    with Ledger(run.path) as ledger:
        for number, (trial, role, epochs) in enumerate((("t0000", "search", range(1, 6)), ("t0000-full", "confirm", range(4, 11)))):
            told = {**TRIAL, "number": number, "role": role}
            ledger.append_trial(trial, candidate="t0000", config=config.model_dump(mode="json"), **told)
            for epoch in epochs:
                error = 1.9 + 18 / epoch**2
                ledger.append_report(
                    trial, epoch, val_mre_mm=error, val_sdr_2mm=71.0, val_sdr_4mm=91.0, image_size=512, decision="continue"
                )
    candidate, confirmed = (row.health.names for row in trial_health(records.load(run.path)))
    # At the second epoch, 6.4 mm, it was above 5 mm; the confirming run's own records begin at 3.0 mm.
    assert "below-20-mm" in confirmed and "below-5-mm" not in confirmed and "below-2-mm" not in candidate + confirmed


def test_every_result_table_has_the_tier(tmp_path: Path) -> None:
    page = build(draw_run(tmp_path, trials=4).path).read_text()
    for table in ("comparison", "leaderboard", "health", "tier"):
        head = page.split(f'id="{table}-table"')[1].split("</thead>")[0]
        assert ">tier</th>" in head, table
