"""A training: exact resume, honest losses, and learning that happens."""

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_films import make, tiny

from ceph_core.codec import HeatmapCodec
from ceph_core.config import Config
from ceph_core.data.films import TrainingData
from ceph_core.data.loader import Batch
from ceph_core.errors import InputError
from ceph_core.metrics import mean_shape_mm
from ceph_core.models import build
from ceph_core.training import feedback
from ceph_core.training.learned_sigma import LearnedSigmas
from ceph_core.training.learner import Learner
from ceph_core.training.plan import plan
from ceph_core.training.result import EpochResult, scalars
from ceph_core.training.trainer import Training

CPU = torch.device("cpu")
TIMES = {"seconds", "train_seconds", "films_per_s", "peak_memory_mb"}
PROGRESSIVE = tiny(
    heatmap__loss="mse",
    data__image_size=96,
    train__batch_size=2,
    schedule__stages=[{"epochs": 0.5, "size": 0.67, "batch": 2}, {"epochs": 0.5}],
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return make(tmp_path_factory.mktemp("films"), train=6, validation=2)


def figures(result: EpochResult) -> dict[str, Any]:
    return {field.name: getattr(result, field.name) for field in fields(result) if field.name not in TIMES}


def same(one: Any, other: Any) -> bool:
    """Equal bit for bit, all the way down."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.fixture(scope="module")
def unstopped(data: TrainingData) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Figures and last state of a run that never stopped."""
    training = Training(PROGRESSIVE, data)
    return [figures(result) for result in training], training.learner.state_dict()


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
def test_resuming_equals_never_stopping_bit_for_bit(data: TrainingData, unstopped: Any, stopped_after: int, tmp_path: Path) -> None:
    training = Training(PROGRESSIVE, data)
    seen = [figures(next(training)) for _ in range(stopped_after)]
    training.save(tmp_path)
    training.close()
    torch.manual_seed(99)  # whatever else the process has done
    resumed = Training(PROGRESSIVE, data, resume=tmp_path)
    assert resumed.epoch == stopped_after
    seen += [figures(result) for result in resumed]
    assert seen == unstopped[0]
    assert same(resumed.learner.state_dict(), unstopped[1])


WHOLE = tiny(
    data__image_size=96,
    train__epochs=9,
    train__batch_size=2,
    train__lr=2e-3,
    schedule__stages=[{"epochs": 0.34, "size": 0.67, "batch": 2}, {"epochs": 0.33, "size": 0.67}, {"epochs": 0.33}],
    schedule__scales=[1.0, 1.34],
    schedule__draw="batch",
    curriculum__difficulty="loss",
    curriculum__warmup=0.12,
    curriculum__easy_until=0.45,
    curriculum__medium_until=0.8,
    curriculum__easy_films=0.5,
    hard_landmarks__weight=1.0,
    hard_landmarks__widen=0.5,
    hard_landmarks__start=0.2,
    heatmap__learned_sigma=0.05,
    model__dropout=0.1,
    model__drop_path=0.1,
    model__norm="frozen",
    augment__recipe="challenge",
)
"""Every technique at once: progressive, multi-scale, curriculum, hard landmarks and all that draws at random."""


@pytest.fixture(scope="module")
def whole(data: TrainingData) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Figures and last state of that run, never stopped."""
    training = Training(WHOLE, data)
    return [figures(result) for result in training], training.state()


@pytest.mark.parametrize("stopped_after", range(1, 9))
def test_a_run_with_every_technique_resumes_bit_for_bit_inside_every_stage(
    data: TrainingData, whole: Any, stopped_after: int, tmp_path: Path
) -> None:
    training = Training(WHOLE, data)
    seen = [figures(next(training)) for _ in range(stopped_after)]
    training.save(tmp_path)
    training.close()
    torch.manual_seed(99)
    resumed = Training(WHOLE, data, resume=tmp_path)
    seen += [figures(result) for result in resumed]
    assert seen == whole[0]
    assert same(resumed.state(), whole[1])


def test_that_run_did_use_every_technique(data: TrainingData, whole: Any) -> None:
    state, epochs = whole[1], range(1, 10)
    known = feedback.restored(feedback.begin(WHOLE, data.train_ids, data.dataset, ()), state["feedback"])
    plans = [plan(WHOLE, epoch, known) for epoch in epochs]
    assert [len(each.film_ids) for each in plans] == [6, 3, 3, 3, 5, 5, 5, 6, 6]
    assert [each.size for each in plans] == [64] * 6 + [96] * 3
    assert {size for each in plans for size in each.step_sizes} == {64, 96, 128}
    assert len(set(plans[-1].landmark_weights)) == 3 and len(set(plans[-1].sigma_px)) > 1 and len(set(plans[0].landmark_weights)) == 1
    assert [each.frozen_norm for each in plans] == [False] * 4 + [True] * 5
    assert state["feedback"]["difficulty"] is not None and any(value != 1 for value in state["sigmas"]["logarithms"].exp().tolist())


def test_landmarks_that_are_treated_apart_are_logged_apart(whole: Any, unstopped: Any) -> None:
    last = whole[0][-1]["landmarks"]
    assert set(last) == {"D", "R", "C"} and len({own["weight"] for own in last.values()}) == 3
    tags = scalars({"train_loss": 1.0, "landmarks": last})
    assert tags["landmark_weight/R"] == last["R"]["weight"] and {"landmark_sigma/C", "landmark_error/D"} <= set(tags)
    assert all(each["landmarks"] == {} for each in unstopped[0])


def test_stages_are_trained_as_planned(unstopped: Any) -> None:
    assert [(each["image_size"], each["batch_size"]) for each in unstopped[0]] == [(64, 4), (64, 4), (96, 2), (96, 2)]


def test_fp16_goes_on_with_its_scale(data: TrainingData, tmp_path: Path) -> None:
    training = Training(tiny(train__precision="fp16", train__epochs=1), data)
    assert training.learner.scaler.is_enabled()
    training.learner.scaler.load_state_dict({**training.learner.scaler.state_dict(), "scale": 128.0})
    training.save(tmp_path)
    resumed = Training(training.config, data, resume=tmp_path)
    assert resumed.learner.scaler.state_dict() == training.learner.scaler.state_dict()
    assert resumed.learner.scaler.get_scale() == 128.0


def test_another_configuration_is_refused_by_its_fields(data: TrainingData, tmp_path: Path) -> None:
    Training(tiny(), data).save(tmp_path)
    with pytest.raises(InputError, match=r"train\.lr was 0\.0005, now 0\.001; train\.seed was 0, now 7"):
        Training(tiny(train__lr=1e-3, train__seed=7), data, resume=tmp_path)


def test_other_films_are_refused(data: TrainingData, tmp_path: Path) -> None:
    Training(tiny(), data).save(tmp_path)
    with pytest.raises(InputError, match="was trained on 6 films"):
        Training(tiny(), make(tmp_path / "more", train=7, validation=2), resume=tmp_path)


def test_another_precision_is_said(data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("ceph_core.training.trainer.pick_precision", lambda *_: "fp16")
        Training(tiny(), data).save(tmp_path)
    with pytest.warns(UserWarning, match="was trained in fp16 and goes on in fp32"):
        Training(tiny(), data, resume=tmp_path)


def test_a_resume_needs_no_pretrained_weights(data: TrainingData, tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    torch.save(build(tiny().model, 3).backbone.state_dict(), weights)
    config = tiny(model__pretrained=str(weights))
    Training(config, data).save(tmp_path)
    weights.unlink()
    assert Training(config, data, resume=tmp_path).epoch == 0


def test_a_batch_larger_than_the_training_set_is_refused(data: TrainingData) -> None:
    with pytest.raises(InputError, match=r"train\.batch_size: 4 makes a batch of 8 .* the 6 training films"):
        Training(tiny(schedule__stages=[{"epochs": 0.5, "batch": 2}, {"epochs": 0.5}]), data)


def test_epochs_between_validations_train_the_same_and_have_no_figures(data: TrainingData) -> None:
    every = list(Training(tiny(train__epochs=6), data))
    thinned = list(Training(tiny(train__epochs=6, train__validations=2), data, marks=(0.2,)))
    assert [result.validated for result in thinned] == [False, True, True, False, False, True]
    for one, other in zip(every, thinned, strict=True):
        assert one.train_loss == other.train_loss
        assert not other.diverged
        if other.validated:
            assert one.val == other.val and one.val_loss == other.val_loss
        else:
            assert math.isnan(other.val_loss) and math.isnan(other.val.mre_mm)
            assert set(scalars(other.figures())) == {"lr", "train/loss"}


def test_an_epoch_that_was_broken_off_is_not_saved(data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(tiny(), data)
    monkeypatch.setattr(training.learner, "step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        next(training)
    with pytest.raises(RuntimeError, match="epoch 1 was broken off"):
        training.save(tmp_path)
    training.close()
    assert not list(tmp_path.iterdir()) and list(training) == []


def test_divergence_is_told_at_once_also_between_validations(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(tiny(train__epochs=4, train__validations=1), data)
    first = next(training)
    assert not first.validated and not first.diverged
    monkeypatch.setattr(training.learner, "step", lambda *_: torch.tensor(math.nan))
    result = next(training)
    assert result.validated and result.diverged and math.isnan(result.val.mre_mm)


@pytest.mark.parametrize("poisoned", ["loss", "weights"])
def test_a_diverged_epoch_has_no_figures(data: TrainingData, monkeypatch: pytest.MonkeyPatch, poisoned: str) -> None:
    training = Training(tiny(train__epochs=1), data)
    step = training.learner.step

    def bad(*args: Any) -> torch.Tensor:
        loss = step(*args)
        if poisoned == "weights":  # by the last gradient: the training loss is still a number
            next(training.learner.ema.net.parameters()).fill_(math.nan)
        return loss if poisoned == "weights" else torch.tensor(math.inf)

    monkeypatch.setattr(training.learner, "step", bad)
    result = next(training)
    assert result.diverged and math.isnan(result.val_loss) and all(math.isnan(value) for value in result.val.to_dict().values())
    assert set(scalars(result.figures())) == ({"lr"} if poisoned == "loss" else {"lr", "train/loss"})


# --- one step


def batch_with_missing() -> Batch:
    random = torch.Generator().manual_seed(0)
    points = torch.rand(4, 3, 2, generator=random) * 50 + 5
    points[0] = math.nan
    points[2, 1] = math.nan
    return Batch((torch.rand(4, 1, 64, 64, generator=random) * 255).to(torch.uint8), points)


def learner(config: Config) -> Learner:
    torch.manual_seed(0)
    sigmas = LearnedSigmas(3, config.heatmap.learned_sigma) if config.heatmap.learned_sigma else None
    return Learner(build(config.model, 3), config.train, CPU, "fp32", sigmas=sigmas)


def gradients(config: Config, micro_batch: int, batch: Batch, frozen: bool = True) -> tuple[float, torch.Tensor]:
    """Loss and gradient of a batch; `frozen` batch norm normalises by running statistics, so that films do not see each other."""
    one = learner(config)
    one.net.train(not frozen)
    loss, _ = one.accumulate(batch, HeatmapCodec(4, config.heatmap.loss, 4.0), torch.full((3,), 4.0), torch.ones(3), micro_batch)
    learned = [] if one.sigmas is None else list(one.sigmas.parameters())
    return float(loss), torch.cat([weight.grad.flatten() for weight in (*one.net.parameters(), *learned) if weight.grad is not None])


@pytest.mark.parametrize("learned_sigma", [0.0, 0.1])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_accumulated_gradients_are_the_whole_batch_s(loss: str, learned_sigma: float) -> None:
    config = tiny(heatmap__loss=loss, heatmap__learned_sigma=learned_sigma)
    whole = gradients(config, 4, batch_with_missing())
    for micro_batch in (1, 2, 3):
        cut = gradients(config, micro_batch, batch_with_missing())
        assert cut[0] == pytest.approx(whole[0], rel=1e-5)
        # Sums in another order: float32 rounding over a thousand terms.
        assert torch.allclose(cut[1], whole[1], rtol=1e-3, atol=1e-5 * float(whole[1].abs().max()))


def test_a_missing_landmark_changes_neither_loss_nor_gradient() -> None:
    config, full = tiny(), batch_with_missing()
    rest = Batch(full.images[1:], full.points[1:])  # the first film has no landmark at all
    assert gradients(config, 4, full)[0] == pytest.approx(gradients(config, 4, rest)[0], rel=1e-6)
    assert torch.allclose(gradients(config, 4, full)[1], gradients(config, 4, rest)[1], rtol=1e-3, atol=1e-6)
    nothing = Batch(full.images, torch.full_like(full.points, math.nan))
    loss, gradient = gradients(config, 4, nothing)
    assert loss == 0 and not gradient.any()


def test_the_rate_reaches_the_optimizer_and_a_scaled_step_is_the_plain_one() -> None:
    batch = batch_with_missing()
    after = []
    for scaled in (False, True):
        one = learner(tiny())
        one.scaler = torch.amp.GradScaler("cpu", enabled=scaled, init_scale=2.0**10)
        one.net.train()
        one.step(batch, HeatmapCodec(4, "cross_entropy", 4.0), torch.full((3,), 4.0), torch.ones(3), 4, 1e-3)
        assert {group["lr"] for group in one.optimizer.param_groups} == {1e-3}
        after.append(torch.cat([weight.detach().flatten() for weight in one.net.parameters()]))
    # A power of two scales exactly, but AdamW's first step is the gradient's sign, and tiny gradients round to either.
    assert (after[0] - after[1]).abs().median() < 1e-7


def test_an_overflowing_scaled_step_is_skipped() -> None:
    one = learner(tiny())
    one.scaler = torch.amp.GradScaler("cpu", init_scale=3e38)
    before = [weight.detach().clone() for weight in one.net.parameters()]
    one.net.train()
    one.step(batch_with_missing(), HeatmapCodec(4, "mse", 4.0), torch.full((3,), 4.0), torch.ones(3), 4, 1e-3)
    assert all(torch.equal(old, new) for old, new in zip(before, one.net.parameters(), strict=True))
    assert one.scaler.get_scale() < 3e38


def test_missing_landmarks_train_and_never_count(tmp_path: Path) -> None:
    data = make(tmp_path, train=4, validation=2, missing=True)
    training = Training(tiny(train__epochs=1), data)
    result = next(training)
    assert math.isfinite(result.train_loss) and math.isfinite(result.val.mre_mm)
    errors = training.errors_mm(training.validate(data.validation_ids), data.validation_ids)
    assert np.isnan(errors).tolist() == [[False, False, False], [False, True, False]]
    assert result.val.mre_mm == pytest.approx(np.nanmean(errors))


# --- learning


@pytest.mark.slow
def test_learning_beats_the_mean_shape(tmp_path: Path) -> None:
    data = make(tmp_path, train=8, validation=2)
    config = tiny(train__epochs=30, train__lr=2e-3, train__ema_decay=0.9, augment__strength=0, model__head_stride=2)
    training = Training(config, data)
    losses = [result.train_loss for result in training]
    errors = training.errors_mm(training.validate(data.train_ids), data.train_ids)
    films = data.dataset.by_id()
    truth = np.stack([films[film].landmarks_px for film in data.train_ids])
    spacing = np.ones((len(truth), 2))
    guessed = np.linalg.norm(truth - mean_shape_mm(truth, spacing), axis=-1).mean()
    assert losses[-1] < 0.3 * losses[0]
    assert errors.mean() < 0.2 * guessed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hrnet_w32", "hrnet_w48"])
def test_the_large_networks_train_an_epoch_at_512_px(name: str, tmp_path: Path) -> None:
    data = make(tmp_path, train=3, validation=2)
    config = tiny(model__name=name, data__image_size=512, train__batch_size=1, train__epochs=1, heatmap__sigma_rel=0.007)
    result = next(Training(config, data))
    print(f"{name}: {result.train_seconds / 3:.1f} s a film, peak {result.peak_memory_mb:.0f} MB")
    assert math.isfinite(result.train_loss) and math.isfinite(result.val.mre_mm)
    assert result.image_size == 512
