"""Which device, which number format, how much memory."""

import resource
import sys
from contextlib import AbstractContextManager

import torch

from ceph_core.config import TrainConfig


def pick_device() -> torch.device:
    """The GPU this process was given, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_precision(config: TrainConfig, device: torch.device) -> str:
    """fp32, bf16 or fp16: what the configuration asks for, or the best the device has."""
    if config.precision != "auto":
        return config.precision
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


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
    """Let cuDNN try its algorithms (a run has few shapes) and forget the peak of memory so far (a process's, on the CPU, cannot be)."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: torch.device) -> float:
    """Peak of allocated GPU memory, or of the process's resident memory on the CPU, in MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
