"""Which device, which number format, how much memory."""

import ctypes
import resource
import sys
from contextlib import AbstractContextManager
from functools import cache

import torch

from ceph_core.config import Config, TrainConfig
from ceph_core.training.multi_scale import sizes
from ceph_core.training.progressive import stage_batch


def pick_device() -> torch.device:
    """The GPU this process was given, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_precision(config: TrainConfig, device: torch.device) -> str:
    """fp32, bf16 or fp16: what the configuration asks for, or the fastest that the device computes itself and that trains as well."""
    if config.precision != "auto":
        return config.precision
    if device.type != "cuda":
        found = torch.cpu.get_capabilities()
        return "bf16" if found.get("avx512_bf16") or found.get("amx_bf16") else "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


COMPILE_STEPS = 20_000
"""Steps a film size from which compiling is worth its minutes, were it to save 10 ms a step; not measured beside CUDA graphs yet."""


def picks_compile(config: Config, num_films: int, device: torch.device) -> bool:
    """Whether the network is compiled: as configured, else by the run's length.

    Each film size is compiled anew (a minute or more for a large network, seconds where another trial has left it in torch's cache
    on disk).  On a CPU the compiled network was slower in every setting measured.
    """
    if config.train.compile != "auto":
        return config.train.compile
    if device.type != "cuda":
        return False
    stages = config.schedule.stages
    steps = sum(stage.epochs * config.train.epochs * num_films / stage_batch(config.train.batch_size, stage.batch) for stage in stages)
    return steps >= COMPILE_STEPS * len(sizes(config))


def picks_graphs(config: TrainConfig, device: torch.device, precision: str) -> bool:
    """Whether steps are recorded and replayed: as configured, where it can be done: a loss scaler decides step by step."""
    return config.cuda_graphs and device.type == "cuda" and precision != "fp16"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Half precision for the network; loss and decode leave it and stay in float32."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def num_workers(config: TrainConfig, device: torch.device) -> int:
    """Loader processes: as configured; unset, none on a CPU, which they would only share, and one a thread up to 4 beside a GPU."""
    if config.workers is not None:
        return config.workers
    return min(4, torch.get_num_threads()) if device.type == "cuda" else 0


def prepare(device: torch.device) -> None:
    """Let cuDNN try its algorithms (a run has few shapes) and forget the peak of memory so far (a process's, on the CPU, cannot be).

    A CPU keeps its memory from step to step instead.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.cuda.reset_peak_memory_stats(device)
    else:
        keep_freed_memory()


@cache
def keep_freed_memory() -> None:
    """Have this process's allocator keep what it frees, as a GPU's does.

    glibc gives every large block back to the kernel at once and takes fresh pages for the next, which the kernel first clears: a
    fifth of a small network's step.  Other C libraries have no `mallopt` and go on as they are.
    """
    trim_threshold, mmap_max = -1, -4  # as malloc.h numbers them
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


def peak_memory_mb(device: torch.device) -> float:
    """Peak of allocated GPU memory, or of the process's resident memory on the CPU, in MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
