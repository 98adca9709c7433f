"""Recorded steps, with a recorder for machines that have none: it repeats the call on the tensors that a graph would hold."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from ceph_core.codec import HeatmapCodec
from ceph_core.config import Config, apply
from ceph_core.data.loader import Batch
from ceph_core.models import build
from ceph_core.training.learned_sigma import LearnedSigmas
from ceph_core.training.learner import Learner
from ceph_core.training.step_graphs import StepGraphs
from ceph_core.training.watch import Watch

CPU = torch.device("cpu")
CODEC = HeatmapCodec(4, "cross_entropy", 4.0)


class Repeats:
    """Records by keeping the call; a replay fills the outputs that were handed out first, as a graph does.

    Recording does nothing on the device, so that what the call changes is put back.
    """

    def __init__(self, kept: Callable[[], list[torch.Tensor]]) -> None:
        self.kept, self.recorded, self.replayed = kept, 0, 0

    def __call__(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        self.recorded += 1
        before = [tensor.detach().clone() for tensor in self.kept()]
        loss, distances = work()
        with torch.no_grad():
            for tensor, value in zip(self.kept(), before, strict=True):
                tensor.copy_(value)

        def replay() -> None:
            self.replayed += 1
            again, apart = work()
            loss.copy_(again)
            for (sums, counts), (new_sums, new_counts) in zip(distances, apart, strict=True):
                sums.copy_(new_sums)
                counts.copy_(new_counts)

        return (loss, distances), replay


def made(config: Config, recorded: bool) -> tuple[Learner, Repeats | None]:
    torch.manual_seed(0)
    sigmas = LearnedSigmas(3, 0.1) if config.heatmap.learned_sigma else None
    net = build(config.model, 3)

    def everything() -> list[torch.Tensor]:
        state = [tensor for each in learner.optimizer.state.values() for tensor in each.values()]
        learned = [] if sigmas is None else list(sigmas.parameters())
        return [*net.state_dict().values(), *learner.ema.net.state_dict().values(), *state, *learned]

    recorder = Repeats(everything) if recorded else None
    graphs = None if recorder is None else StepGraphs(CPU, recorder)
    learner = Learner(net, config.train, CPU, "fp32", sigmas=sigmas, graphs=graphs)
    return learner, recorder


def films(number: int, size: int = 64) -> Batch:
    random = torch.Generator().manual_seed(number)
    return Batch((torch.rand(4, 1, size, size, generator=random) * 255).to(torch.uint8), torch.rand(4, 3, 2, generator=random) * size)


TINY: dict[str, Any] = {"model.name": "hrnet_w18_small", "data.image_size": 64, "train.batch_size": 4}


@pytest.mark.parametrize("knobs", [{}, {"heatmap.learned_sigma": 0.1}, {"model.norm": "group"}])
def test_a_recorded_training_is_the_plain_one(knobs: dict[str, Any]) -> None:
    """New films, sigmas, weights, rates and sizes reach every replay, and so do averages whose weight rises."""
    results = []
    for recorded in (False, True):
        learner, recorder = made(apply(Config(), TINY | knobs), recorded)
        learner.set_mode(False, False)
        learner.watch = Watch(3, CPU)
        losses = []
        for number in range(8):
            size = 96 if number % 4 == 3 else 64
            sigma, weights = torch.full((3,), 3.0 + 0.1 * number), torch.tensor([1.0, 1.0 + 0.1 * number, 0.5])
            losses.append(float(learner.step(films(number, size), CODEC, sigma, weights, 2, 2.0 ** -(10 + number))))  # exact in float32
        assert {group["lr"] for group in learner.optimizer.param_groups} == {2.0**-17}
        results.append((losses, learner.watch.errors(), learner))
        if recorder is not None:
            assert (recorder.recorded, recorder.replayed) == (2, 6)  # 64 px: 6 steps, 96 px: 2, the first of each plain
    (losses, watched, plain), (replayed, seen, other) = results
    assert replayed == losses and seen == watched
    assert plain.num_steps == other.num_steps == 8
    assert all(torch.equal(value, other.net.state_dict()[name]) for name, value in plain.net.state_dict().items())
    for name, value in plain.ema.net.state_dict().items():  # averages come about by other roundings
        assert torch.allclose(value.float(), other.ema.net.state_dict()[name].float(), rtol=1e-5, atol=1e-6), name


def test_another_mode_is_another_recording() -> None:
    learner, recorder = made(apply(Config(), TINY), True)
    assert recorder is not None
    for frozen_norm in (False, True):
        learner.set_mode(frozen_norm, False)
        for number in range(2):
            learner.step(films(number), CODEC, torch.full((3,), 3.0), torch.ones(3), 4, 1e-3)
    assert recorder.recorded == 2
    learner.set_mode(False, True)  # activations computed twice: kernel by kernel
    learner.step(films(3), CODEC, torch.full((3,), 3.0), torch.ones(3), 4, 1e-3)
    assert (recorder.recorded, recorder.replayed) == (2, 2)


def test_what_cannot_be_recorded_goes_on_plainly_and_says_so() -> None:
    def fails(work: Callable[[], Any]) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    learner = Learner(build(apply(Config(), TINY).model, 3), Config().train, CPU, "fp32", graphs=StepGraphs(CPU, fails))
    learner.set_mode(False, False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for number in range(4):
            learner.step(films(number), CODEC, torch.full((3,), 3.0), torch.ones(3), 4, 1e-3)
    assert learner.num_steps == 4
    assert [str(each.message) for each in told if "CUDA graph" in str(each.message)] == [
        "no CUDA graph could be made (operation not permitted when stream is capturing): steps run kernel by kernel"
    ]


def test_after_a_step_that_was_forgotten_all_is_recorded_anew() -> None:
    learner, recorder = made(apply(Config(), TINY), True)
    assert recorder is not None
    learner.set_mode(False, False)
    for number in range(3):
        learner.step(films(number), CODEC, torch.full((3,), 3.0), torch.ones(3), 4, 1e-3)
    learner.forget_step()
    for number in range(3):
        learner.step(films(number), CODEC, torch.full((3,), 3.0), torch.ones(3), 4, 1e-3)
    assert (recorder.recorded, recorder.replayed) == (2, 4)
