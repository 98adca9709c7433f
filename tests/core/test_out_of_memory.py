"""A device that is too small: fewer films at once, then activations computed again, then advice."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from drawn_films import make, tiny

from ceph_core.codec import HeatmapCodec
from ceph_core.config import Config
from ceph_core.data.films import TrainingData
from ceph_core.data.loader import Batch
from ceph_core.geometry import Canvas
from ceph_core.models import build, recompute
from ceph_core.training import validate
from ceph_core.training.learner import Learner
from ceph_core.training.memory import estimate_memory_mb
from ceph_core.training.out_of_memory import OutOfMemory, is_out_of_memory
from ceph_core.training.trainer import Training

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return make(tmp_path_factory.mktemp("films"), train=8, validation=2)


@contextmanager
def allocator_of(limit_mb: float) -> Iterator[None]:
    """What autograd keeps for one pass over more than this fails, as a GPU's allocator does."""
    stores: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        store = tensor.untyped_storage()
        stores[store.data_ptr()] = store.nbytes()
        if sum(stores.values()) > limit_mb * 2**20:
            raise torch.OutOfMemoryError(f"tried to allocate {store.nbytes()} bytes")
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield


def limited(training: Training, limit_mb: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every forward pass of this training meets the limit."""
    plain = training.learner.net.forward

    def forward(images: torch.Tensor) -> torch.Tensor:
        with allocator_of(limit_mb):
            return plain(images)

    monkeypatch.setattr(training.learner.net, "forward", forward)


def kept_mb(config: Config, films: int) -> float:
    """What one pass over so many films of 64 px keeps."""
    net = build(config.model, 3).train()
    recompute(net, config.train.checkpoint_activations)
    stores: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        stores[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        raw = net(torch.rand(films, 1, 64, 64))
    assert raw.requires_grad
    return sum(store.nbytes() for store in stores.values()) / 2**20


@pytest.mark.parametrize(("fits", "expected"), [(4, 4), (2, 2), (1, 1)])
def test_the_micro_batch_is_halved_until_it_fits_and_the_batch_stays(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch, fits: int, expected: int
) -> None:
    training = Training(tiny(train__epochs=2), data, device=CPU)
    limited(training, kept_mb(training.config, fits) + 0.2, monkeypatch)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        results = list(training)
    steps = [f"out of memory with {films} films of 64 px at once; going on with {films // 2}, gradients" for films in (4, 2)]
    assert len(told) == {4: 0, 2: 1, 1: 2}[fits]
    assert all(str(each.message).startswith(step) for each, step in zip(told, steps, strict=False))
    assert [(result.batch_size, result.micro_batch) for result in results] == [(4, expected)] * 2


def test_one_film_that_does_not_fit_is_computed_again(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, again = (kept_mb(tiny(train__checkpoint_activations=on), 1) for on in (False, True))
    assert again < 0.7 * plain
    training = Training(tiny(train__epochs=1), data, device=CPU)
    limited(training, (plain + again) / 2, monkeypatch)
    with pytest.warns(UserWarning) as told:
        result = next(training)
    assert result.micro_batch == 1 and not result.diverged
    assert "activations computed again for the gradient" in str(told[-1].message)


def test_nothing_left_ends_with_the_guide_s_advice(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(tiny(train__batch_size=6, data__image_size=416, model__name="hrnet_w18_small"), data, device=CPU)
    limited(training, 0.1, monkeypatch)
    with (
        pytest.warns(UserWarning),
        pytest.raises(
            OutOfMemory,
            match=r"one film of 416 px .*: set train.batch_size to 4; set train.precision .*; set data.image_size to 384",
        ),
    ):
        next(training)


def test_what_fits_is_remembered_over_a_resume(data: TrainingData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    training = Training(tiny(train__epochs=2), data, device=CPU)
    limited(training, kept_mb(training.config, 2) + 0.2, monkeypatch)
    with pytest.warns(UserWarning, match="out of memory"):
        next(training)
    training.save(tmp_path)
    resumed = Training(training.config, data, resume=tmp_path, device=CPU)
    assert next(resumed).micro_batch == 2


def test_other_errors_are_not_taken_for_it(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(tiny(), data, device=CPU)
    monkeypatch.setattr(Learner, "accumulate", lambda *_: (_ for _ in ()).throw(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        next(training)
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_computing_again_changes_memory_and_nothing_else(data: TrainingData, norm: str) -> None:
    trainings = [
        Training(tiny(train__epochs=1, train__checkpoint_activations=on, model__norm=norm, model__drop_path=0.3), data)
        for on in (False, True)
    ]
    results = [next(training) for training in trainings]
    assert results[0].train_loss == pytest.approx(results[1].train_loss, rel=1e-6)
    states = [training.learner.net.state_dict() for training in trainings]
    for name, value in states[0].items():
        assert torch.allclose(value.float(), states[1][name].float(), rtol=1e-4, atol=1e-6), name


def test_the_estimate_knows_what_is_computed_again() -> None:
    def estimate(**changes: object) -> float:
        return estimate_memory_mb(tiny(train__batch_size=4, **changes), Canvas(256, 224), 19, half_precision=False)  # type: ignore[arg-type]

    weights = 9 * sum(weight.numel() for weight in build(tiny().model, 19).parameters()) * 4 / 2**20
    plain, again = estimate() - weights, estimate(train__checkpoint_activations=True) - weights
    assert 0.2 * plain < again < 0.8 * plain


def test_the_network_is_not_compiled_while_it_is_computed_again() -> None:
    learner = Learner(build(tiny().model, 3), tiny().train, CPU, "fp32")
    learner._compiled_net = torch.nn.Identity()
    learner.set_mode(frozen_norm=False, checkpoints=True)
    assert learner._forward is learner.net
    learner.set_mode(frozen_norm=False, checkpoints=False)
    assert learner._forward is learner._compiled_net


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("where", ["moments", "unscaled"])
def test_a_step_that_fails_after_its_gradients_can_be_taken_again(precision: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    learner = Learner(build(tiny().model, 3), tiny().train, CPU, precision)
    learner.set_mode(False, False)
    batch = Batch(torch.randint(0, 255, (4, 1, 64, 64), dtype=torch.uint8), torch.rand(4, 3, 2) * 60)
    arguments = (batch, HeatmapCodec(4, "cross_entropy", 4.0), torch.full((3,), 4.0), torch.ones(3), 4, 1e-3)
    with monkeypatch.context() as full:
        if where == "moments":  # AdamW makes them one after the other

            def half_made(*_: object, **__: object) -> None:
                weight = next(learner.net.parameters())
                learner.optimizer.state[weight] = {"step": torch.zeros(()), "exp_avg": torch.zeros_like(weight)}
                raise torch.OutOfMemoryError("no room for exp_avg_sq")

            full.setattr(learner.optimizer, "step", half_made)
        else:
            full.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("no room")))
        with pytest.raises(torch.OutOfMemoryError):
            learner.step(*arguments)
    learner.forget_step()
    assert torch.isfinite(learner.step(*arguments)) and learner.num_steps == 1


def test_validation_takes_fewer_films_at_once_and_then_gives_advice(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    training, plain, seen = Training(tiny(train__epochs=1), data, device=CPU), validate.answer, []

    def answer(*args: object) -> validate.Answers:
        seen.append(args[-2])
        if args[-2] > most:  # type: ignore[operator]
            raise RuntimeError("CUDA error: out of memory")
        return plain(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("ceph_core.training.trainer.answer", answer)
    most = 1
    assert not next(training).diverged and seen == [4, 2, 1]
    most = 0
    with pytest.raises(OutOfMemory, match="one film of 64 px in validation"):
        training.validate(data.validation_ids)
