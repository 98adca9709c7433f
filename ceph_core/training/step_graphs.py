"""Steps as CUDA graphs: one call launches all that a step does.

HRNet's step is some four thousand small kernels, and a processor takes longer to launch them than a large GPU to run them.  What
was recorded once is launched whole (Ng et al., "Accelerating PyTorch with CUDA Graphs", PyTorch blog, 2021).
"""

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Work = Callable[[tuple[Tensor, ...], tuple[Any, ...]], Any]
"""Tensors and numbers (floats, or 0-dimensional float32 tensors that hold them) to tensors, in any nesting of tuples and lists."""
Record = Callable[[Callable[[], Any]], tuple[Any, Callable[[], None]]]
"""Record what a call does on the device without doing it: its outputs, to be filled by each call of the second."""


@dataclass(frozen=True)
class _Recorded:
    inputs: tuple[Tensor, ...]
    numbers: tuple[Tensor, ...]
    outputs: Any
    replay: Callable[[], None]


class StepGraphs:
    """Does a piece of work kernel by kernel the first time it comes in some shape, and records and replays it from then on.

    The work must do the same to the same tensors each time, but for what it is given; it waits for no result.

    Args:
        device: where the work is done.
        record: how; the default records a CUDA graph.
    """

    def __init__(self, device: torch.device, record: Record | None = None) -> None:
        self._device = device
        self._record = record or _CudaRecorder()
        self._recorded: dict[Hashable, _Recorded | None] = {}
        self._gave_up = False

    def run(self, shape: Hashable, tensors: Sequence[Tensor], numbers: Sequence[float], work: Work) -> Any:
        """The work's outputs; a replay's are overwritten by the next one of the same shape.

        Args:
            shape: of the work: all that decides which kernels run.
            tensors: what it is given, on any device.
            numbers: likewise, for what may change from step to step without another recording.
            work: what is done.
        """
        if self._gave_up or shape not in self._recorded:  # the first time kernels are chosen and the optimizer's moments made
            self._recorded[shape] = None
            return work(tuple(tensors), tuple(numbers))
        recorded = self._recorded[shape]
        if recorded is None:
            try:
                recorded = self._recorded[shape] = self._new(tensors, numbers, work)
            except RuntimeError as error:
                self._gave_up = True
                warnings.warn(f"no CUDA graph could be made ({str(error).splitlines()[0]}): steps run kernel by kernel", stacklevel=2)
                return self.run(shape, tensors, numbers, work)
        for own, given in zip(recorded.inputs, tensors, strict=True):
            own.copy_(given, non_blocking=True)
        for own, number in zip(recorded.numbers, numbers, strict=True):
            own.fill_(number)
        recorded.replay()
        return recorded.outputs

    @property
    def num_recorded(self) -> int:
        """Shapes that are replayed by now."""
        return sum(recorded is not None for recorded in self._recorded.values())

    def forget(self) -> None:
        """Free what was recorded: the tensors that it works on are about to be others, or their memory is needed."""
        self._recorded.clear()
        self._gave_up = False  # with fewer films at once there may be room for a recording

    def _new(self, tensors: Sequence[Tensor], numbers: Sequence[float], work: Work) -> _Recorded:
        inputs = tuple(tensor.to(self._device, copy=True) for tensor in tensors)
        held = tuple(torch.tensor(number, dtype=torch.float32, device=self._device) for number in numbers)
        outputs, replay = self._record(lambda: work(inputs, held))
        return _Recorded(inputs, held, outputs, replay)


class _CudaRecorder:
    """Graphs that share their memory: no two of them run at once, and nothing but their outputs outlives a replay."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        # thread_local: the loader's and the checkpoint's threads go on using the device meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            outputs = work()
        return outputs, graph.replay
