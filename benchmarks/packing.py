"""How many trials a device should train at once: films a second of 1, 2, 3 ... trainings side by side, by network and size.

python benchmarks/packing.py              (4 minutes on two cores; on a GPU 1 to 4 trials a card: the answer for resources.gpus_per_trial)
"""

import multiprocessing
import os
import statistics
from multiprocessing.connection import Connection
from typing import Any

import measuring
import torch
from training import Setting, drawn, settings

from ceph_core.config import Config
from ceph_core.data.films import TrainingData
from ceph_core.training.device import pick_device
from ceph_core.training.trainer import Training


def trial(link: Connection, config: Config, threads: int, data: TrainingData) -> None:
    """A training in a process of its own, as a Ray actor is one; trains an epoch whenever told and answers with its seconds."""
    torch.set_num_threads(threads)
    training = Training(config, data)
    next(training)
    link.send(0.0)
    while link.recv():
        link.send(next(training).train_seconds)


class Together:
    """Trainings side by side."""

    def __init__(self, setting: Setting, num_trials: int, data: TrainingData) -> None:
        context = multiprocessing.get_context("spawn")
        self._num_films = num_trials * len(data.train_ids)
        self._links: list[Connection] = []
        for _ in range(num_trials):
            ours, theirs = context.Pipe()
            context.Process(target=trial, args=(theirs, setting.config, setting.threads, data), daemon=True).start()
            self._links.append(ours)
        for link in self._links:
            link.recv()

    def films_per_s(self) -> float:
        """Of all of them, while each trains an epoch."""
        for link in self._links:
            link.send(True)
        return self._num_films / statistics.mean(float(link.recv()) for link in self._links)

    def close(self) -> None:
        """End them."""
        for link in self._links:
            link.send(False)


def packings(device: torch.device, setting: Setting) -> list[tuple[int, int]]:
    """(trials, threads each) worth comparing."""
    cores = len(os.sched_getaffinity(0))
    if device.type == "cuda":
        return [(trials, max(1, cores // trials)) for trials in (1, 2, 3, 4)]
    return [(1, cores), (cores, 1)]  # threads beyond the cores spin against each other: never worth a try


def compare(setting: Setting, device: torch.device, data: TrainingData, rounds: int) -> list[dict[str, Any]]:
    """Every packing of one setting, in turn."""
    tried = packings(device, setting)
    together = {f"{trials} x {threads}": Together(Setting(setting.config, threads), trials, data) for trials, threads in tried}
    found = measuring.in_turn({name: each.films_per_s for name, each in together.items()}, rounds)
    for each in together.values():
        each.close()
    first = next(iter(found))
    network = {key: value for key, value in setting.columns().items() if key != "threads"}
    return [
        {
            **network,
            "trials x threads": name,
            "films/s of all": measuring.spread(rates),
            f"over {first}": measuring.ratio(rates, found[first]),
        }
        for name, rates in found.items()
    ]


def main() -> None:
    args = measuring.arguments(__doc__).parse_args()
    device = pick_device()
    data = drawn(12 if args.quick else 80)
    several = {(each.config.model.name, each.config.data.image_size): each for each in reversed(settings(device, args.quick))}
    rows = [row for setting in reversed(several.values()) for row in compare(setting, device, data, 1 if args.quick else 7)]
    measuring.publish("packing", {"Trainings side by side": rows}, args.quick)


if __name__ == "__main__":
    main()
