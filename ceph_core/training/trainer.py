"""One training, an epoch at a time."""

import gc
import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from ceph_core import models
from ceph_core.codec import HeatmapCodec, codec_for
from ceph_core.config import Config, problems_of
from ceph_core.data.films import OpenFilms, TrainingData
from ceph_core.data.loader import Loader
from ceph_core.errors import InputError
from ceph_core.metrics import radial_errors_mm, summarize
from ceph_core.training import checkpoint, feedback
from ceph_core.training.curriculum import warms_up
from ceph_core.training.device import num_workers, peak_memory_mb, pick_device, pick_precision, picks_compile, picks_graphs, prepare
from ceph_core.training.examples import Example, examples_of
from ceph_core.training.feedback import Seen
from ceph_core.training.health import Health
from ceph_core.training.health.monitor import Monitor, mean_shape_mre_mm
from ceph_core.training.learned_sigma import LearnedSigmas
from ceph_core.training.learner import Learner
from ceph_core.training.out_of_memory import OutOfMemory, advice, is_out_of_memory, step_down
from ceph_core.training.plan import EpochPlan, learning_rate, plan
from ceph_core.training.progressive import largest_batch
from ceph_core.training.result import EpochResult
from ceph_core.training.snapshots import Snapshots
from ceph_core.training.step_graphs import StepGraphs
from ceph_core.training.validate import Answers, answer
from ceph_core.training.watch import Watch
from ceph_core.transforms import Augment

__all__ = ["EpochResult", "Training"]


class Training:
    """Iterates one `EpochResult` an epoch; between epochs it may be saved or closed.

    A training that is saved, closed and resumed gives the numbers of one that never stopped, on the CPU bit for bit (with
    the same number of threads): the rate is a function of progress, and every random draw one of (seed, epoch, film).

    Attributes:
        epoch: epochs done.
        learner: network, averaged weights and optimizer.
        examples: what the last epoch's validation said of a few films; empty if it had none.
    """

    def __init__(
        self,
        config: Config,
        data: TrainingData,
        resume: Path | None = None,
        device: torch.device | None = None,
        marks: tuple[float, ...] = (),
        changed: bool = False,
    ) -> None:
        """Start, or go on from a checkpoint.

        Args:
            marks: shares of the run after which it is compared with others: those epochs are validated, whatever
                `train.validations` says.
            changed: take the checkpoint's weights, averaged weights, optimizer and epoch into another plan (the guide's second
                stage in a command of its own); without, only the plan it was trained by goes on, exactly.

        Raises:
            InputError: no films, fewer than a batch, weights that cannot be had, or a checkpoint of another configuration or
                other films; with `changed`, of another network or with no epoch left.
        """
        _check(config, data)
        self.config, self.data = config, data
        self.device = device or pick_device()
        self.precision = pick_precision(config.train, self.device)
        prepare(self.device)
        self.epoch = 0
        self.examples: tuple[Example, ...] = ()
        self._in_epoch = False
        self._feedback = feedback.begin(config, data.train_ids, data.dataset, marks)
        self._monitor = Monitor(config, mean_shape_mre_mm(data))
        torch.manual_seed(config.train.seed)
        # A checkpoint holds every weight: a resume needs no pretrained ones, which may be out of reach by now.
        model = config.model if resume is None else config.model.model_copy(update={"pretrained": False})
        self._compiled = picks_compile(config, len(data.train_ids), self.device)
        net = models.build(model, len(data.dataset.protocol))
        sigmas = LearnedSigmas(len(data.dataset.protocol), config.heatmap.learned_sigma) if config.heatmap.learned_sigma else None
        graphs = StepGraphs(self.device) if picks_graphs(config.train, self.device, self.precision) else None
        self.learner = Learner(net, config.train, self.device, self.precision, self._compiled, sigmas, graphs)
        if resume is not None:
            self._load(resume, changed)
        self._films = OpenFilms(data, config.data.zoom)
        self._feedback = feedback.look_at(config, self._feedback, self._films.at(self._plan_of_last().size))
        self._loader = Loader(
            self._films,
            Augment(config.augment),
            config.train.seed,
            num_workers(config.train, self.device),
            pin_memory=self.device.type == "cuda",
        )

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
        self._in_epoch = True
        self.examples = ()
        train_loss, seen, todo = self._train(todo, epoch)
        self._feedback = feedback.after(self.config, self._feedback, seen)
        self._in_epoch = False
        trained = time.perf_counter()
        self.epoch = epoch
        val_loss, errors, width = math.nan, np.empty((0, self._feedback.num_landmarks)), math.nan
        validates = todo.validates and bool(self.data.validation_ids)
        if math.isfinite(train_loss) and validates:
            answers = self.validate(self.data.validation_ids)
            if math.isfinite(answers.loss):  # else diverged: decoding would give points even then, and no figure may look like one
                val_loss, errors = answers.loss, self.errors_mm(answers, self.data.validation_ids)
                width = answers.peak_width_rel
                self.examples = examples_of(self._films.at(todo.size), self.data.validation_ids, answers)
        result = EpochResult(
            epoch=epoch,
            train_loss=train_loss,
            val_loss=val_loss,
            val=summarize(errors),
            lr=learning_rate(self.config, float(epoch)),
            image_size=round(math.sqrt(sum(size**2 for size in todo.step_sizes) / todo.num_steps)),
            batch_size=todo.batch,
            micro_batch=todo.micro_batch,
            seconds=time.perf_counter() - started,
            train_seconds=trained - started,
            films_per_s=len(todo.film_ids) / (trained - started),
            peak_memory_mb=peak_memory_mb(self.device),
            landmarks=self._by_landmark(todo),
            validated=validates or not math.isfinite(train_loss),  # nothing to wait for: there will be no figure
            peak_width_rel=width,
        )
        return self._monitor.take(result)

    @property
    def health(self) -> Health:
        """How the run goes, as of the last validated epoch."""
        return self._monitor.health

    def validate(self, film_ids: tuple[str, ...]) -> Answers:
        """Points of the averaged weights on these films, at the size of the epoch last trained."""
        return self._answers(self._plan_of_last(), film_ids)

    def _answers(self, todo: EpochPlan, film_ids: tuple[str, ...]) -> Answers:
        sigma = torch.tensor(todo.sigma_px, device=self.device)
        if self.learner.sigmas is not None:
            sigma = sigma * self.learner.sigmas.factors().detach()
        films, close, codec = self._films.at(todo.size), self._films.close_up(todo.size), self._codec(todo.size)
        batch = max(todo.micro_batch, 4)  # keeps no activations, so that more films fit than in training
        while True:
            try:
                return answer(self.learner.ema.net, codec, films, close, film_ids, sigma, batch, self.precision)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if batch == 1:
                    raise OutOfMemory(f"out of memory with one film of {todo.size} px in validation: {advice(self.config)}") from error
            batch //= 2

    def errors_mm(self, answers: Answers, film_ids: tuple[str, ...]) -> NDArray[np.float64]:
        """(N, K) radial errors of answers on these films."""
        films = self._films.at(self._plan_of_last().size)
        rows = films.rows(film_ids)
        return radial_errors_mm(answers.points_px, films.landmarks_px[rows], films.spacing_mm[rows])

    def offer(self, snapshots: Snapshots, result: EpochResult) -> None:
        """Let the averaged weights of the epoch just trained be kept, if they are among the best."""
        snapshots.look(result, self._plan_of_last().size, self.learner.ema.net)

    def state(self) -> dict[str, Any]:
        """Everything an exact resume needs, for `checkpoint.Saver`; its tensors are the training's own and change with it.

        Raises:
            RuntimeError: an epoch was broken off, so that the weights are no epoch's.
        """
        if self._in_epoch:
            raise RuntimeError(f"epoch {self.epoch + 1} was broken off: its weights cannot be resumed from; the checkpoint before stays")
        return {
            "config": self.config.model_dump(mode="json"),
            "epoch": self.epoch,
            "train_ids": list(self.data.train_ids),
            "history": self._monitor.state(),
            "feedback": feedback.saved(self._feedback),
            **self.learner.state_dict(),
        }

    def save(self, folder: Path) -> Path:
        """Write `state` to `folder`/state.pt, atomically; on the disk when it returns."""
        return checkpoint.save(folder, self.state())

    def close(self) -> None:
        """Free device and workers; the training cannot be iterated any more."""
        self.epoch = self.config.train.epochs
        self._loader.close()
        del self.learner, self._loader, self._films
        if self._compiled:
            torch.compiler.reset()  # its cache belongs to the code, not the network: the next training in this process would fill it up
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()

    def _train(self, todo: EpochPlan, epoch: int) -> tuple[float, Seen, EpochPlan]:
        """Carry a plan out; its loss, what it showed, and the plan as the device could carry it out."""
        weights = torch.tensor(todo.landmark_weights, device=self.device)
        self.learner.set_mode(todo.frozen_norm, todo.checkpoints)
        self.learner.watch = Watch(self._feedback.num_landmarks, self.device) if todo.watches_landmarks else None
        nominal = torch.tensor(todo.sigma_px, device=self.device)
        # Once a size: a copy to the device at every step would hold the step up.
        by_size = {size: (self._codec(size), nominal * (size / todo.size)) for size in set(todo.step_sizes)}
        total = torch.zeros((), device=self.device)
        batches = self._loader.epoch(todo.step_sizes, epoch, todo.film_ids, todo.batch)
        for number, (size, batch) in enumerate(zip(todo.step_sizes, batches, strict=True), start=1):
            lr = learning_rate(self.config, epoch - 1 + number / todo.num_steps)
            codec, sigma = by_size[size]
            while True:
                try:
                    total += self.learner.step(batch, codec, sigma, weights, todo.micro_batch, lr)
                    break
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    todo = self._with_less(todo, epoch, error)
        watched = self.learner.watch.errors() if self.learner.watch is not None else None
        losses = self._film_losses(todo) if todo.watches_films else None
        return float(total / todo.num_steps), Seen(watched, losses), todo

    def _by_landmark(self, todo: EpochPlan) -> dict[str, dict[str, float]]:
        """What the epoch did to each landmark apart, if it did."""
        learned = None if self.learner.sigmas is None else self.learner.sigmas.factors().tolist()
        if not todo.watches_landmarks and learned is None:
            return {}
        nominal = self.config.heatmap.sigma_rel * todo.size
        factors = [sigma / nominal * (1.0 if learned is None else learned[k]) for k, sigma in enumerate(todo.sigma_px)]
        errors = self._feedback.landmark_error or (math.nan,) * len(factors)
        figures = zip(todo.landmark_weights, factors, errors, strict=True)
        symbols = self.data.dataset.protocol.symbols
        return {symbol: dict(zip(("weight", "sigma", "error"), each, strict=True)) for symbol, each in zip(symbols, figures, strict=True)}

    def _with_less(self, todo: EpochPlan, epoch: int, error: RuntimeError) -> EpochPlan:
        """The epoch's plan one rung down the ladder; the batch that did not fit is trained again from its beginning."""
        self._feedback, told = step_down(self.config, todo, self._feedback, error)
        warnings.warn(told, stacklevel=2)
        error.__traceback__ = None  # it holds the activations that did not fit
        self.learner.forget_step()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        lighter = plan(self.config, epoch, self._feedback)
        self.learner.set_mode(lighter.frozen_norm, lighter.checkpoints)
        return lighter

    def _film_losses(self, todo: EpochPlan) -> tuple[float, ...]:
        return tuple(self._answers(todo, self.data.train_ids).film_loss.tolist())

    def _plan_of_last(self) -> EpochPlan:
        return plan(self.config, max(self.epoch, 1), self._feedback)

    def _codec(self, size: int) -> HeatmapCodec:
        return codec_for(self.config, size)

    def _load(self, path: Path, changed: bool) -> None:
        state = checkpoint.load(path)
        try:
            saved = Config.model_validate(state["config"])
        except ValidationError as error:
            raise InputError(problems_of(error, f"{path}: was written by another version")) from error
        problems = []
        if changed:
            problems += _obstacles(path, saved, self.config, state["epoch"])
            maps, wanted = len(state["net"]["maps.bias"]), len(self.learner.net.state_dict()["maps.bias"])
            if maps != wanted:
                problems.append(f"{path}: holds a network of {maps} maps, and these films need {wanted}; give its own data")
        elif saved != self.config:
            problems.append(
                f"{path}: was trained with another configuration, so it cannot be resumed exactly: {difference(saved, self.config)}"
            )
        same_films = state["train_ids"] == list(self.data.train_ids)
        if not same_films and not changed:
            problems.append(
                f"{path}: was trained on {len(state['train_ids'])} films, and these {len(self.data.train_ids)} are not the same; "
                "give the same data"
            )
        if problems:
            raise InputError(problems)
        if state["precision"] != self.precision:
            warnings.warn(
                f"{path}: was trained in {state['precision']} and goes on in {self.precision}, so its numbers are not those of one device",
                stacklevel=3,
            )
        self.epoch = state["epoch"]
        self._monitor.load(state["history"])
        if same_films:
            begun = self._feedback
            self._feedback = feedback.restored(begun, state["feedback"])
            if saved.curriculum != self.config.curriculum:
                self._feedback = replace(self._feedback, difficulty=begun.difficulty)
        self.learner.load_state_dict(state)


def _check(config: Config, data: TrainingData) -> None:
    if not data.train_ids:
        raise InputError(f"{data.dataset.root}: no training films; give a data set that has some")
    if (largest := largest_batch(config)) > len(data.train_ids):
        raise InputError(
            f"train.batch_size: {config.train.batch_size} makes a batch of {largest} in the largest stage, more than the "
            f"{len(data.train_ids)} training films; lower it or give more films"
        )


def _obstacles(path: Path, saved: Config, now: Config, epoch: int) -> list[str]:
    """Why a checkpoint's weights cannot go on under another plan."""
    network = ("name", "head_stride", "norm")
    other = [key for key in network if getattr(saved.model, key) != getattr(now.model, key)]
    lines = [f"{path}: holds a network with model.{key} {getattr(saved.model, key)}, not {getattr(now.model, key)}" for key in other]
    if bool(saved.heatmap.learned_sigma) != bool(now.heatmap.learned_sigma):
        lines.append(
            f"{path}: heatmap.learned_sigma was {saved.heatmap.learned_sigma:g}; it can be changed but not begun or ended half-way"
        )
    if saved.curriculum != now.curriculum and now.curriculum.difficulty == "loss" and not warms_up(now, epoch + 1):
        lines.append(f"{path}: curriculum.difficulty loss needs its warm-up, which {epoch} epochs have left behind; take image or csv")
    if epoch >= now.train.epochs:
        lines.append(f"{path}: has had {epoch} epochs; train.epochs {now.train.epochs} leaves none, give more than {epoch}")
    return lines


def difference(saved: Config, now: Config) -> str:
    """The fields that differ, as people read them."""
    sections = [(name, getattr(saved, name), getattr(now, name)) for name in type(now).model_fields]
    fields = [
        f"{name}.{key} was {getattr(old, key)!r}, now {getattr(new, key)!r}"
        for name, old, new in sections
        for key in type(new).model_fields
        if getattr(old, key) != getattr(new, key)
    ]
    return "; ".join(fields)
