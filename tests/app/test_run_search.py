"""What a user gets wrong: exit code 2, every problem named in one line of its own, and nothing left behind."""

import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from rich.table import Table

import run_search
from ceph_core.config import SourceConfig
from ceph_core.data.fingerprint import dataset_fingerprint
from search import driver, dryrun, records
from search.room import Gpu
from search.space import Space
from search.tune import cluster
from tests.search.made_up import SPACE
from tests.search.simulated import search

HEIGHT, WIDTH = 48, 40
NUM_TRAIN, NUM_TEST = 8, 3


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch):
    """Starting Ray takes seconds: the input is checked before."""

    def refuse(address):
        pytest.fail("Ray was started before the input was checked")

    monkeypatch.setattr(driver.ray_cluster, "connect", refuse)


@pytest.fixture
def isbi(tmp_path: Path) -> Path:
    """A folder in the ISBI layout, drawn small."""
    root = tmp_path / "isbi"
    for name, first, count in (("TrainingData", 1, NUM_TRAIN), ("Test1Data", 151, NUM_TEST)):
        (root / "RawImage" / name).mkdir(parents=True)
        for number in range(first, first + count):
            rng = np.random.default_rng(number)
            cv2.imwrite(str(root / "RawImage" / name / f"{number:03d}.png"), rng.integers(0, 255, (HEIGHT, WIDTH), dtype=np.uint8))
            for reader in ("400_senior", "400_junior"):
                file = root / "AnnotationsByMD" / reader / f"{number:03d}.txt"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("".join(f"{x:.1f},{y:.1f}\n" for x, y in rng.uniform(2, 35, (19, 2))) + "1\n" * 8)
    (root / "same_radiograph.csv").write_text("id,same_as\n")
    return root


class Wrong:
    """A run that must not begin."""

    def __init__(self, folder: Path, isbi: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.isbi, self._capsys = folder, isbi, capsys
        self.space = copy.deepcopy(SPACE)

    def asked(self, *options: object, data: bool = True) -> list[str]:
        path = self.folder / "space.yaml"
        path.write_text(yaml.safe_dump(self.space, sort_keys=False))
        source = ["--data", self.isbi, "--spacing-mm", "0.3"] if data else []
        return [str(part) for part in ("--space", path, "--profile", "cpu", "--out", self.folder / "run", *source, *options)]

    def refused(self, argv: list[str]) -> list[str]:
        """The error lines; they come last, after what was said on the way, and there is no run."""
        before = {path for path in self.folder.rglob("*") if self.isbi not in path.parents}
        assert run_search.main(argv) == 2
        out, err = self._capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert lines and err.splitlines()[-len(lines) :] == lines, err
        assert {path for path in self.folder.rglob("*") if self.isbi not in path.parents} == before, "something was left behind"
        return lines


@pytest.fixture
def wrong(tmp_path: Path, isbi: Path, capsys: pytest.CaptureFixture[str]) -> Wrong:
    return Wrong(tmp_path, isbi, capsys)


def _search(key: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {"search": {**SPACE["search"], key: entry}}


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        (_search("heatmap.sigma", {"float": [0.01, 0.02]}), "heatmap.sigma", "did you mean heatmap.sigma_rel?"),
        (_search("augment.strength", {"float": [2, 0]}), "augment.strength", "low 2 must be below high 0"),
        (_search("train.lr", {"float": [1e-4, 1e-2], "when": {"schedule": ["flat"]}}), "train.lr", "schedule"),
        (_search("train.batch_size", {"int": [2, 64]}), "train.batch_size", "exceeds the"),
        ({"promotion": {"folds": 20, "max_members": 20}}, "promotion.folds", "needs as many radiographs"),
        ({"fixed": {**SPACE["fixed"], "data.image_size": 100}}, "data.image_size", "must be a multiple of 32"),
    ],
    ids=[
        "unknown key",
        "low above high",
        "condition on a missing knob",
        "batch above the films",
        "more folds than films",
        "impossible size",
    ],
)
def test_space(wrong, changes, key, said):
    wrong.space.update(changes)
    lines = wrong.refused(wrong.asked())
    assert len(lines) == 1
    assert f"{wrong.folder / 'space.yaml'}:" in lines[0]
    assert key in lines[0]
    assert said in lines[0]


def test_every_problem_of_a_space_at_once(wrong):
    wrong.space.update(_search("augment.strength", {"float": [2, 0]}))
    wrong.space["fixed"]["train.epoch"] = 3
    assert len(wrong.refused(wrong.asked())) == 2


def test_no_space_file(wrong):
    (line,) = wrong.refused(["--out", str(wrong.folder / "run")])
    assert "--space" in line
    (line,) = wrong.refused(["--space", str(wrong.folder / "none.yaml"), "--profile", "cpu"])
    assert "none.yaml" in line


def test_missing_data_folder(wrong):
    (line,) = wrong.refused(wrong.asked("--data", wrong.folder / "nowhere", data=False))
    assert f"--data {wrong.folder / 'nowhere'}: no such folder" in line


def test_film_without_annotation(wrong):
    (wrong.isbi / "AnnotationsByMD" / "400_junior" / "003.txt").unlink()
    (line,) = wrong.refused(wrong.asked())
    assert "003.png: film without annotation" in line


def test_annotation_with_18_lines(wrong):
    file = wrong.isbi / "AnnotationsByMD" / "400_senior" / "002.txt"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:18]))
    (line,) = wrong.refused(wrong.asked())
    assert "002.txt: 18 lines; 19 are needed" in line


@pytest.mark.parametrize("kept", [0, 20, 400], ids=["empty", "in its header", "in its pixels"])
def test_corrupt_image(wrong, kept):
    """Cut in its pixels it has a sound header, and no duplicate search decodes it: it must be found all the same."""
    image = wrong.isbi / "RawImage" / "Test1Data" / "152.png"
    image.write_bytes(image.read_bytes()[:kept])
    (line,) = wrong.refused(wrong.asked())
    assert "152.png" in line


def test_missing_spacing(wrong):
    (line,) = wrong.refused(wrong.asked("--data", wrong.isbi, data=False))
    assert "give it with --spacing-mm" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--trials", "0"], ["--trials: must be above 0, got 0"]),
        (["--hours", "-1"], ["--hours: must be above 0, got -1"]),
        (["--trials", "0", "--hours", "0"], ["--trials", "--hours"]),
        (["--spacing-mm", "0"], ["spacing_mm"]),
        (["--set", "budget.trials"], ["--set budget.trials: must be KEY=VALUE"]),
        (["--set", "budget.trails=4"], ["trails"]),
        (["--set", "budget.trials=many"], ["--set budget.trials=many"]),
    ],
)
def test_options(wrong, options, said):
    lines = wrong.refused(wrong.asked(*options))
    assert len(lines) == len(said)
    for line, part in zip(lines, said, strict=True):
        assert part in line


@pytest.mark.parametrize("options", [["--trials", "two"], ["--format", "dicom"], ["--profile", "tpu"], ["--trial", "3", "--unknown"]])
def test_options_that_argparse_refuses(wrong, options, capsys):
    with pytest.raises(SystemExit) as caught:
        run_search.main(wrong.asked(*options))
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_output_folder_in_use(wrong):
    run = wrong.folder / "run"
    run.mkdir()
    (run / "notes.txt").write_text("mine")
    (line,) = wrong.refused(wrong.asked())
    assert f"--out {run}: already in use" in line
    assert (run / "notes.txt").read_text() == "mine"


def test_output_folder_that_cannot_be(wrong):
    (wrong.folder / "file").write_text("")
    (line,) = wrong.refused([*wrong.asked(), "--out", str(wrong.folder / "file" / "run")])
    assert f"--out {wrong.folder / 'file' / 'run'}: {wrong.folder / 'file'} is no folder" in line


def test_more_than_the_machine_has(wrong, monkeypatch):
    cluster = driver.ray_cluster.Cluster(2.0, 0.0, "", is_local=True)
    monkeypatch.setattr(driver.ray_cluster, "connect", lambda address: cluster)
    (line,) = wrong.refused(wrong.asked("--set", "resources.cpus_per_trial=64"))
    assert "resources" in line
    assert "64 CPUs" in line


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_resume_of_no_run(wrong, kind):
    run = wrong.folder / "other"
    if kind == "empty":
        run.mkdir()
    if kind == "file":
        run.write_text("")
    (line,) = wrong.refused(["--resume", str(run)])
    assert f"--resume {run}" in line


@pytest.fixture
def begun(wrong) -> records.RunFolder:
    """A run that was killed in its first trial."""
    space, source = Space.from_dict(SPACE), SourceConfig(root=wrong.isbi, spacing_mm=0.3)
    data = driver.open_data(source, space)
    fingerprint = dataset_fingerprint(data.dataset, data.cache_dir)
    plan = {"space": space.to_dict(), "source": source.model_dump(mode="json"), "seed": 3, "data": {"fingerprint": fingerprint}}
    run = records.create(wrong.folder / "run", plan)
    search(run.path, space, seed=3, stop_after=5)
    return run


def test_resume_on_other_films(wrong, begun):
    file = wrong.isbi / "AnnotationsByMD" / "400_senior" / "002.txt"
    file.write_text(file.read_text().replace("1", "2", 1))
    (line,) = wrong.refused(["--resume", str(begun.path)])
    assert f"--resume {begun.path}: the films in {wrong.isbi} are not those the run began with" in line
    assert "restore them, or start a new run" in line


@pytest.mark.parametrize(
    ("mark", "spoil", "said"),
    [
        (b'"epoch": 2', lambda line: b"", "follows epoch 1"),
        (b'"epoch": 2', lambda line: line[:40] + b"\n", "not a ledger event"),
        (b'"event": "trial"', lambda line: b"", "not announced"),
    ],
)
def test_resume_of_a_ledger_that_was_edited(wrong, begun, mark, spoil, said):
    lines = begun.ledger_path.read_bytes().splitlines(keepends=True)
    place = next(place for place, line in enumerate(lines) if mark in line)
    lines[place] = spoil(lines[place])
    begun.ledger_path.write_bytes(b"".join(lines))
    line, *_ = wrong.refused(["--resume", str(begun.path)])
    assert f"{begun.ledger_path}: line {place + 1}: " in line and said in line and "restore" in line


def test_resume_of_a_plan_that_was_edited(wrong, begun):
    plan = begun.read_plan()
    plan["space"]["fixed"]["train.epochs"] = 12
    begun.write_plan(plan)
    (line,) = wrong.refused(["--resume", str(begun.path)])
    assert "train.epochs" in line and "one of the two was edited, restore it, or start a new run" in line


def test_resume_of_a_torn_state(wrong, begun):
    state = begun.trial_dir("t0000") / "state.pt"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"torn")
    (line,) = wrong.refused(["--resume", str(begun.path)])
    assert str(state) in line and "delete it and the trial trains its epochs again" in line


@pytest.mark.parametrize(("options", "named"), [(["--data", "x"], "--data"), (["--dry-run"], "--dry-run"), (["--set", "a=1"], "--set")])
def test_resume_takes_no_other_plan(wrong, options, named):
    (line,) = wrong.refused(["--resume", str(wrong.folder), *options])
    assert f"{named} cannot change a run that has begun" in line


def test_an_extension_of_nothing_is_refused(wrong):
    (line,) = wrong.refused(["--resume", str(wrong.folder), "--trials", "0"])
    assert "--trials: must be above 0" in line


def test_dry_run_counts_the_places_that_auto_settles_on(wrong, capsys, monkeypatch):
    """Of a faked GPU; the network is too small to fill a quarter of it."""
    wrong.space["resources"] = {"cpus_per_trial": 1, "gpus_per_trial": "auto"}
    monkeypatch.setattr(cluster, "seen_gpus", lambda: (Gpu("drawn", 80_000.0, 80_000.0),))
    monkeypatch.setattr(cluster, "this_machine", lambda: cluster.Cluster(16.0, 1.0, "", is_local=True))
    monkeypatch.setattr(dryrun, "_table", lambda space, data: (Table(), 60.0))
    assert run_search.main(wrong.asked("--profile", "gpu", "--dry-run")) == 0
    assert "as long as start_from[0], 4 trials at a time, take" in capsys.readouterr().err


def test_dry_run_leaves_nothing(wrong, capsys):
    before = set(wrong.folder.rglob("*"))
    argv = wrong.asked("--dry-run")
    assert run_search.main(argv) == 0
    out, err = capsys.readouterr()
    assert yaml.safe_load(out)["budget"]["trials"] == SPACE["budget"]["trials"]
    assert "memory" in err and "the whole:" in err
    assert set(wrong.folder.rglob("*")) - before == {wrong.folder / "space.yaml"}
