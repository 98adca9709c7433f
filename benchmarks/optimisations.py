"""What each optimisation of the training step brought: the bare loop from PyTorch's defaults to the trainer's ways, one by one.

python benchmarks/optimisations.py        (about 6 minutes on two cores)
"""

import multiprocessing
import os
import tempfile
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import measuring
import torch
from bare_loop import BareLoop, Ways
from training import Setting, drawn, settings

from ceph_core.data.films import TrainingData
from ceph_core.training.device import pick_device, pick_precision

STEPS = {
    "eager defaults": Ways(channels_last=False, keeps_memory=False, splits_head=False, contiguous_loss=False, fused=False),
    "+ channels_last": Ways(keeps_memory=False, splits_head=False, contiguous_loss=False, fused=False),
    "+ the allocator keeps memory": Ways(splits_head=False, contiguous_loss=False, fused=False),
    "+ branches mixed at their own strides": Ways(contiguous_loss=False, fused=False),
    "+ bf16": Ways(precision="bf16", contiguous_loss=False, fused=False),
    "+ loss on contiguous maps": Ways(precision="bf16", fused=False),
    "+ fused AdamW, averaged weights in one call": Ways(precision="bf16"),
    "the last one compiled": Ways(precision="bf16", compiled=True),
}


def contestant(link: Connection, setting: Setting, data: TrainingData, ways: Ways, num_steps: int) -> None:
    """A process of its own: allocator and compiler settings are a process's. Answers with films/s whenever asked."""
    torch.set_num_threads(setting.threads)
    bare = BareLoop(setting.config, data.canvas(setting.config.data.image_size), pick_device(), ways)
    started = time.perf_counter()
    bare.films_per_s(1)
    link.send(time.perf_counter() - started)
    while link.recv():
        link.send(bare.films_per_s(num_steps))


def gains(setting: Setting, data: TrainingData, rounds: int, num_steps: int, steps: dict[str, Ways]) -> list[dict[str, Any]]:
    """Each step's rate and its ratio to the step before and to the defaults, all processes in turn."""
    context = multiprocessing.get_context("spawn")
    links, first_step_s, processes = {}, {}, []
    for name, ways in steps.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=contestant, args=(theirs, setting, data, ways, num_steps), daemon=True)
        process.start()
        links[name], first_step_s[name] = ours, ours.recv()
        processes.append(process)

    def ask(name: str) -> float:
        links[name].send(True)
        return float(links[name].recv())

    found = measuring.in_turn({name: (lambda name=name: ask(name)) for name in steps}, rounds)
    for link, process in zip(links.values(), processes, strict=True):
        link.send(False)
        process.join()
    names = list(steps)
    return [
        {
            "bare loop": name,
            "films/s": measuring.spread(found[name]),
            "over the one above": measuring.ratio(found[name], found[names[max(0, place - 1)]]),
            "over eager defaults": measuring.ratio(found[name], found[names[0]]),
            "first step, s": first_step_s[name],
        }
        for place, name in enumerate(names)
    ]


def main() -> None:
    args = measuring.arguments(__doc__).parse_args()
    rounds, num_films, num_steps = (2, 12, 2) if args.quick else (8, 80, 12)
    device = pick_device()
    data = drawn(num_films)
    chosen = settings(device, args.quick)
    tables: dict[str, list[dict[str, Any]]] = {}
    largest = max(setting.config.data.image_size for setting in chosen)
    for setting in [each for each in chosen if each.config.data.image_size == largest] if device.type == "cpu" else chosen[:1]:
        best = pick_precision(setting.config.train, device)
        steps = {name: replace(ways, precision=best if ways.precision == "bf16" else "fp32") for name, ways in STEPS.items()}
        if args.quick:
            steps = {name: steps[name] for name in list(steps)[:2]}
        title = "The bare loop, step by step: " + ", ".join(f"{name} {value}" for name, value in setting.columns().items())
        tables[title] = gains(setting, data, rounds, num_steps, steps)
    measuring.publish("optimisations", tables, args.quick)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as compiled:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", compiled)  # a first step is timed as the first ever
        main()
