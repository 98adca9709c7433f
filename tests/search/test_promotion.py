"""Which networks can become members, what confirms a candidate, and what is left behind."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ceph_core import models
from ceph_core.geometry import Canvas
from ceph_core.inference import Selection, Tta, load_member, read_manifest, save_member
from ceph_core.inference.held_out import HeldOut
from ceph_core.inference.refine import SHAPE_FILE, Reviewer
from ceph_core.inference.selection import Expectation, Step
from ceph_core.metrics import Paired
from ceph_core.training import checkpoint
from ceph_core.training.snapshots import SNAPSHOT_FOLDER, Snapshots
from ceph_core.training.trainer import Training
from search.policy import Policy
from search.promotion import export, jobs_for, networks
from search.promotion.chosen import Chosen
from search.promotion.locked_test import LockedTest
from search.promotion.networks import Entry, Network
from search.records import BASELINE, Ledger, RunFolder
from search.standings import TrialState
from search.verdict import SINGLE_AGAINST_BASELINE, verdict
from tests.core.drawn_films import MARKS, make, tiny
from tests.search.made_up import MadeUp
from tests.search.simulated import made_up_space, search

CONFIG = made_up_space().configure(made_up_space().baseline, seed=0)
DATA = SimpleNamespace(
    canvas=lambda size: Canvas(64, 64), close_canvas=lambda size, zoom: None, dataset=SimpleNamespace(protocol=range(19))
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A candidate stopped after 5 epochs, trained on to 9."""
    folder = RunFolder(tmp_path)
    training = MadeUp(CONFIG, None)
    training.weights = {"weight": torch.zeros(1)}
    for epoch in range(1, 10):
        next(training)
        if epoch in (5, 9):
            checkpoint.save(folder.trial_dir("t0001" if epoch == 5 else "t0001-full"), training.state())
    return folder


def _found(run: RunFolder, failed: tuple[str, ...] = (), config=CONFIG, data=DATA) -> tuple[list[Network], list[str]]:
    said: list[str] = []
    state = TrialState("t0001", 1, {}, config, is_baseline=False, epoch=5)
    return networks._of_search(run, state, failed, data, said.append), said


def test_the_state_trained_on_is_taken(run):
    (found,), said = _found(run)
    assert (found.trial, found.epoch, found.fold) == ("t0001-full", 9, -1)
    assert said == []


def test_a_failed_training_falls_back_to_the_search(run):
    """Its last state may hold NaN weights."""
    (found,), _ = _found(run, failed=("t0001-full",))
    assert (found.trial, found.epoch) == ("t0001", 5)


def test_what_cannot_be_a_member_is_left_out_and_said(run):
    staged = CONFIG.model_copy(
        update={"schedule": CONFIG.schedule.model_validate({"stages": [{"epochs": 0.9, "size": 0.5}, {"epochs": 0.1}]})}
    )
    found, said = _found(run, failed=("t0001-full",), config=staged)
    assert not found
    assert "did not reach the last stage" in said[0]
    found, said = _found(RunFolder(run.path / "empty"))
    assert not found
    assert "left no checkpoint" in said[0]


def test_a_candidate_with_snapshots_offers_them_and_their_mean(tmp_path):
    data = make(tmp_path / "films", train=8, validation=2)
    config = tiny(train__epochs=4, train__snapshots=2)
    folder = RunFolder(tmp_path / "run")
    training = Training(config, data)
    snapshots = Snapshots(folder.trial_dir("t0001") / SNAPSHOT_FOLDER, config)
    for result in training:
        training.offer(snapshots, result)
    training.save(folder.trial_dir("t0001"))
    found, _ = _found(folder, config=config, data=data)
    kept = [each.epoch for each in snapshots.kept()]
    assert [each.variant for each in found] == ["", *(f"epoch {epoch}" for epoch in kept), "averaged weights"]
    assert len({each.folder for each in found}) == 4 and all(load_member(each.folder) for each in found)


def _searched(tmp_path: Path, **promotion: int) -> Policy:
    space = made_up_space(promotion={"candidates": 2, "max_members": 4, **promotion})
    policy, _ = search(tmp_path, space)
    return policy


def test_fresh_seeds_confirm_after_what_the_search_began_is_ended(tmp_path):
    policy = _searched(tmp_path, seeds=2)
    jobs = jobs_for(policy)
    candidates = [state.trial for state in policy.candidates()]
    assert candidates[0] == "t0000", "the baseline is confirmed like any other, and first"
    fresh = [job for job in jobs if job.is_fresh]
    assert [job.trial for job in fresh] == [f"{trial}-seed{seed}" for seed in (1, 2) for trial in candidates]
    assert jobs[-len(fresh) :] == fresh
    assert len({job.config.train.seed for job in fresh} | {policy.seed}) == 3 and {job.fold for job in jobs} == {-1}


def test_with_folds_every_candidate_has_all_of_them_before_the_next(tmp_path):
    policy = _searched(tmp_path, seeds=1, folds=3)
    jobs = jobs_for(policy)
    candidates = [state.trial for state in policy.candidates()]
    assert [(job.candidate, job.fold) for job in jobs] == [(trial, fold) for trial in candidates for fold in range(3)]
    assert all(job.is_fresh and job.from_epoch == 0 for job in jobs)


def test_time_is_kept_for_all_that_confirms(tmp_path):
    """Three seeds of three folds are nine whole trainings a candidate."""
    plain, folded = _searched(tmp_path / "plain", seeds=1), _searched(tmp_path / "folded", seeds=3, folds=3)
    whole = folded.pace.cost.seconds(CONFIG)
    leading = len(folded.candidates())
    assert folded.promotion_s() == pytest.approx(leading * 9 * whole)
    assert plain.promotion_s() < leading * 2 * whole + 1e-6


def test_only_what_answers_for_every_film_can_be_chosen(tmp_path):
    """One fold of a candidate is missing: the candidate is left out and that is said; the other has one entry of three networks."""
    policy = _searched(tmp_path, seeds=1, folds=3)
    run, said = RunFolder(tmp_path), []
    jobs = jobs_for(policy)
    data = SimpleNamespace(**vars(DATA), for_fold=lambda fold: DATA)
    with Ledger(tmp_path) as ledger:
        for number, job in enumerate(jobs):
            training = MadeUp(job.config, None)
            checkpoint.save(run.trial_dir(job.trial), training.state())
            ledger.append_trial(
                job.trial, number=100 + number, role="confirm", candidate=job.candidate, values={}, config={}, fold=job.fold
            )
            ledger.append_end(job.trial, "stopped" if job.trial == "t0000-seed1-fold2" else "completed")
    found = networks.entries(run, policy, data, said.append)
    other = next(state.trial for state in policy.candidates() if state.trial != "t0000")
    assert [(entry.candidate, [network.fold for network in entry.networks]) for entry in found if entry.candidate == other] == [
        (other, [0, 1, 2])
    ]
    assert "t0000" not in {entry.candidate for entry in found}
    assert any("t0000 seed 1 is left out: t0000-seed1-fold2" in line for line in said)


@pytest.mark.parametrize("num_train", [24, 6])
def test_the_ensemble_says_which_points_to_review(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_train: int):
    """Its shape file is made of training films and validation confidences; too few films are said."""
    data = make(tmp_path / "films", train=num_train)
    config = tiny()
    canvas, net = data.canvas(config.data.image_size), models.build(config.model, 3)
    folder = tmp_path / "member"
    save_member(folder, config, canvas, net.state_dict(), 3)
    network = Network("t0001", config, folder, 4, -1)
    run, said = RunFolder(tmp_path / "run"), []
    nothing = Expectation(1.0, 0.9, 1.1)
    selection = Selection((0,), (1.0,), "single", 1.0, (Step("single", (0,), 1.0),), 0, nothing, nothing)
    chosen = Chosen.of([Entry("t0001", 0, False, (network,))], selection)
    monkeypatch.setattr(export, "export_onnx", lambda *_: 0.0)
    sure, tta = np.linspace(0, 1, 12).reshape(4, 3), Tta(scales=(0.9,))
    export.export(run, data, chosen, LockedTest((), (), {}, {}), selection, HeldOut(np.ones((4, 3)), sure), "By others.", tta, said.append)
    manifest = read_manifest(run.ensemble_dir)
    assert manifest.tta == tta and manifest.figures["held_out_by"] == "By others." and manifest.members[0].training_films == data.train_ids
    assert manifest.figures["expected_mre_mm"] == {"mre_mm": 1.0, "low_mm": 0.9, "high_mm": 1.1}
    assert "no calibration.json: 4 films that the model did not learn from; 8 are needed" in said[-1]
    assert "Model card: run" in (run.ensemble_dir / "README.md").read_text()
    file = run.ensemble_dir / SHAPE_FILE
    if num_train == 6:
        assert not file.exists() and f"6 films with at least half of {len(MARKS)} landmarks are too few" in said[1]
    else:
        assert Reviewer.load(file).symbols == MARKS.symbols and said[1:-1] == []
        assert 0 < Reviewer.load(file).confidence_floor < 0.1


def test_an_entry_of_folds_is_as_many_networks_that_share_its_weight():
    entries = [
        Entry(f"t000{number}", 1, False, tuple(Network(f"t000{number}", CONFIG, Path(f"{number}-{fold}"), 9, fold) for fold in range(2)))
        for number in range(3)
    ]
    nothing = Expectation(1.0, 0.9, 1.1)
    twice = Selection((2, 0), (2 / 3, 1 / 3), "coordinate_mean", 1.0, (Step("coordinate_mean", (2, 0, 2), 1.0),), 0, nothing, nothing)
    chosen = Chosen.of(entries, twice)
    assert [str(network.folder) for network in chosen.networks] == ["2-0", "2-1", "0-0", "0-1"]
    assert chosen.weights == pytest.approx((1 / 3, 1 / 3, 1 / 6, 1 / 6)) and chosen.combine == "coordinate_mean"
    alone = Selection((1,), (1.0,), "single", 1.0, (Step("single", (1,), 1.0),), 0, nothing, nothing)
    assert Chosen.of(entries, alone).combine == "coordinate_mean", "two networks are no single one"


BETTER, SAME, WORSE = Paired(-0.1, -0.15, -0.05, 0.001), Paired(-0.01, -0.05, 0.03, 0.6), Paired(0.1, 0.05, 0.15, 0.001)


@pytest.mark.parametrize(
    ("ensemble", "single", "said"),
    [
        (BETTER, BETTER, "The ensemble beats the baseline: -0.100 mm"),
        (BETTER, SAME, "No single network does"),
        (BETTER, None, "The best single network is the baseline's own"),
        (SAME, SAME, "Nothing beats the baseline: the ensemble differs by no more than chance"),
        (SAME, None, "Nothing beats the baseline: the ensemble differs by no more than chance"),
        (SAME, BETTER, "The best single network beats the baseline: -0.100 mm"),
        (SAME, BETTER, "The ensemble does not: it differs by no more than chance: -0.010 mm"),
        (WORSE, BETTER, "The ensemble does not: it is worse by +0.100 mm"),
        (WORSE, SAME, "Nothing beats the baseline: the ensemble is worse by +0.100 mm"),
        (None, None, "The baseline left no network"),
    ],
)
def test_the_verdict_is_plain(ensemble, single, said):
    against = {BASELINE: ensemble, SINGLE_AGAINST_BASELINE: single}
    found = verdict({name: paired for name, paired in against.items() if paired is not None})
    assert said in found
    assert BETTER not in against.values() or "Nothing" not in found
