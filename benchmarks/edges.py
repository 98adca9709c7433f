"""What a trial costs beside its epochs: from its start to its first step, and how long saving holds training up.

python benchmarks/edges.py                (about 3 minutes on two cores)
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import measuring
import torch
from bare_loop import synchronize
from training import CPU_SETTING, drawn

from ceph_core.config import Config, apply
from ceph_core.data import cache, fingerprint
from ceph_core.data.films import TrainingData
from ceph_core.training import checkpoint
from ceph_core.training.device import pick_device
from ceph_core.training.learner import Learner
from ceph_core.training.trainer import Training
from search.tune.trial import LandmarkTrial, Order, Shared

SIZES = (192, 256)


class Watch:
    """When the first step of a trial began, and how many film files were read."""

    def __init__(self) -> None:
        self.first_step_at: float | None = None
        self.films_read = 0

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Listen to the optimizer steps and to every reading of a film."""
        step, reads = Learner.step, {module: module.read_bytes for module in (cache, fingerprint)}

        def first(learner: Learner, *args: Any) -> torch.Tensor:
            if self.first_step_at is None:
                self.first_step_at = time.perf_counter()
            return step(learner, *args)

        def counted(path: Path) -> bytes:
            self.films_read += 1
            return reads[cache](path)

        Learner.step = first
        for module in reads:
            module.read_bytes = counted
        try:
            yield
        finally:
            Learner.step = step
            for module, read in reads.items():
                module.read_bytes = read


def order(name: str, size: int, folder: Path) -> dict[str, Any]:
    """An order of two epochs, as the driver sends it."""
    config = apply(Config(), {**CPU_SETTING, "data.image_size": size, "train.epochs": 2, "train.seed": len(name)})
    return {"order": vars(Order(name, config.model_dump(mode="json"), str(folder / name)))}


def starts(data: TrainingData, rounds: int, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """One actor, trial after trial, as Tune reuses it; the films of every size were cached when the run began, as a run does."""
    for size in sizes:
        data.open(size)
    shared = Shared(data, (), 1, pick_device().type == "cuda")
    waits: dict[str, list[float]] = {}
    read = 0
    with tempfile.TemporaryDirectory() as scratch:
        actor = LandmarkTrial.__new__(LandmarkTrial)
        for number in range(rounds * len(sizes) * 2 + 1):
            size = sizes[number // 2 % len(sizes)]
            watch = Watch()
            with watch.looking():
                began = time.perf_counter()
                if number == 0:
                    actor.setup(order("t0000", size, Path(scratch)), shared)
                else:
                    actor.reset_config(order(f"t{number:04d}", size, Path(scratch)))
                actor.step()
            assert watch.first_step_at is not None
            kind = (
                "first trial of the process, torch imported"
                if number == 0
                else "next trial, size of the one before"
                if number % 2
                else "next trial, another size"
            )
            waits.setdefault(kind, []).append(watch.first_step_at - began)
            read += watch.films_read if number else 0
        actor.cleanup()
    return [
        {
            "trial": kind,
            "from its start to its first step, s": measuring.spread(found),
            "trials": len(found),
            "films read": read if number else "-",
        }
        for number, (kind, found) in enumerate(waits.items())
    ]


def saving(name: str, data: TrainingData, rounds: int) -> dict[str, Any]:
    """Blocked by a save, beside one copy of the same tensors, in turn; and what writing takes meanwhile."""
    device = pick_device()
    config = apply(Config(), {**CPU_SETTING, "model.name": name, "data.image_size": 64, "train.epochs": 1000, "train.batch_size": 2})
    training = Training(config, data, device=device)
    films = next(training._loader.epoch([64], 1, data.train_ids[:2], 2))

    def step() -> None:
        training.learner.step(films, *_of_a_step(training))
        synchronize(device)

    step()  # AdamW's moments exist from now on
    tensors = _tensors(training.state())
    written: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        saver = checkpoint.Saver(Path(folder))

        def save() -> float:
            step()
            blocked = measuring.seconds(lambda: (saver.save(training.state()), synchronize(device)))
            written.append(measuring.seconds(saver.wait))
            return blocked

        def copy() -> float:
            step()
            return measuring.seconds(lambda: ([tensor.clone() for tensor in tensors], synchronize(device)))

        found = measuring.in_turn({"save": save, "copy": copy}, rounds, warmup=2)
        saver.close()
    training.close()
    return {
        "network": name,
        "state, MB": sum(tensor.nbytes for tensor in tensors) / 1e6,
        "save blocks, ms": measuring.spread([1e3 * each for each in found["save"]]),
        "one copy, ms": measuring.spread([1e3 * each for each in found["copy"]]),
        "save / copy": measuring.ratio(found["save"], found["copy"]),
        "written meanwhile, ms": 1e3 * statistics.median(written),
    }


def _of_a_step(training: Training) -> tuple[Any, ...]:
    todo = training._plan_of_last()
    device = training.device
    return (
        training._codec(todo.size),
        torch.tensor(todo.sigma_px, device=device),
        torch.tensor(todo.landmark_weights, device=device),
        2,
        1e-3,
    )


def _tensors(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return [tree.detach()]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def main() -> None:
    args = measuring.arguments(__doc__).parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    data = drawn(12)
    rounds, sizes, names = (1, (64,), ("hrnet_w18_small",)) if args.quick else (10, SIZES, ("hrnet_w18_small", "hrnet_w48"))
    tables = {
        "A trial's start on a node whose films are cached": starts(data, rounds, sizes),
        "Saving a state": [saving(name, data, 3 if args.quick else 15) for name in names],
    }
    measuring.publish("edges", tables, args.quick)


if __name__ == "__main__":
    main()
