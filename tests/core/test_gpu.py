"""What only a GPU can show; run with `pytest -m gpu`."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn_films import make, tiny

from ceph_core.config import Config, apply
from ceph_core.training.trainer import EpochResult, Training

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    # Other versions of torch warn of other things; what is told is looked at where it matters.
    pytest.mark.filterwarnings("default"),
]

HARD = {"hard_landmarks.weight": 1.0, "hard_landmarks.widen": 1.0, "hard_landmarks.start": 0.0}


def trained(config: Config, folder: Path, **knobs: Any) -> tuple[list[EpochResult], list[str], Training]:
    """Epochs, what was warned of, and the training, still open."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        training = Training(apply(config, knobs), make(folder, train=10, validation=2))
        results = list(training)
    return results, [str(each.message) for each in told], training


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        HARD,
        {"heatmap.learned_sigma": 0.1, "train.micro_batch": 2},
        {"schedule.scales": (1.0, 1.5), "schedule.draw": "batch"},
        {"model.norm": "frozen", "model.norm_frozen_after": 0.5},
    ],
)
def test_a_recorded_training_is_the_plain_one(knobs: dict[str, Any], tmp_path: Path) -> None:
    """In float32, over a last batch that is smaller; the first epochs, before rounding has grown."""
    config = apply(tiny(), {"train.epochs": 6, "train.batch_size": 4, "train.precision": "fp32", "train.lr": 1e-4, **knobs})
    plain, _, _ = trained(config, tmp_path / "plain", **{"train.cuda_graphs": False})
    recorded, told, training = trained(config, tmp_path / "recorded")
    assert not [each for each in told if "CUDA graph" in each]
    assert training.learner.graphs is not None and training.learner.graphs.num_recorded >= 2
    assert [each.train_loss for each in recorded] == pytest.approx([each.train_loss for each in plain], rel=5e-3)


def test_dropout_draws_anew_in_every_replay(tmp_path: Path) -> None:
    config = apply(tiny(), {"train.epochs": 4, "train.lr": 1e-12, "model.dropout": 0.5, "augment.strength": 0, "train.precision": "fp32"})
    results, _, _ = trained(config, tmp_path)
    assert len({each.train_loss for each in results}) == 4


@pytest.mark.parametrize("recorded", [False, True])
def test_out_of_memory_steps_down_and_trains_on(recorded: bool, tmp_path: Path) -> None:
    """For real: the allocator refuses what the batch needs, and half of it fits."""
    config = apply(tiny(), {"data.image_size": 512, "train.batch_size": 8, "train.epochs": 2, "train.cuda_graphs": recorded})
    torch.cuda.empty_cache()
    _, _, whole = trained(config, tmp_path / "whole")
    peak = torch.cuda.max_memory_allocated()
    whole.close()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(0.5 * peak / total)  # cuDNN asks for less where there is less
    try:
        results, told, _ = trained(config, tmp_path / "limited")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert [each for each in told if "memory" in each], told
    assert len(results) == 2 and all(each.micro_batch < 8 for each in results)
