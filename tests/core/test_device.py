"""What a training takes of the machine it finds."""

import pytest
import torch

from ceph_core.config import TrainConfig
from ceph_core.training.device import pick_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("able", "precision"), [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx512_bf16": False}, "fp32"), ({}, "fp32")]
)
def test_a_cpu_trains_in_half_precision_if_it_computes_in_it(
    able: dict[str, bool], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: able)
    assert pick_precision(TrainConfig(), CPU) == precision


@pytest.mark.parametrize("asked", ["fp32", "bf16", "fp16"])
def test_what_is_asked_for_is_taken(asked: str) -> None:
    assert pick_precision(TrainConfig.model_validate({"precision": asked}), CPU) == asked
