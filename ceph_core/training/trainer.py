"""One training, an epoch at a time."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from timm.optim import param_groups_weight_decay
from torch import Tensor

from ceph_core import models
from ceph_core.codec import HeatmapCodec
from ceph_core.config import Config
from ceph_core.data.films import Films, TrainingData
from ceph_core.data.loader import Batch, epoch_batches
from ceph_core.errors import InputError
from ceph_core.losses import per_landmark
from ceph_core.metrics import Summary, radial_errors_mm, summarize
from ceph_core.training import checkpoint
from ceph_core.training.device import autocast, peak_memory_mb, pick_device, pick_precision, reset_peak_memory
from ceph_core.training.ema import Ema
from ceph_core.training.plan import EpochPlan, Feedback, learning_rate, plan
from ceph_core.training.validate import Answers, answer
from ceph_core.transforms import Augment


@dataclass(frozen=True)
class EpochResult:
    """What one epoch brought.

    Attributes:
        epoch: counted from 1.
        train_loss: mean over the epoch's visible landmarks.
        val_loss: of the averaged weights on the validation films.
        val: figures of the averaged weights on the validation films, mm and percent.
        lr: at the epoch's end.
        image_size, batch_size, micro_batch: as trained.
        seconds: whole epoch; `train_seconds` of it without validation.
        films_per_s: training films over `train_seconds`.
        peak_memory_mb: of the device so far.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val: Summary
    lr: float
    image_size: int
    batch_size: int
    micro_batch: int
    seconds: float
    train_seconds: float
    films_per_s: float
    peak_memory_mb: float


class Training:
    """Iterates one `EpochResult` an epoch; between epochs it may be saved or closed.

    A training that is saved, closed and resumed gives the numbers of one that never stopped, on the CPU bit for bit (with
    the same number of threads): the rate is a function of progress, and every random draw one of (seed, epoch, film).
    """

    def __init__(self, config: Config, data: TrainingData, resume: Path | None = None, device: torch.device | None = None) -> None:
        """Start, or go on from a checkpoint.

        Raises:
            InputError: no films, weights that cannot be had, or a checkpoint of another configuration.
        """
        if not data.train_ids or not data.validation_ids:
            raise InputError(
                f"{data.dataset.root}: {len(data.train_ids)} training and {len(data.validation_ids)} validation films; both are needed"
            )
        self.config, self.data = config, data
        self.device = device or pick_device()
        self.precision = pick_precision(config.train, self.device)
        self.epoch = 0
        self._step = 0
        self._feedback = Feedback(data.train_ids, len(data.dataset.protocol))
        self._augment = Augment(config.augment)
        self._films: tuple[int, Films] | None = None
        torch.manual_seed(config.train.seed)
        net = models.build(config.model, len(data.dataset.protocol)).to(self.device)
        self.net = net.to(memory_format=torch.channels_last) if config.train.channels_last else net  # type: ignore[call-overload]
        self.ema = Ema(self.net, config.train.ema_decay)
        self._optimizer = torch.optim.AdamW(
            param_groups_weight_decay(self.net, config.train.weight_decay),
            lr=config.train.lr,
            weight_decay=config.train.weight_decay,
            fused=True,
        )
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16" and self.device.type == "cuda")
        reset_peak_memory(self.device)
        if resume is not None:
            self._load(resume)
        self._forward = torch.compile(self.net) if config.train.compile else self.net

    def __iter__(self) -> Iterator[EpochResult]:
        return self

    def __next__(self) -> EpochResult:
        if self.epoch >= self.config.train.epochs:
            raise StopIteration
        started = time.perf_counter()
        epoch = self.epoch + 1
        # Dropout and the like draw from torch's generator: seeded anew each epoch, it needs no state in a checkpoint.
        torch.manual_seed(int(np.random.SeedSequence((self.config.train.seed, epoch)).generate_state(1)[0]))
        todo = plan(self.config, epoch, self._feedback)
        train_loss = self._train(todo, epoch)
        trained = time.perf_counter()
        self.epoch = epoch
        if math.isfinite(train_loss):
            answers = self.validate(self.data.validation_ids)
            val_loss, summary = answers.loss, summarize(self.errors_mm(answers, self.data.validation_ids))
        else:  # diverged: no figure may look like one
            val_loss, summary = math.nan, Summary(*[math.nan] * 9)
        return EpochResult(
            epoch=epoch,
            train_loss=train_loss,
            val_loss=val_loss,
            val=summary,
            lr=learning_rate(self.config, float(epoch)),
            image_size=todo.size,
            batch_size=todo.batch,
            micro_batch=todo.micro_batch,
            seconds=time.perf_counter() - started,
            train_seconds=trained - started,
            films_per_s=len(todo.film_ids) / (trained - started),
            peak_memory_mb=peak_memory_mb(self.device),
        )

    def validate(self, film_ids: tuple[str, ...]) -> Answers:
        """Points of the averaged weights on these films, at the size of the epoch last trained."""
        todo = plan(self.config, max(self.epoch, 1), self._feedback)
        films, codec = self._open(todo.size), self._codec(todo)
        sigma = torch.tensor(todo.sigma_px, device=self.device)
        return answer(self.ema.net, codec, films, film_ids, sigma, max(todo.micro_batch, 4), self.precision)

    def errors_mm(self, answers: Answers, film_ids: tuple[str, ...]) -> NDArray[np.float64]:
        """(N, K) radial errors of answers on these films."""
        films = self._films[1] if self._films else self._open(plan(self.config, 1, self._feedback).size)
        rows = films.rows(film_ids)
        return radial_errors_mm(answers.points_px, films.landmarks_px[rows], films.spacing_mm[rows])

    def save(self, folder: Path) -> Path:
        """Write everything an exact resume needs to `folder`/state.pt, atomically."""
        return checkpoint.save(
            folder,
            {
                "config": self.config.model_dump(mode="json"),
                "epoch": self.epoch,
                "step": self._step,
                "precision": self.precision,
                "net": self.net.state_dict(),
                "ema": self.ema.net.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "scaler": self._scaler.state_dict(),
            },
        )

    def close(self) -> None:
        """Free the device; the training cannot be iterated any more."""
        self.epoch = self.config.train.epochs
        self._films = None
        del self.net, self.ema, self._optimizer, self._forward
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _train(self, todo: EpochPlan, epoch: int) -> float:
        films, codec = self._open(todo.size), self._codec(todo)
        sigma = torch.tensor(todo.sigma_px, device=self.device)
        weights = torch.tensor(todo.landmark_weights, device=self.device)
        train = self.config.train
        self.net.train()
        total = torch.zeros((), device=self.device)  # summed on the device: no step waits for a number
        cuda = self.device.type == "cuda"
        workers = train.workers if train.workers is not None else (4 if cuda else 0)
        batches = epoch_batches(films, todo.film_ids, todo.batch, self._augment, train.seed, epoch, workers, pin_memory=cuda)
        for number, batch in enumerate(batches):
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate(self.config, epoch - 1 + (number + 1) / todo.num_steps)
            total += self._train_step(batch, codec, sigma, weights, todo.micro_batch)
        return float(total / todo.num_steps)

    def _train_step(self, batch: Batch, codec: HeatmapCodec, sigma: Tensor, weights: Tensor, micro_batch: int) -> Tensor:
        """One optimizer step, its gradient summed over micro-batches."""
        images = batch.images.to(self.device, non_blocking=True)
        points = batch.points.to(self.device, non_blocking=True)
        seen = codec.encode(points, sigma, images.shape[-2:]).visible
        share = (weights * seen).sum().clamp_min(1e-6)
        total = torch.zeros((), device=self.device)
        for start in range(0, len(images), micro_batch):
            part = images[start : start + micro_batch].float()
            if self.config.train.channels_last:
                part = part.contiguous(memory_format=torch.channels_last)
            with autocast(self.device, self.precision):
                raw = self._forward(part)
            target = codec.encode(points[start : start + micro_batch], sigma, images.shape[-2:])
            loss = (per_landmark(codec.loss, raw, target) * weights).sum() / share
            self._scaler.scale(loss).backward()
            total += loss.detach()
        self._scaler.unscale_(self._optimizer)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.config.train.clip_norm, foreach=True)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self._step += 1
        self.ema.update(self.net, self._step)
        return total

    def _open(self, size: int) -> Films:
        if self._films is None or self._films[0] != size:
            self._films = (size, self.data.open(size))
        return self._films[1]

    def _codec(self, todo: EpochPlan) -> HeatmapCodec:
        return HeatmapCodec(self.config.model.head_stride, self.config.heatmap.loss, self.config.heatmap.sigma_rel * todo.size)

    def _load(self, path: Path) -> None:
        state = checkpoint.load(path)
        saved = Config.model_validate(state["config"])
        if saved != self.config:
            raise InputError(
                f"{path}: was trained with another configuration, so it cannot be resumed exactly: {_difference(saved, self.config)}"
            )
        self.epoch, self._step = state["epoch"], state["step"]
        self.net.load_state_dict(state["net"])
        self.ema.net.load_state_dict(state["ema"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])


def _difference(saved: Config, now: Config) -> str:
    """The fields that differ, as people read them."""
    sections = [(name, getattr(saved, name), getattr(now, name)) for name in type(now).model_fields]
    fields = [
        f"{name}.{key} was {getattr(old, key)!r}, now {getattr(new, key)!r}"
        for name, old, new in sections
        for key in type(new).model_fields
        if getattr(old, key) != getattr(new, key)
    ]
    return "; ".join(fields)
