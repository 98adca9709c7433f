import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ceph_core.errors import InputError
from search import records
from tests.search.drawn_run import EPOCHS, draw_run

TRIAL = {"number": 0, "role": "search", "candidate": "t0000", "is_baseline": True, "values": {}, "config": {}, "seed": 0, "fold": -1}


def begun(tmp_path: Path) -> records.RunFolder:
    return records.create(tmp_path / "run", {"command": "run"})


def with_one_report(run: records.RunFolder) -> None:
    with records.Ledger(run.path) as ledger:
        ledger.append_run()
        ledger.append_trial("t0000", **TRIAL)
        ledger.append_report("t0000", 1, val_mre_mm=3.0)


def test_the_first_report_of_an_epoch_stays(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with_one_report(run)
    with records.Ledger(run.path) as ledger:
        assert not ledger.append_report("t0000", 1, val_mre_mm=9.0)
        assert ledger.append_report("t0000", 2, val_mre_mm=2.0)
        assert not ledger.append_trial("t0000", **TRIAL)
        assert ledger.append_end("t0000", "completed")
        assert not ledger.append_end("t0000", "failed")
    (trial,) = records.history(run.path)
    assert [report["val_mre_mm"] for report in trial.reports] == [3.0, 2.0]
    assert trial.end is not None and trial.end["status"] == "completed"


@pytest.mark.parametrize("torn", [b'{"event":"report","tri', b'{"event":"run","time":1}', b"\0\0\0\n", b"[1]\n"])
def test_a_torn_last_line_is_ignored_and_cut_off(tmp_path: Path, torn: bytes) -> None:
    run = begun(tmp_path)
    with_one_report(run)
    whole = run.ledger_path.read_bytes()
    run.ledger_path.write_bytes(whole + torn)
    assert len(records.read_events(run.path)) == 3
    with records.Ledger(run.path) as ledger:
        assert run.ledger_path.read_bytes() == whole
        ledger.append_report("t0000", 2, val_mre_mm=2.0)
        assert [event["event"] for event in ledger.events()] == ["run", "trial", "report", "report"]


def test_a_damaged_line_before_the_last_is_an_error(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with_one_report(run)
    lines = run.ledger_path.read_bytes().splitlines(keepends=True)
    run.ledger_path.write_bytes(lines[0] + b"{torn\n" + lines[2])
    with pytest.raises(InputError, match=r"ledger.jsonl: line 2: not a ledger event"):
        records.load(run.path)
    with pytest.raises(InputError, match="line 2"):
        records.Ledger(run.path)


def test_nan_is_null_on_disk_and_nan_in_tables(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with_one_report(run)
    with records.Ledger(run.path) as ledger:
        ledger.append_report("t0000", 2, val_mre_mm=math.nan, val_loss=math.inf)
    assert json.loads(run.ledger_path.read_text().splitlines()[-1])["val_mre_mm"] is None
    loaded = records.load(run.path)
    assert math.isnan(loaded.curves["val_mre_mm"].iloc[1])
    assert loaded.trials["best_mre_mm"].iloc[0] == 3.0
    assert math.isnan(loaded.trials["last_mre_mm"].iloc[0])


def test_two_drivers_cannot_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.records.ledger._LOCK_PATIENCE_S", 0.05)
    run = begun(tmp_path)
    with records.Ledger(run.path) as ledger:
        ledger.append_run()
        assert records.load(run.path).status == "running"
        with pytest.raises(InputError, match="another driver is running"):
            records.Ledger(run.path)
    assert records.load(run.path).status == "interrupted"
    with records.Ledger(run.path) as ledger:
        ledger.append_finished()
        assert records.load(run.path).status == "finished"


DRIVER = """
import os, signal, sys
from search.records import Ledger
with Ledger(sys.argv[1]) as ledger:
    ledger.append_trial("t0000", number=0, role="search", values={})
    for epoch in range(1, 6):
        ledger.append_report("t0000", epoch, val_mre_mm=1.0)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_driver_leaves_its_reports_and_no_lock(tmp_path: Path) -> None:
    run = begun(tmp_path)
    driver = subprocess.run([sys.executable, "-c", DRIVER, str(run.path)], check=False)
    assert driver.returncode == -signal.SIGKILL
    loaded = records.load(run.path)
    assert (loaded.status, len(loaded.curves)) == ("interrupted", 5)
    with records.Ledger(run.path) as ledger:
        assert not ledger.append_report("t0000", 5, val_mre_mm=2.0)
        assert ledger.append_report("t0000", 6, val_mre_mm=2.0)


def test_a_folder_in_use_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert records.create(tmp_path / "empty", {"seed": 1}).read_plan() == {"seed": 1}
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("mine")
    for name in ("used", "empty"):
        with pytest.raises(InputError, match=r"already in use; go on with it by --resume .* another --out"):
            records.create(tmp_path / name, {"seed": 2})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "used"]
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["thesis.txt"]


def test_resume_of_no_run_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        records.open_for_resume(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"plan\.yaml is missing"):
        records.open_for_resume(tmp_path)
    (tmp_path / "plan.yaml").write_text("just text")
    with pytest.raises(InputError, match="holds no plan"):
        records.open_for_resume(tmp_path)


def test_tables_say_what_the_ledger_says(tmp_path: Path) -> None:
    run = draw_run(tmp_path, trials=6, promoted=False)
    from_parquet = records.load(run.path)
    run.trials_path.unlink()
    from_ledger = records.load(run.path)
    pd.testing.assert_frame_equal(from_parquet.trials, from_ledger.trials)
    pd.testing.assert_frame_equal(from_parquet.curves, from_ledger.curves)
    trials = from_ledger.trials.set_index("trial")
    assert trials.loc["t0000", ["is_baseline", "status", "epochs_done", "epochs"]].tolist() == [True, "completed", EPOCHS, EPOCHS]
    assert trials.loc["t0003", "status"] == "failed"
    assert "FloatingPointError" in trials.loc["t0003", "error"]
    assert trials.loc["t0000", "seconds"] == pytest.approx(6.5 * EPOCHS)
    assert trials["param/train.batch_size"].dtype == "int64"
    assert set(trials["param/schedule"]) == {"small-flat", "small-progressive"}


def test_tables_written_on_the_way_equal_those_of_the_whole_ledger(tmp_path: Path) -> None:
    """Cut anywhere, also within a line: what is half there is read when it is whole."""
    run = draw_run(tmp_path, trials=6, promoted=False)
    whole = run.ledger_path.read_bytes()
    expected = records.load(run.path)
    tables = records.Tables(run)
    for cut in (0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 40, len(whole)):
        run.ledger_path.write_bytes(whole[:cut])
        tables.write()
        assert len(pd.read_parquet(run.curves_path)) == sum(
            line.startswith(b'{"event": "report"') for line in whole[:cut].splitlines(True) if line.endswith(b"\n")
        )
    loaded = records.load(run.path)
    pd.testing.assert_frame_equal(loaded.trials, expected.trials)
    pd.testing.assert_frame_equal(loaded.curves, expected.curves)
    assert pd.read_parquet(run.trials_path).attrs["ledger_bytes"] == len(whole)


def test_tables_older_than_the_ledger_are_not_used(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with_one_report(run)
    records.write_tables(run)
    with records.Ledger(run.path) as ledger:
        ledger.append_report("t0000", 2, val_mre_mm=2.0)
    assert len(records.load(run.path).curves) == 2
    records.write_tables(run)
    run.ledger_path.unlink()
    assert len(records.load(run.path).curves) == 2


def test_conditional_and_mixed_knobs_survive_parquet(tmp_path: Path) -> None:
    run = begun(tmp_path)
    given = [{"train.lr": 1e-3, "model.pretrained": True}, {"model.pretrained": "weights.safetensors", "train.batch_size": 4}, {}]
    with records.Ledger(run.path) as ledger:
        for number, values in enumerate(given):
            ledger.append_trial(f"t{number}", **{**TRIAL, "number": number, "values": values})
    before = records.load(run.path).trials
    records.write_tables(run)
    pd.testing.assert_frame_equal(records.load(run.path).trials, before)
    assert before["param/train.lr"].isna().tolist() == [False, True, True]
    assert before["param/model.pretrained"].tolist()[:2] == ["true", "weights.safetensors"]


def test_seconds_add_up_over_resumes_and_leave_out_the_pause(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with records.Ledger(run.path) as ledger:
        ledger.append_run(time=100.0)
        ledger.append_promotion(time=150.0)
        ledger.append_run(time=9000.0)
        ledger.append_finished(time=9030.0)
    assert records.load(run.path).seconds == 80.0


def test_film_ids_keep_their_zeros(tmp_path: Path) -> None:
    run = draw_run(tmp_path, trials=1)
    loaded = records.load(run.path)
    assert loaded.splits["film"].iloc[0] == "000"
    assert set(loaded.predictions["film"]) <= set(loaded.splits["film"])


def test_runs_are_found_by_their_plan(tmp_path: Path) -> None:
    run = begun(tmp_path)
    (tmp_path / "notes").mkdir()
    assert records.find_runs(tmp_path) == [run]
    assert records.find_runs(run.path) == [run]
    assert records.find_runs(tmp_path / "nowhere") == []


def test_past_trials_are_the_search_alone_in_the_samplers_terms(tmp_path: Path) -> None:
    run = draw_run(tmp_path, trials=5, promoted=False, finished=False)
    with records.Ledger(run.path) as ledger:
        ledger.append_trial("c0000", number=5, role="confirm", candidate="t0000", values={}, config={"train": {"epochs": EPOCHS}})
        ledger.append_trial("t0006", number=6, role="search", values={"train.batch_size": 8}, config={"train": {"epochs": EPOCHS}})
        ledger.append_end("t0006", "failed", "out of memory", infeasible=True)
        ledger.append_trial("t0007", number=7, role="search", values={"train.batch_size": 2}, config={"train": {"epochs": EPOCHS}})
    past = {trial.name: trial for trial in records.past_trials(records.history(run.path))}
    assert "c0000" not in past
    assert past["t0000"].is_baseline and past["t0000"].curve.keys() == set(range(1, EPOCHS + 1))
    kinds = {name: trial.outcome.kind if trial.outcome else None for name, trial in past.items()}
    assert kinds == {
        "t0000": "complete", "t0001": "complete", "t0002": "stopped", "t0003": "failed", "t0004": "stopped",
        "t0006": "infeasible", "t0007": None,
    }  # fmt: skip
    assert past["t0003"].curve[3].value_mm is None
