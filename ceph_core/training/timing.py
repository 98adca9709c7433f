"""What a training will take, by trying some of it."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median

import torch

from ceph_core import models
from ceph_core.codec import codec_for
from ceph_core.config import Config, Stage
from ceph_core.data.films import TrainingData
from ceph_core.data.loader import Batch
from ceph_core.data.splits import Splits
from ceph_core.geometry import Canvas
from ceph_core.training.device import pick_precision, picks_graphs
from ceph_core.training.learner import Learner
from ceph_core.training.plan import is_validated, relative_cost
from ceph_core.training.progressive import stage_alone, stage_at, stage_size
from ceph_core.training.step_graphs import StepGraphs
from ceph_core.training.trainer import Training

_TRIED_BATCHES, _TRIED_VALIDATION = 2, 8
"""Training batches and validation films of one round of `measure`."""
_ROUNDS, _ENOUGH_S = (2, 6), 5.0
"""Rounds beside the first, which warms up: at least and at most, until this much time was measured."""


@dataclass(frozen=True)
class FilmSeconds:
    """Seconds a film, data and optimizer included."""

    train: float
    validation: float

    def epoch(self, data: TrainingData, validated: bool = True, share: float = 1.0) -> float:
        """Seconds of an epoch that trains on this share of the data's films."""
        return self.train * len(data.train_ids) * share + self.validation * len(data.validation_ids) * validated


def measure(config: Config, data: TrainingData) -> dict[Stage, FilmSeconds]:
    """What each stage costs, from a few steps of a training that is thrown away, on the first films of `data`.

    Raises:
        InputError: whatever keeps the training itself from starting.
    """
    return {stage: _measure_stage(config, stage, data) for stage in dict.fromkeys(config.schedule.stages)}


def fitting_epochs(config: Config, cost: Mapping[Stage, FilmSeconds], data: TrainingData, seconds: float, most: int = 10_000) -> int:
    """The largest number of epochs that ends within so many seconds; 0 if not even one does."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        tried = with_epochs(config, middle)
        if math.fsum(_epoch_seconds(tried, epoch, cost, data) for epoch in range(1, middle + 1)) <= seconds:
            low = middle
        else:
            high = middle - 1
    return low


def ending_seconds(config: Config, cost: Mapping[Stage, FilmSeconds], data: TrainingData) -> float:
    """What choosing among last weights, snapshots and their averages takes, each answering for the validation films in every view."""
    networks = 1 + (1 + config.train.snapshots if config.train.snapshots > 1 else 0)
    views = 1 + 4 * ("shift" in config.inference.tta) + 2 * ("scale" in config.inference.tta) + ("flip" in config.inference.tta)
    films = networks * views * len(data.validation_ids) + (len(data.train_ids) if networks > 1 else 0)
    return cost[config.schedule.stages[-1]].validation * films


def with_epochs(config: Config, epochs: int) -> Config:
    """The configuration with another length of run."""
    return config.model_copy(update={"train": config.train.model_copy(update={"epochs": epochs})})


def full_epochs(config: Config, after_epoch: int = 0) -> float:
    """Epochs after this one, each counted by its cost relative to one of all films at the searched size."""
    return math.fsum(relative_cost(config, epoch) for epoch in range(after_epoch + 1, config.train.epochs + 1))


def film_seconds(config: Config, canvas: Canvas, num_landmarks: int, device: torch.device) -> float:
    """Seconds a film of an optimizer step on made-up films, after those that warm up; a CPU, whose time grows with the films, tries two."""
    batch = config.train.batch_size if device.type == "cuda" else min(config.train.batch_size, 2)
    net = models.build(config.model.model_copy(update={"pretrained": False}), num_landmarks).train()
    precision = pick_precision(config.train, device)
    graphs = StepGraphs(device) if picks_graphs(config.train, device, precision) else None
    learner = Learner(net, config.train, device, precision, graphs=graphs)
    codec = codec_for(config, config.data.image_size)
    sigma, weights = torch.full((num_landmarks,), codec.sigma_px, device=device), torch.ones(num_landmarks, device=device)
    images = torch.randint(0, 256, (batch, 1, canvas.height, canvas.width), dtype=torch.uint8)
    films = Batch(images, torch.rand(batch, num_landmarks, 2) * canvas.width)
    took = 0.0
    for _ in range(2 if graphs is None else 3):  # the second is recorded
        started = time.perf_counter()
        float(learner.step(films, codec, sigma, weights, min(config.train.micro_batch or batch, batch), config.train.lr))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took = time.perf_counter() - started
    return took / batch


def _epoch_seconds(config: Config, epoch: int, cost: Mapping[Stage, FilmSeconds], data: TrainingData) -> float:
    stage = stage_at(config, epoch)
    nominal = (stage_size(config.data.image_size, stage.size) / config.data.image_size) ** 2
    return cost[stage].epoch(data, is_validated(config, epoch), relative_cost(config, epoch) / nominal)


def _measure_stage(config: Config, stage: Stage, data: TrainingData) -> FilmSeconds:
    alone = with_epochs(stage_alone(config, stage), 1 + _ROUNDS[1])
    some = {*data.train_ids[: _TRIED_BATCHES * alone.train.batch_size], *data.validation_ids[:_TRIED_VALIDATION]}
    few = replace(data, splits=Splits(tuple(row for row in data.splits.rows if row.film_id in some)))
    training = Training(alone, few)
    trained, validated = [], []
    for result in training:
        if result.epoch > 1:
            trained.append(result.train_seconds / len(few.train_ids))
            validated.append((result.seconds - result.train_seconds) / max(1, len(few.validation_ids)))
        if len(trained) >= _ROUNDS[0] and sum(trained) * len(few.train_ids) > _ENOUGH_S:
            break
    training.close()
    return FilmSeconds(median(trained), median(validated))
