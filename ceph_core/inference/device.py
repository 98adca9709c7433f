"""The device that `--device` names."""

import torch

from ceph_core.errors import InputError


def device_for(option: str) -> torch.device:
    """The device of "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".

    Raises:
        InputError: no such device here.
    """
    if option == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = option.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise InputError(f"--device: {option!r}; allowed are auto, cpu, cuda and cuda:N")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise InputError(f"--device: {option}: this machine shows torch {torch.cuda.device_count()} GPUs; use --device cpu")
    return torch.device(option)
