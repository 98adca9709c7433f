"""What becomes of a training whose device is too small: fewer films at once, then activations computed again, then advice."""

from dataclasses import replace

import torch

from ceph_core.config import Config
from ceph_core.training.feedback import Feedback
from ceph_core.training.plan import EpochPlan

_WORDS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""How allocators and libraries say it that raise no error of their own."""


class OutOfMemory(RuntimeError):
    """Not even one film fits, with its activations computed again."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device, or the host's allocator, had no room."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _WORDS)


def step_down(config: Config, todo: EpochPlan, feedback: Feedback, error: RuntimeError) -> tuple[Feedback, str]:
    """The next rung of the ladder, and what is said of it.

    Gradients are accumulated over micro-batches, so that the searched batch stays; only batch norm sees the smaller number.

    Raises:
        OutOfMemory: there is none; its message holds the guide's advice.
    """
    if todo.micro_batch > 1:
        smaller = todo.micro_batch // 2
        return replace(feedback, micro_batch=smaller), (
            f"out of memory with {todo.micro_batch} films of {max(todo.step_sizes)} px at once; going on with {smaller}, "
            f"gradients accumulated to the batch of {todo.batch} (batch norm sees {smaller})"
        )
    if not todo.checkpoints:
        return replace(feedback, checkpoints=True), (
            f"out of memory with one film of {max(todo.step_sizes)} px; going on with activations computed again for the gradient"
        )
    raise OutOfMemory(
        f"out of memory with one film of {max(todo.step_sizes)} px and its activations computed again: {advice(config)}"
    ) from error


def advice(config: Config) -> str:
    """The guide's, without what the configuration has already."""
    half = config.train.precision in ("auto", "bf16", "fp16")
    options = [
        *(["set train.batch_size to 4"] if config.train.batch_size > 4 else []),
        *([] if half else ["set train.precision to auto (half precision where the device has it)"]),
        *(["set data.image_size to 384"] if config.data.image_size > 384 else []),
        *(["take model.name hrnet_w32"] if config.model.name == "hrnet_w48" else []),
    ]
    return "; ".join(options) or "take a smaller data.image_size or network, or give the trial a whole GPU"
