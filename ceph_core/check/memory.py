"""What the training will need of its device against what is free there now."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from ceph_core.check.finding import Finding
from ceph_core.config import Config, TrainConfig, apply
from ceph_core.geometry import canvas_for
from ceph_core.training.device import pick_precision
from ceph_core.training.memory import estimate_memory_mb
from ceph_core.training.progressive import stage_alone, stage_size

USUAL_ASPECT = 1.24
"""Height over width of a lateral film (2400 x 1935), where the data set does not say."""
ALLOCATOR = 1.1
"""A GPU's allocator takes about a tenth more than is asked for."""
TIGHT = 0.9

GUIDE = (("train.batch_size", 4), ("train.precision", "bf16"), ("data.image_size", 384), ("model.name", "hrnet_w32"))
"""What the guide changes, in its order, when memory is short."""


def memory(config: Config, aspect: float | None, num_landmarks: int, device: torch.device) -> Iterator[Finding]:
    """The largest step's estimate against free memory; with the guide's advice, and what it brings, where it does not fit.

    On a GPU a training that does not fit halves its micro-batch by itself; it fails only where not even one film fits.
    """
    needed = _needed_mb(config, aspect, num_landmarks, device)
    free = free_memory_mb(device)
    where = f"the GPU ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "the main memory"
    found = f"training will take about {_gb(needed)} of {where}; {_gb(free)} are free"
    if needed > free and device.type == "cuda" and (micro := _fitting_micro_batch(config, aspect, num_landmarks, device, free)):
        goes_on = f"{found}; it would go on with {micro} film{'s' if micro > 1 else ''} at once, which batch norm sees"
        yield Finding("warning", "memory", goes_on, _advice(config, aspect, num_landmarks, device, free))
    elif needed > free:
        yield Finding("error", "memory", found, _advice(config, aspect, num_landmarks, device, free))
    elif needed > TIGHT * free:
        yield Finding("warning", "memory", f"{found}: that is tight", _advice(config, aspect, num_landmarks, device, TIGHT * free))
    else:
        yield Finding("ok", "memory", found)


def _needed_mb(config: Config, aspect: float | None, num_landmarks: int, device: torch.device) -> float:
    half = half_precision(config.train, device)
    estimates = []
    for stage in dict.fromkeys(config.schedule.stages):
        alone = stage_alone(config, stage)
        largest = stage_size(alone.data.image_size, max(1.0, *config.schedule.scales))
        estimates.append(estimate_memory_mb(alone, canvas_for(aspect or USUAL_ASPECT, largest), num_landmarks, half))
    return max(estimates) * (ALLOCATOR if device.type == "cuda" else 1.0)


def _fitting_micro_batch(config: Config, aspect: float | None, num_landmarks: int, device: torch.device, free: float) -> int:
    """The largest half, quarter, ... of the batch that fits; 0 if not even one film does."""
    micro = min(config.train.micro_batch or config.train.batch_size, config.train.batch_size)
    while micro > 1:
        micro //= 2
        if _needed_mb(apply(config, {"train.micro_batch": micro}), aspect, num_landmarks, device) <= free:
            return micro
    return 0


def _advice(config: Config, aspect: float | None, num_landmarks: int, device: torch.device, free: float) -> str:
    """The guide's changes one on top of the other until it fits; on a GPU only does half precision save memory and time."""
    values: dict[str, int | str] = {}
    needed = 0.0
    for key, value in GUIDE:
        if not _lowers(config, key, value, device):
            continue
        values[key] = value
        needed = _needed_mb(apply(config, values), aspect, num_landmarks, device)
        if needed <= free:
            break
    if not values:
        return "free some of it, or take a smaller model.name or data.image_size"
    steps = ", ".join(f"{key}={value}" for key, value in values.items())
    return f"free some of it, or set {steps}: about {_gb(needed)}" + ("" if needed <= free else ", still too much")


def _lowers(config: Config, key: str, value: int | str, device: torch.device) -> bool:
    if key == "train.precision":
        return device.type == "cuda" and pick_precision(config.train, device) == "fp32"
    if key == "train.batch_size":
        return config.train.batch_size > int(value) and (config.train.micro_batch or config.train.batch_size) > int(value)
    if key == "data.image_size":
        return config.data.image_size > int(value)
    return config.model.name == "hrnet_w48"


def free_memory_mb(device: torch.device) -> float:
    """Free memory of a GPU, or what a process may still take of the main memory, in MB."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**20
    free = [_available_mb()]
    # A container's own limit, as cgroups version 2 states it.
    folder = Path("/sys/fs/cgroup")
    limit, used = (_number(folder / name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        free.append((limit - used) / 2**20)
    return max(0.0, min(free))


def _available_mb() -> float:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass  # no Linux: all of it, then
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or "max"
        return None


def half_precision(train: TrainConfig, device: torch.device) -> bool:
    """Whether the network will compute in half precision there."""
    return pick_precision(train, device) != "fp32"


def _gb(megabytes: float) -> str:
    return f"{megabytes / 1024:.3g} GB"
