"""A made-up training in the place of the real one: a learning curve of the configuration, and a state that a member can be made of.

`CEPH_SEARCH_TRAINING=tests.search.made_up:build` puts it into a run.  MADE_UP_EPOCH_S: seconds an epoch takes.  MADE_UP_FAIL: what goes
wrong, by `key<limit` or `key>limit` of the configuration, such as `raise:heatmap.sigma_rel>0.01`; `nan:` makes its errors NaN,
`crowded:` runs out of memory on anything less than a whole GPU.  MADE_UP_STAMPS: a folder where every process says, a line a step, of
which training it was and when it began and ended.
"""

import json
import math
import operator
import os
import time
import uuid
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ceph_core import models
from ceph_core.config import Config, get
from ceph_core.config.model import ModelConfig
from ceph_core.metrics import Summary
from ceph_core.training import checkpoint
from ceph_core.training.trainer import EpochResult

STAMPS_VARIABLE = "MADE_UP_STAMPS"

SPACE = {
    "fixed": {"model.name": "hrnet_w18_small", "train.epochs": 9, "data.image_size": 64, "heatmap.loss": "cross_entropy"},
    "search": {
        "heatmap.sigma_rel": {"float": [0.02, 0.09], "log": True},
        "augment.strength": {"float": [0, 2]},
        "train.batch_size": {"int": [2, 4]},
        "train.lr": {"float": [1e-4, 1e-2], "log": True},
    },
    "start_from": [{"heatmap.sigma_rel": 0.05, "augment.strength": 1.0, "train.batch_size": 2, "train.lr": 5e-4}],
    "sampler": {"name": "tpe", "startup_trials": 4},
    "scheduler": {"rungs": [0.2, 0.5], "reduction_factor": 2},
    "resources": {"cpus_per_trial": 1, "gpus_per_trial": 0, "max_concurrent": 1},
    "budget": {"trials": 10},
    "promotion": {"candidates": 2, "seeds": 0, "max_members": 1, "final": {"networks": 0}},
}  # fmt: skip
"""A space of made-up trainings: many epochs a second, films of 64 px."""


def mre_mm(config: Config, epoch: int) -> float:
    """Validation MRE after an epoch: a power law towards a floor that every searched knob moves, without noise."""
    floor = 1.5 + math.log(config.heatmap.sigma_rel / 0.04) ** 2 + 0.4 * (config.augment.strength - 1.2) ** 2
    floor += 0.1 * config.train.batch_size + 0.2 * math.log(config.train.lr / 1e-3) ** 2
    return floor + 15 * epoch**-1.2


class MadeUp:
    """See `TrainingLike` in search/tune/trial.py; goes on from its state exactly."""

    examples = ()

    def __init__(self, config: Config, resume: Path | None) -> None:
        self.config = config
        self._name = uuid.uuid4().hex
        self.epoch = 0
        if resume is not None:
            state = checkpoint.load(resume)
            assert state["config"] == config.model_dump(mode="json"), "resumed with another configuration"
            self.epoch = int(state["epoch"])

    def __iter__(self) -> "MadeUp":
        return self

    def __next__(self) -> EpochResult:
        if self.epoch >= self.config.train.epochs:
            raise StopIteration
        began = time.time()
        time.sleep(float(os.environ.get("MADE_UP_EPOCH_S", "0")))
        wrong = failure_of(self.config, os.environ.get("MADE_UP_FAIL", ""))
        if wrong == "raise":
            raise ValueError("made to fail")
        if wrong == "crowded" and _share_of_gpu() < 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        self.epoch += 1
        value = math.nan if wrong == "nan" else mre_mm(self.config, self.epoch)
        if folder := os.environ.get(STAMPS_VARIABLE):
            with (Path(folder) / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps([self._name, began, time.time()]) + "\n")
        return result_of(self.config, self.epoch, value)

    def state(self) -> dict[str, Any]:
        return {"config": self.config.model_dump(mode="json"), "epoch": self.epoch, "ema": _weights(self.config.model)}

    def close(self) -> None:
        self.epoch = self.config.train.epochs


def build(config: Config, data: object, resume: Path | None) -> MadeUp:
    return MadeUp(config, resume)


def result_of(config: Config, epoch: int, value_mm: float) -> EpochResult:
    """An epoch's result that says `value_mm`."""
    size, batch = config.data.image_size, config.train.batch_size
    shares = [100 * math.exp(-value_mm / radius) for radius in (2, 2.5, 3, 4)]
    return EpochResult(
        epoch, value_mm / 10, value_mm / 9, Summary(value_mm, value_mm, 2 * value_mm, *shares, 50.0, 5.0), config.train.lr,
        size, batch, batch, seconds=0.01, train_seconds=0.01, films_per_s=800.0, peak_memory_mb=100.0,
    )  # fmt: skip


def _share_of_gpu() -> float:
    """What Ray gave to the actor that this runs in."""
    import ray

    return float(ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0))


def failure_of(config: Config, told: str) -> str | None:
    """raise, nan, crowded, or None: what goes wrong with this configuration."""
    if not told:
        return None
    kind, _, condition = told.partition(":")
    sign = "<" if "<" in condition else ">"
    key, limit = condition.split(sign)
    compare = operator.lt if sign == "<" else operator.gt
    return kind if compare(get(config, key), float(limit)) else None


@cache
def _weights(model: ModelConfig) -> dict[str, torch.Tensor]:
    """A network's own first weights, with a head loud enough that no two pixels of its maps are equal."""
    torch.manual_seed(0)
    net = models.build(model, 19)
    with torch.no_grad():
        net.maps.weight.copy_(torch.from_numpy(np.random.default_rng(0).normal(0, 0.2, net.maps.weight.shape).astype(np.float32)))
    return net.state_dict()
