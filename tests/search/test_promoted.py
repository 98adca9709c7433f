"""Which state of a candidate becomes its member."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ceph_core import models
from ceph_core.geometry import Canvas
from ceph_core.inference import Selection, Tta, load_member, make_member, read_manifest, save_member
from ceph_core.inference.refine import SHAPE_FILE, Reviewer
from ceph_core.inference.selection import Step
from ceph_core.training import checkpoint
from ceph_core.training.snapshots import SNAPSHOT_FOLDER, Snapshots
from ceph_core.training.trainer import Training
from search import promotion
from search.policy import TrialState
from search.records import RunFolder
from tests.core.drawn_films import MARKS, make, tiny
from tests.search.made_up import MadeUp
from tests.search.simulated import made_up_space

CONFIG = made_up_space().configure(made_up_space().baseline, seed=0)
DATA = SimpleNamespace(canvas=lambda size: Canvas(64, 64), dataset=SimpleNamespace(protocol=range(19)))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A candidate stopped after 5 epochs, confirmed to 9."""
    folder = RunFolder(tmp_path)
    training = MadeUp(CONFIG, None)
    training.weights = {"weight": torch.zeros(1)}
    for epoch in range(1, 10):
        next(training)
        if epoch in (5, 9):
            checkpoint.save(folder.trial_dir("t0001" if epoch == 5 else "t0001-full"), training.state())
    return folder


def _promoted(run: RunFolder, failed: tuple[str, ...] = (), config=CONFIG) -> tuple[list[promotion.Promoted], list[str]]:
    said: list[str] = []
    state = TrialState("t0001", 1, {}, config, is_baseline=False, epoch=5)
    return promotion._promoted(run, state, failed, DATA, said.append), said


def test_the_confirmed_state_is_taken(run):
    (found,), said = _promoted(run)
    assert (found.trial, found.candidate, found.epoch) == ("t0001-full", "t0001", 9)
    assert said == []


def test_a_failed_confirmation_falls_back_to_the_search(run):
    """Its last state may hold NaN weights."""
    (found,), _ = _promoted(run, failed=("t0001-full",))
    assert (found.trial, found.epoch) == ("t0001", 5)


def test_what_cannot_be_a_member_is_left_out_and_said(run):
    staged = CONFIG.model_copy(
        update={"schedule": CONFIG.schedule.model_validate({"stages": [{"epochs": 0.9, "size": 0.5}, {"epochs": 0.1}]})}
    )
    found, said = _promoted(run, failed=("t0001-full",), config=staged)
    assert not found
    assert "did not reach the last stage" in said[0]
    found, said = _promoted(RunFolder(run.path / "empty"))
    assert not found
    assert "left no checkpoint" in said[0]


@pytest.mark.parametrize("num_train", [24, 6])
def test_the_ensemble_says_which_points_to_review(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_train: int):
    """Its shape file is made of training films and validation confidences; too few films are said."""
    data = make(tmp_path / "films", train=num_train)
    config = tiny()
    canvas, net = data.canvas(config.data.image_size), models.build(config.model, 3)
    folder = tmp_path / "member"
    save_member(folder, config, canvas, net.state_dict(), 3)
    found = promotion.Promoted("t0001", "t0001", config, folder, 4, is_baseline=False)
    member, run, said = make_member(config, canvas, net, 3), RunFolder(tmp_path / "run"), []
    step = Step("single", (0,), 1.0)
    monkeypatch.setattr(promotion, "export_onnx", lambda *_: 0.0)
    sure = np.linspace(0, 1, 12).reshape(4, 3)
    tta, chosen = Tta(scales=(0.9,)), Selection((0,), (1.0,), "single", 1.0, (step,))
    promotion._export(run, data, [found], [member], chosen, [], {}, [], sure, tta, said.append)
    assert read_manifest(run.ensemble_dir).tta == tta
    file = run.ensemble_dir / SHAPE_FILE
    if num_train == 6:
        assert not file.exists() and f"6 films with at least half of {len(MARKS)} landmarks are too few" in said[0]
    else:
        assert Reviewer.load(file).symbols == MARKS.symbols and said == []
        assert 0 < Reviewer.load(file).confidence_floor < 0.1


def test_a_candidate_with_snapshots_offers_them_and_their_mean(run, tmp_path):
    data = make(tmp_path / "films", train=8, validation=2)
    config = tiny(train__epochs=4, train__snapshots=2)
    folder = RunFolder(tmp_path / "run")
    training = Training(config, data)
    snapshots = Snapshots(folder.trial_dir("t0001") / SNAPSHOT_FOLDER, config)
    for result in training:
        training.offer(snapshots, result)
    training.save(folder.trial_dir("t0001"))
    state = TrialState("t0001", 1, {}, config, is_baseline=True, epoch=4)
    found = promotion._promoted(folder, state, (), data, print)
    kept = [each.epoch for each in snapshots.kept()]
    assert [each.name for each in found] == ["t0001", *(f"t0001 epoch {epoch}" for epoch in kept), "t0001 averaged weights"]
    assert len({each.folder for each in found}) == 4 and all(load_member(each.folder) for each in found)
