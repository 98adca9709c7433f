"""Films a second of the real trainer beside a bare loop on resident data and a plain public trainer.

python benchmarks/training.py             (about 7 minutes on two cores; with a GPU its networks, sizes and batches instead)
"""

import itertools
import os
from dataclasses import dataclass
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
from ceph_core.training.device import pick_device
from ceph_core.training.trainer import Training

CPU_SETTING = {
    "model.name": "hrnet_w18_small", "model.head_stride": 2, "heatmap.loss": "cross_entropy", "train.batch_size": 4, "train.lr": 1e-3,
}  # fmt: skip


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


def main() -> None:
    parser = measuring.arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="pairs of each setting")
    args = parser.parse_args()
    rounds, num_films = (2, 12) if args.quick else (args.rounds, 80)
    device = pick_device()
    data = drawn(num_films)
    chosen = settings(device, args.quick)
    rows = [pairs(setting, data, device, rounds) for setting in chosen]
    tables: dict[str, list[dict[str, Any]]] = {"The trainer beside a bare loop": rows}
    kinds = sorted({row["precision"] for row in rows} | {"fp32"})
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    tables["Matrix products of this machine"] = [{"precision": kind, "TFLOP/s": matrix_tflops(device, kind)} for kind in kinds]
    measuring.publish("training", tables, args.quick)


if __name__ == "__main__":
    main()
