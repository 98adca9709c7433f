"""`python -m ceph_core train`: a run folder that evaluates, stops, goes on and refuses."""

import argparse
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from drawn_films import make

from ceph_core import options as shared
from ceph_core import single_run
from ceph_core.__main__ import main
from ceph_core.config import Config, Stage, located
from ceph_core.data.films import TrainingData
from ceph_core.data.phantom import write
from ceph_core.errors import InputError
from ceph_core.geometry import Canvas
from ceph_core.inference import load_member
from ceph_core.run_plan import PLAN_FILE, Stage1
from ceph_core.training import checkpoint
from ceph_core.training.checkpoint import STATE_FILE
from ceph_core.training.device import pick_device, pick_precision
from ceph_core.training.learner import Learner
from ceph_core.training.plan import plan
from ceph_core.training.timing import FilmSeconds, film_seconds, fitting_epochs, full_epochs
from ceph_core.training.trainer import Training

SETTING = [
    "--set=model.name=hrnet_w18_small", "--set=data.image_size=64", "--set=train.batch_size=4", "--set=train.epochs=2",
    "--set=heatmap.sigma_rel=0.05",
]  # fmt: skip


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write(folder, seed=5, num_train=8, num_test=2)
    return folder


def train(films: Path, out: Path, *more: str) -> int:
    return main(["train", "--profile", "gpu", "--data", str(films), "--out", str(out), *SETTING, *more])


def test_a_run_leaves_a_member_that_evaluates(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train(films, out) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(out / "member")
    assert "epoch 1/2: loss" in said.err and "epoch 2/2: loss" in said.err and "about 0 s left" in said.err
    assert f"evaluate --model {out / 'member'}" in said.err
    assert {"plan.yaml", STATE_FILE, "tensorboard", "member"} <= {entry.name for entry in out.iterdir()}
    assert any((out / "tensorboard").iterdir())
    assert yaml.safe_load((out / "plan.yaml").read_text())["config"]["train"]["batch_size"] == 4
    member = load_member(out / "member")
    assert member.epoch == 2
    ema = torch.load(out / STATE_FILE, weights_only=True)["ema"]
    assert all(torch.equal(value, ema[name]) for name, value in member.net.state_dict().items())
    assert main(["evaluate", "--model", str(out / "member"), "--data", str(films)]) == 0
    assert "mean shape" in capsys.readouterr().out


def test_ctrl_c_saves_and_the_printed_command_goes_on(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "stopped"
    assert train(films, whole) == 0
    once, before = Training.__next__, signal.getsignal(signal.SIGINT)

    def interrupted(training: Training) -> Any:
        os.kill(os.getpid(), signal.SIGINT)  # in the middle of the epoch: it is finished first
        return once(training)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "__next__", interrupted)
        assert train(films, out) == 130
    said = capsys.readouterr().err
    assert "stopping at the end of this epoch" in said and "epoch 1 is saved" in said
    assert said.strip().endswith(f"python -m ceph_core train --out {out} --resume")
    assert signal.getsignal(signal.SIGINT) is before
    assert main(["train", "--out", str(out), "--resume"]) == 0
    one, other = (load_member(folder / "member").net.state_dict() for folder in (whole, out))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_second_ctrl_c_stops_at_once(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def twice(training: Training) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Training, "__next__", twice)
    assert train(films, tmp_path / "run") == 130
    assert "interrupted; nothing was saved yet" in capsys.readouterr().err


def test_a_diverged_run_fails(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Learner, "step", lambda *_: torch.tensor(float("nan")))
    assert train(films, tmp_path / "run") == 1
    assert "failed: epoch 1: the loss is no number; lower train.lr" in capsys.readouterr().err


COLLAPSE = ["--set=heatmap.sigma_rel=0.0156", "--set=train.epochs=20"]  # a quarter of a heatmap pixel


def test_a_hopeless_run_stops_if_told_to(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train(films, out, *COLLAPSE, "--set=train.stop_hopeless=true") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "failed: epoch 3: hopeless: serious: collapse:" in said.err and "set it to 0.0438" in said.err
    assert said.err.strip().endswith("the state is kept, no member is written")
    assert (out / STATE_FILE).is_file() and not (out / "member").exists()
    assert main(["train", "--out", str(out), "--resume"]) in (0, 1)  # it may be gone on with, and is judged again at each epoch
    assert "epoch 4/20" in capsys.readouterr().err


def test_findings_are_said_once_and_the_end_has_a_tier(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train(films, out, *COLLAPSE, "--set=train.epochs=5") == 0
    said = capsys.readouterr().err
    assert said.count("health: warning: vanishing-target: ") == 1 and said.count("health: serious: collapse: ") == 1
    assert re.search(r"trained: last weights, validation MRE \S+ mm; tier: below minimum; .* trajectory: behind", said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "train.learning_rate=1"], "--set: unknown key train.learning_rate; allowed are train.epochs"),
        (["--set", "train.lr"], "--set train.lr: must be KEY=VALUE"),
        (["--set", "train.lr=7", "--set", "data.image_size=100"], "data.image_size: must be a multiple of 32"),
        (["--set", "train.batch_size=40"], "train.batch_size: 40 makes a batch of 40"),
        (["--minutes", "0"], "--minutes: must be above 0"),
        (["--minutes", "0.0001"], "0 s are left; give more time"),
        (["--annotator", "nobody"], "annotator"),
        (["--data", "nowhere"], "no such folder"),
    ],
)
def test_wrong_input_leaves_nothing_behind(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    out = tmp_path / "run"
    assert train(films, out, *options) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_in_use_is_refused(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    assert train(films, tmp_path) == 2
    assert "already in use" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter.txt"]


def test_only_a_run_can_be_resumed_and_only_as_it_is(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--out", str(tmp_path), "--resume"]) == 2
    assert "no run of `train`" in capsys.readouterr().err
    assert train(films, tmp_path, "--resume") == 2
    assert "--resume: --data, --profile, --set cannot change a run" in capsys.readouterr().err
    (tmp_path / PLAN_FILE).write_text("config: {train: {lr: -1}}\nsource: {}\nfingerprint: x\n")
    assert main(["train", "--out", str(tmp_path), "--resume"]) == 2
    assert "train.lr: Input should be greater than 0" in capsys.readouterr().err


def test_every_wrong_value_is_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        shared.configure(["train.lr", "train.nothing=1", "train.epochs=0", "model.name={"])
    assert len(caught.value.problems) == 4


def test_values_are_yaml() -> None:
    config = shared.configure(
        ["schedule.stages=[{epochs: 0.4, size: 0.75, batch: 2}, {epochs: 0.6}]", "train.lr=1e-3", "train.micro_batch=null"]
    )
    assert config.train.lr == 1e-3 and config.train.micro_batch is None and len(config.schedule.stages) == 2


def test_minutes_choose_the_epochs(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(config: Config, data: TrainingData) -> dict[Stage, FilmSeconds]:
        return dict.fromkeys(config.schedule.stages, FilmSeconds(30 / len(data.train_ids), 0.0))

    monkeypatch.setattr(single_run, "measure", measured)
    assert train(films, tmp_path / "run", "--minutes", "1.2") == 0
    assert "--minutes: an epoch takes 30.0 s (tried for 0 s), so train.epochs is 2" in capsys.readouterr().err
    assert yaml.safe_load((tmp_path / "run" / "plan.yaml").read_text())["config"]["train"]["epochs"] == 2


def test_epochs_fit_the_time_through_all_stages() -> None:
    class Films:
        train_ids, validation_ids = ("a",) * 10, ("b",) * 2

    config = shared.configure(["schedule.stages=[{epochs: 0.5, size: 0.5}, {epochs: 0.5}]"])
    small, large = config.schedule.stages
    cost = {small: FilmSeconds(0.1, 0.0), large: FilmSeconds(0.3, 0.5)}  # 1 s and 4 s an epoch
    data: Any = Films()
    assert fitting_epochs(config, cost, data, 0.9) == 0
    assert fitting_epochs(config, cost, data, 4.0) == 1  # the only epoch is of the last stage
    assert fitting_epochs(config, cost, data, 5.0) == 2
    assert fitting_epochs(config, cost, data, 25.1) == 10
    assert full_epochs(config) == 250 / 2 * 0.25 + 250 / 2 and full_epochs(config, 249) == 1


@pytest.mark.slow
@pytest.mark.alone
def test_the_time_asked_for_is_kept(films: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    assert train(films, tmp_path / "run", "--minutes", "0.4") == 0
    assert time.monotonic() - began < 0.4 * 60 * 1.25  # another process may slow the machine down meanwhile


def test_a_film_s_price_is_positive() -> None:
    config = shared.configure([text.removeprefix("--set=") for text in SETTING])
    assert 0 < film_seconds(config, Canvas(64, 64), 19, torch.device("cpu")) < 30


# --- the guide's flags


def planned(out: Path) -> Config:
    return Config.model_validate(yaml.safe_load((out / "plan.yaml").read_text())["config"])


def stage_1(films: Path, out: Path) -> None:
    options = [
        "--model",
        "hrnet_w18_small",
        "--image_size",
        "64",
        "64",
        "--batch_size",
        "4",
        "--epochs",
        "2",
        "--set",
        "heatmap.sigma_rel=0.05",
    ]
    assert main(["train", "--data", str(films), "--out", str(out), *options]) == 0


def test_the_guide_s_flags_are_the_configuration(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model", "hrnet", "--image_size", "512", "384", "--batch_size", "10", "--epochs", "250", "--mixed_precision"]
    with pytest.raises(SystemExit):
        main(["train", "--data", str(films), "--image_size"])
    args = argparse.ArgumentParser()
    shared.add_plan(args)
    config = shared.config_of(args.parse_args(options))
    assert (config.model.name, config.data.image_size, config.train.batch_size, config.train.epochs) == ("hrnet_w48", 512, 10, 250)
    assert config.train.precision == pick_precision(Config().train, pick_device())
    stage_1(films, tmp_path / "run")
    assert planned(tmp_path / "run").data.image_size == 64 and planned(tmp_path / "run").train.batch_size == 4


def test_the_second_stage_in_a_command_of_its_own(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    stage_1(films, first)
    capsys.readouterr()
    assert main(["train", "--out", str(second), "--image_size", "96", "96", "--epochs", "4", "--resume", str(first / STATE_FILE)]) == 0
    said = capsys.readouterr().err
    assert f"goes on from {first / STATE_FILE}; changed: data.image_size was 64, now 96; train.epochs was 2, now 4" in said
    assert "epoch 3/4: loss" in said and "epoch 4/4" in said and "epoch 2/4" not in said and "(96 px, batch 4" in said
    assert planned(second).heatmap.sigma_rel == 0.05, "what is not said stays as it was"
    before, after = (checkpoint.load(folder) for folder in (first, second))
    assert after["step"] == before["step"] + 2 * 2, "7 films in batches of 4, over two epochs"
    assert load_member(second / "member").canvas.height == 96


def test_a_second_stage_that_is_interrupted_at_once_keeps_the_weights(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage_1(films, tmp_path / "first")
    with monkeypatch.context() as patch:
        patch.setattr(Training, "__next__", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["train", "--out", str(tmp_path / "second"), "--epochs", "4", "--resume", str(tmp_path / "first")]) == 130
    assert "go on with" in capsys.readouterr().err
    assert main(["train", "--out", str(tmp_path / "second"), "--resume"]) == 0
    said = capsys.readouterr().err
    assert "epoch 3/4" in said and "epoch 2/4" not in said


def test_the_weights_averages_moments_and_epoch_are_taken_over(films: Path, tmp_path: Path) -> None:
    stage_1(films, tmp_path / "first")
    stage = Stage1.of(tmp_path / "first")
    assert stage.source is not None
    data = single_run._open(stage.source)
    larger = shared.configure([], {"data.image_size": 96, "train.epochs": 4}, stage.config)
    training = Training(larger, data, stage.state, changed=True)
    state = checkpoint.load(tmp_path / "first")
    assert training.epoch == 2
    for name, tensors in (("net", training.learner.net), ("ema", training.learner.ema.net)):
        assert all(torch.equal(value, tensors.state_dict()[key]) for key, value in state[name].items())
    moments = training.learner.optimizer.state_dict()["state"]
    assert all(torch.equal(moments[key]["exp_avg"], value["exp_avg"]) for key, value in state["optimizer"]["state"].items())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--epochs", "2"], "has had 2 epochs; train.epochs 2 leaves none, give more than 2"),
        (["--epochs", "4", "--model", "hrnet_w18"], "holds a network with model.name hrnet_w18_small, not hrnet_w18"),
        (["--epochs", "4", "--set", "train.epochs=5"], "train.epochs is also set by a flag of its own"),
        (["--epochs", "4", "--image_size", "96", "96", "1"], "--image_size: one or two numbers, height and width in px, got 3"),
        (["--minutes", "1"], "--minutes: cannot choose the epochs of a run that goes on from a checkpoint"),
        (["--epochs", "4", "--profile", "cpu"], "--profile cpu: the checkpoint's plan is the starting point"),
        (["--epochs", "4", "--model", "resnet"], "model.name: Input should be 'hrnet_w18_small'"),
    ],
)
def test_a_stage_that_cannot_go_on_is_refused(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    stage_1(films, tmp_path / "first")
    assert main(["train", "--out", str(tmp_path / "second"), *options, "--resume", str(tmp_path / "first")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "second").exists()


def test_without_a_folder_there_is_nothing_to_go_on_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume"]) == 2
    assert "--resume: which run? give its --out, or a checkpoint" in capsys.readouterr().err


def test_training_on_all_films_validates_none(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(films, tmp_path / "run", "--validation-share", "0") == 0
    said = capsys.readouterr().err
    assert "8 training and 0 validation films" in said and "not validated" in said
    assert load_member(tmp_path / "run" / "member").epoch == 2


def test_snapshots_are_averaged_at_the_end(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(films, tmp_path / "run", "--set", "train.snapshots=2") == 0
    said = capsys.readouterr()
    assert all(f"{way}: validation MRE" in said.err for way in ("last weights", "averaged weights", "averaged answers"))
    assert len(list((tmp_path / "run" / "snapshots").iterdir())) == 2
    assert said.out.strip() in {str(tmp_path / "run" / folder) for folder in ("member", "ensemble")}


def test_the_new_plan_s_curriculum_and_weight_decay_hold(films: Path, tmp_path: Path) -> None:
    stage_1(films, tmp_path / "first")
    stage = Stage1.of(tmp_path / "first")
    assert stage.source is not None
    data = single_run._open(stage.source)
    path = tmp_path / "films.csv"
    path.write_text("film_id,difficulty\n" + "".join(f"{film},{number}\n" for number, film in enumerate(data.train_ids)))
    changes = {"train.epochs": 40, "train.weight_decay": 0.5, "curriculum.difficulty": "csv", "curriculum.csv": path}
    config = shared.configure([], changes, stage.config)
    training = Training(config, data, stage.state, changed=True)
    assert len(plan(config, 3, training._feedback).film_ids) == 3
    assert {group["weight_decay"] for group in training.learner.optimizer.param_groups} == {0.0, 0.5}
    late = shared.configure([], {"train.epochs": 40, "curriculum.difficulty": "loss"}, stage.config)
    with pytest.raises(InputError, match="needs its warm-up, which 2 epochs have left behind"):
        Training(late, data, stage.state, changed=True)


def test_a_checkpoint_that_does_not_say_its_films_needs_them_named(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage_1(films, tmp_path / "first")
    (tmp_path / "first" / "plan.yaml").unlink()
    assert main(["train", "--out", str(tmp_path / "second"), "--epochs", "4", "--resume", str(tmp_path / "first")]) == 2
    assert "says which films it saw; name them with --data" in capsys.readouterr().err


def test_a_checkpoint_of_other_landmarks_is_refused(films: Path, tmp_path: Path) -> None:
    stage_1(films, tmp_path / "first")
    stage = Stage1.of(tmp_path / "first")
    with pytest.raises(InputError, match="holds a network of 76 maps, and these films need 12; give its own data"):
        Training(shared.configure([], {"train.epochs": 4}, stage.config), make(tmp_path / "marks"), stage.state, changed=True)


def test_paths_are_absolute_wherever_they_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    config = shared.configure(["curriculum.difficulty=csv", "curriculum.csv=films.csv", "model.pretrained=weights.pth"])
    found = located(config)
    assert (found.curriculum.csv, found.model.pretrained) == (tmp_path / "films.csv", str(tmp_path / "weights.pth"))
    assert located(Config()) == Config()
