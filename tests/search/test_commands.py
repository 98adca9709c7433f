import json
from pathlib import Path

import pytest

from ceph_core.inference import export as exporting
from ceph_core.inference.predictor import Predictor
from search import records
from search.__main__ import main
from tests.search.drawn_run import draw_run


@pytest.fixture
def run(tmp_path: Path) -> records.RunFolder:
    """A made-up run with something in its ensemble folder."""
    made = draw_run(tmp_path, trials=4, films=4)
    made.ensemble_dir.mkdir(exist_ok=True)
    made.manifest_path.write_text(json.dumps({"members": []}))
    (made.ensemble_dir / exporting.ONNX_FILE).write_text("old")
    return made


@pytest.fixture
def exported(monkeypatch) -> list[tuple[str, Path, int]]:
    """What was asked of the exporter: the model, the file, how many films to compare on."""
    asked: list[tuple[str, Path, int]] = []

    def export(predictor, path, films, progress):
        asked.append((predictor, path, len(films)))
        path.write_text("new")
        return 0.001

    monkeypatch.setattr(exporting, "export_onnx", export)
    monkeypatch.setattr(Predictor, "load", staticmethod(str))
    return asked


def test_export_in_place(run, exported, capsys):
    assert main(["export", str(run.path)]) == 0
    target = run.ensemble_dir / exporting.ONNX_FILE
    assert exported == [(str(run.ensemble_dir), target, 2)]
    assert target.read_text() == "new"
    assert capsys.readouterr().out.strip() == str(target)


def test_export_elsewhere(run, exported, tmp_path):
    assert main(["export", str(run.path), "--out", str(tmp_path / "model.onnx")]) == 0
    assert (tmp_path / "model.onnx").read_text() == "new"
    assert (run.ensemble_dir / exporting.ONNX_FILE).read_text() == "old"
    assert main(["export", str(run.path), "--out", str(tmp_path / "clinic")]) == 0
    assert {path.name for path in (tmp_path / "clinic").iterdir()} == {path.name for path in run.ensemble_dir.iterdir()}
    assert (tmp_path / "clinic" / exporting.ONNX_FILE).read_text() == "new"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["export", "{run}", "--out", "{here}"], "already exists"),
        (["export", "{here}"], "not a run"),
        (["export", "{unfinished}"], "has no ensemble yet"),
        (["promote", "{here}"], "not a run"),
        (["promote", "{here}/none"], "no such folder"),
    ],
)
def test_refused(run, exported, tmp_path, capsys, command, said):
    unfinished = draw_run(tmp_path / "other", trials=2, promoted=False, finished=False, films=4)
    names = {"run": run.path, "here": tmp_path, "unfinished": unfinished.path}
    assert main([part.format(**names) for part in command]) == 2
    assert said in capsys.readouterr().err
    assert exported == []


def test_promote_of_a_finished_run_writes_the_report(run, capsys):
    run.manifest_path.unlink()
    assert main(["promote", str(run.path)]) == 0
    captured = capsys.readouterr()
    assert "finished before" in captured.err
    assert captured.out.strip() == str(run.report_path)
