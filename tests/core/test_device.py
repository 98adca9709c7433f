"""What a training takes of the machine it finds."""

import platform
import subprocess
import sys

import pytest
import torch

from ceph_core.config import Config, TrainConfig, apply
from ceph_core.training.device import pick_precision, picks_compile

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


@pytest.mark.parametrize(
    ("knobs", "films", "compiled"),
    [
        ({}, 130, False),  # the guide's 250 epochs of 130 films: 5,400 steps
        ({}, 700, True),  # 29,000
        ({"schedule.stages": [{"epochs": 0.5, "size": 0.75}, {"epochs": 0.5}]}, 700, False),  # two sizes to compile
        ({"schedule.stages": [{"epochs": 0.5, "size": 0.75}, {"epochs": 0.5}]}, 1400, True),
        ({"train.compile": False}, 7000, False),
        ({"train.compile": True}, 8, True),
    ],
)
def test_long_runs_on_a_gpu_are_compiled(knobs: dict[str, object], films: int, compiled: bool) -> None:
    config = apply(Config(), knobs)
    assert picks_compile(config, films, torch.device("cuda")) is compiled
    assert picks_compile(config, films, CPU) is (config.train.compile is True)


FAULTS = """
import resource
import torch
from ceph_core.training.device import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16_000_000)  # 64 MB, beyond what glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
keep_freed_memory()
faults()
print(given_back, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_memory_that_a_step_frees_serves_the_next() -> None:
    """In a process of its own, whose allocator nobody has touched: the kernel hands out the pages once, not each time."""
    told = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout
    given_back, kept = map(int, told.split())
    assert kept < given_back / 10
