"""Films a second of the real trainer beside a bare loop on resident data, and what each optimisation of that loop brought.

python benchmarks/training.py             (about 12 minutes on two cores; with a GPU its networks, sizes and batches instead)
"""

import itertools
import multiprocessing
import os
import tempfile
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import measuring
import torch
from bare_loop import BareLoop, Ways, synchronize
from plain_trainer import PlainLoop
from torch.utils.flop_counter import FlopCounterMode

from ceph_core import data as datasets
from ceph_core.config import Config, SourceConfig, apply
from ceph_core.data import splits
from ceph_core.data.films import TrainingData
from ceph_core.training.device import pick_device, pick_precision
from ceph_core.training.trainer import Training

CPU_SETTING = {
    "model.name": "hrnet_w18_small", "model.head_stride": 2, "heatmap.loss": "cross_entropy", "train.batch_size": 4, "train.lr": 1e-3,
}  # fmt: skip
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


@dataclass(frozen=True)
class Setting:
    """One row: a network, a size, a batch, threads."""

    config: Config
    threads: int

    def columns(self) -> dict[str, Any]:
        """As the table names them."""
        return {
            "network": self.config.model.name, "size": self.config.data.image_size, "batch": self.config.train.batch_size,
            "threads": self.threads,
        }  # fmt: skip


def settings(device: torch.device, quick: bool) -> list[Setting]:
    """What is measured on this machine."""
    cores = len(os.sched_getaffinity(0))
    if device.type == "cuda":
        names, sizes, batches = ("hrnet_w32", "hrnet_w48"), (384, 512, 640), (4, 8, 16)
        every = [
            {"model.name": name, "data.image_size": size, "train.batch_size": batch}
            for name, size, batch in itertools.product(names, sizes, batches)
        ]
        return [
            Setting(apply(Config(), {**each, "train.epochs": 1000, "train.validations": 1000}), cores)
            for each in (every[:1] if quick else every)
        ]
    sizes = (64,) if quick else (192, 256)
    return [
        Setting(apply(Config(), {**CPU_SETTING, "data.image_size": size, "train.epochs": 1000, "train.validations": 1000}), threads)
        for size in sizes
        for threads in sorted({1, cores})
    ]


def drawn(num_films: int) -> TrainingData:
    """Phantoms: the trainer's cost does not hang on what a film shows."""
    source = SourceConfig(phantom_train=num_films, phantom_test=2)
    cache = datasets.default_cache_dir()
    dataset = datasets.read(source, cache)
    return TrainingData(dataset, splits.assign(dataset, source), cache)


def pairs(setting: Setting, data: TrainingData, device: torch.device, rounds: int) -> dict[str, Any]:
    """The trainer's epochs and as many bare steps, in turn."""
    torch.set_num_threads(setting.threads)
    training = Training(setting.config, data, device=device)
    ways = Ways(precision=training.precision)
    bare = BareLoop(setting.config, data.canvas(setting.config.data.image_size), device, ways)
    num_steps = -(-len(data.train_ids) // setting.config.train.batch_size)
    whole: list[float] = []

    def epoch() -> float:
        result = next(training)
        synchronize(device)
        whole.append(len(data.train_ids) / result.seconds)
        return result.films_per_s

    plain = fastest_plain(setting, data, device)
    contestants = {"trainer": epoch, "bare": lambda: bare.films_per_s(num_steps), "plain": plain.films_per_s}
    found = measuring.in_turn(contestants, rounds, warmup=2)
    flops = flops_per_film(bare)
    training.close()
    return {
        **setting.columns(),
        "precision": ways.precision,
        "trainer, films/s": measuring.spread(found["trainer"]),
        "bare, films/s": measuring.spread(found["bare"]),
        "plain public trainer, films/s": measuring.spread(found["plain"]),
        "trainer / bare": measuring.ratio(found["trainer"], found["bare"]),
        "with validation / bare": measuring.ratio(whole[-rounds:], found["bare"]),
        "trainer / plain": measuring.ratio(found["trainer"], found["plain"]),
        "bare, TFLOP/s": measuring.spread([rate * flops / 1e12 for rate in found["bare"]]),
    }


def fastest_plain(setting: Setting, data: TrainingData, device: torch.device) -> PlainLoop:
    """The plain loop with the number of workers that is fastest here."""
    rates = {}
    for workers in (4, 8, 16) if device.type == "cuda" else (0,):
        loop = PlainLoop(setting.config, data, device, workers)
        loop.films_per_s()
        rates[loop.films_per_s()] = loop
    return rates[max(rates)]


def flops_per_film(bare: BareLoop) -> float:
    """Of forward and backward, counted; a multiplication and an addition are two."""
    film, target = bare.films[0]
    with FlopCounterMode(display=False) as counter:
        bare.step(film, target)
    return counter.get_total_flops() / bare.batch


def matrix_tflops(device: torch.device, precision: str) -> float:
    """What the machine's matrix product reaches: the ceiling that TFLOP/s are read against."""
    side = 8192 if device.type == "cuda" else 2048
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    one, other = torch.randn(side, side, device=device, dtype=kind), torch.randn(side, side, device=device, dtype=kind)

    def multiply() -> None:
        torch.mm(one, other)
        synchronize(device)

    multiply()
    return 2 * side**3 / min(measuring.seconds(multiply) for _ in range(5)) / 1e12


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
    parser = measuring.arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="pairs of each setting")
    args = parser.parse_args()
    rounds, num_films, num_steps = (2, 12, 2) if args.quick else (args.rounds, 80, 12)
    device = pick_device()
    data = drawn(num_films)
    chosen = settings(device, args.quick)
    rows = [pairs(setting, data, device, rounds) for setting in chosen]
    tables: dict[str, list[dict[str, Any]]] = {"The trainer beside a bare loop": rows}
    largest = max(setting.config.data.image_size for setting in chosen)
    for setting in [each for each in chosen if each.config.data.image_size == largest] if device.type == "cpu" else chosen[:1]:
        best = pick_precision(setting.config.train, device)
        steps = {name: replace(ways, precision=best if ways.precision == "bf16" else "fp32") for name, ways in STEPS.items()}
        if args.quick:
            steps = {name: steps[name] for name in list(steps)[:2]}
        title = "The bare loop, step by step: " + ", ".join(f"{name} {value}" for name, value in setting.columns().items())
        tables[title] = gains(setting, data, -(-rounds // 2), num_steps, steps)
    kinds = sorted({row["precision"] for row in rows} | {"fp32"})
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    tables["Matrix products of this machine"] = [{"precision": kind, "TFLOP/s": matrix_tflops(device, kind)} for kind in kinds]
    measuring.publish("training", tables, args.quick)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as compiled:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(compiled)))  # a first step is timed as the first ever
        main()
