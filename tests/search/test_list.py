"""`python -m search list`: every run a row, whatever state it is in."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from search.__main__ import main
from search.overview import overview
from search.records import Ledger, RunFolder, create
from tests.search.drawn_run import draw_run, drawn_space


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A finished run, one whose driver is gone, one whose plan is gone, one with a damaged ledger; and a folder that is no run."""
    root = tmp_path / "results"
    root.mkdir()
    for name, how in (("finished", {}), ("gone", {"promoted": False, "finished": False}), ("torn", {}), ("lost", {})):
        made = draw_run(tmp_path / name, trials=6, films=4, **how)
        shutil.move(made.path, root / name)
    (root / "finished" / "ensemble").mkdir(exist_ok=True)
    (root / "finished" / "ensemble" / "manifest.json").write_text(json.dumps({"figures": {"test": {"ensemble": {"mre_mm": 1.234}}}}))
    (root / "lost" / "plan.yaml").unlink()
    (root / "torn" / "ledger.jsonl").write_text("no event\n" + (root / "torn" / "ledger.jsonl").read_text())
    (root / "other").mkdir()
    return root


def listed(root: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    assert main(["list", str(root), "--json"]) == 0
    return {row["run"]: row for row in json.loads(capsys.readouterr().out)}


def test_every_run_is_there_with_its_state(runs, capsys):
    found = listed(runs, capsys)
    assert {name: row["state"] for name, row in found.items()} == {
        "finished": "finished", "gone": "interrupted", "torn": "damaged", "lost": "damaged",
    }  # fmt: skip
    row = found["finished"]
    assert sum(row["trials"].values()) == row["trials_planned"] == 6 and row["trials"]["failed"] == 1
    assert row["ensemble_test_mre_mm"] == 1.234 and row["best_val_mre_mm"] > 0 and row["device"] in ("cpu", "gpu")
    assert row["ran_s"] == pytest.approx(2000.0) and row["time_left_s"] is None
    assert Path(row["path"]) == runs / "finished"
    assert "plan.yaml" in found["lost"]["problems"][0] and "line 1" in found["torn"]["problems"][0]
    assert found["finished"]["problems"] == []


def test_the_table_says_the_same_to_people(runs, capsys):
    assert main(["list", str(runs)]) == 0
    text = capsys.readouterr().out
    rows = {
        line.split()[0]: line for line in text.splitlines() if line.split()[:1] and line.split()[0] in ("finished", "gone", "torn", "lost")
    }
    assert rows.keys() == {"finished", "gone", "torn", "lost"}, "a damaged run is a row, too"
    assert "6 of 6 done" in rows["finished"] and "1 failed" in rows["finished"] and "1.23" in rows["finished"]
    assert "interrupted" in rows["gone"] and "damaged" in rows["lost"]
    assert f"{runs / 'lost'}: not a run, plan.yaml is missing" in text and "not a ledger event" in text
    assert "\x1b" not in text


def test_the_newest_first(tmp_path, capsys):
    for number, name in enumerate(("b", "c", "a")):
        run = create(tmp_path / name, {"space": drawn_space(2).to_dict()})
        with Ledger(run.path) as ledger:
            ledger.append_run(time=1000.0 + number)
            ledger.append_trial("t0000", number=0, role="search", values={}, time=1000.0 + number)
    os.utime(tmp_path / "b")  # a look into a folder makes no run younger
    assert list(listed(tmp_path, capsys)) == ["a", "c", "b"]


def test_a_run_that_runs_says_what_is_left_of_its_hours(tmp_path):
    run = create(tmp_path / "run", {"space": drawn_space(2).to_dict(), "hours": 1.0})
    with Ledger(run.path) as ledger:  # holds the lock, as a living driver does
        ledger.append_run(time=1000.0)
        ledger.append_trial("t0000", number=0, role="search", values={}, time=1060.0)
        found = overview(RunFolder(run.path), now=1600.0)
        assert (found.state, found.trials, found.age_s) == ("running", {"running": 1}, 540.0)
        assert found.time_left_s == pytest.approx(3000.0)
    assert overview(RunFolder(run.path), now=1600.0).trials == {"interrupted": 1}


def test_no_runs_and_no_folder(tmp_path, capsys):
    assert main(["list", str(tmp_path)]) == 0 and "no runs" in capsys.readouterr().out
    assert main(["list", str(tmp_path), "--json"]) == 0 and json.loads(capsys.readouterr().out) == []
    assert main(["list", str(tmp_path / "nowhere")]) == 2 and "no such folder" in capsys.readouterr().err
