"""One optimizer step, and everything that it changes."""

from typing import Any

import torch
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from torch import Tensor, nn

from ceph_core.codec import HeatmapCodec, Target
from ceph_core.config import TrainConfig
from ceph_core.data.loader import Batch
from ceph_core.losses import per_landmark
from ceph_core.models import freeze_norms, recompute
from ceph_core.training.device import autocast
from ceph_core.training.ema import Ema
from ceph_core.training.learned_sigma import LearnedSigmas
from ceph_core.training.step_graphs import StepGraphs
from ceph_core.training.watch import Watch


class Learner:
    """A network with its averaged weights, optimizer and loss scaler.

    Args:
        net: freshly built; it is moved to the device.
        train: the optimisation.
        device: where it learns.
        precision: fp32, bf16 or fp16; the last with a scaled loss, whatever the device.
        compiled: whether torch compiles the network.
        sigmas: learned factors on sigma, if they are.
        graphs: what records steps and replays them, if they are.
    """

    def __init__(
        self,
        net: nn.Module,
        train: TrainConfig,
        device: torch.device,
        precision: str,
        compiled: bool = False,
        sigmas: LearnedSigmas | None = None,
        graphs: StepGraphs | None = None,
    ) -> None:
        self.device, self.precision = device, precision
        self._format = torch.channels_last if train.channels_last else torch.contiguous_format
        self._clip_norm = train.clip_norm
        self.net = net.to(device=device, memory_format=self._format)  # type: ignore[call-overload]
        self.ema = Ema(self.net, train.ema_decay)
        self.sigmas = None if sigmas is None else sigmas.to(device)
        groups = param_groups_weight_decay(self.net, train.weight_decay)
        if self.sigmas is not None:
            groups.append({"params": list(self.sigmas.parameters()), "weight_decay": 0.0})
        self.graphs = graphs
        self._capturable = graphs is not None and device.type == "cuda"
        self.optimizer = torch.optim.AdamW(groups, lr=train.lr, weight_decay=train.weight_decay, fused=True, capturable=self._capturable)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self.num_steps = 0
        self.watch: Watch | None = None
        # Named once: a state is asked for between epochs, and walking the modules takes longer than copying a small network.
        self._net_state, self._ema_state = self.net.state_dict(), self.ema.net.state_dict()
        # Static shapes: a run has few (stages, and the last batch of an epoch), and convolutions of unknown size compile badly.
        self._compiled_net = torch.compile(self.net, dynamic=False) if compiled else self.net
        self._forward = self._compiled_net
        self._mode = (False, False)

    def set_mode(self, frozen_norm: bool, checkpoints: bool) -> None:
        """Training mode; batch norms keep their statistics, and activations are computed again, as told."""
        self._mode = (frozen_norm, checkpoints)
        self.net.train()
        if frozen_norm:
            freeze_norms(self.net)
        recompute(self.net, checkpoints)
        # The compiler cannot trace what keeps statistics from moving twice.
        self._forward = self.net if checkpoints else self._compiled_net

    def forget_step(self) -> None:
        """Leave a step that ran out of memory as if it had not begun: gradients, half-made moments and the scaler's stage go."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.graphs is not None:
            self.graphs.forget()
        for weight in [weight for weight, moments in self.optimizer.state.items() if "exp_avg_sq" not in moments]:
            del self.optimizer.state[weight]
        scale = self.scaler.state_dict()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.scaler.load_state_dict(scale)

    def step(self, batch: Batch, codec: HeatmapCodec, sigma_px: Tensor, weights: Tensor, micro_batch: int, lr: float) -> Tensor:
        """One optimizer step; fp16 skips it by itself if a gradient overflowed.

        Returns:
            The batch's loss, a scalar that stays on the device, good until the next step: no step waits for a number.
        """

        def work(tensors: tuple[Tensor, ...], numbers: tuple[Any, ...]) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
            images, points, sigma, weights = tensors
            self.optimizer.zero_grad(set_to_none=True)  # a recording that failed has left some
            found = self.accumulate(Batch(images, points), codec, sigma, weights, micro_batch)
            self._descend(*numbers)
            return found

        tensors, numbers = (batch.images, batch.points, sigma_px, weights), (lr, self.ema.weight(self.num_steps + 1))
        frozen_norm, checkpoints = self._mode
        if self.graphs is None or checkpoints:  # what computes twice cannot be recorded
            loss, distances = work(tensors, numbers)
        else:
            shape = (batch.images.shape, codec, micro_batch, frozen_norm, self.watch is None)
            loss, distances = self.graphs.run(shape, tensors, numbers, work)
        for group in self.optimizer.param_groups:
            group["lr"] = lr  # where a recording has left its own
        self._look(distances)
        self.num_steps += 1
        return loss

    def _descend(self, lr: float | Tensor, ema_weight: float | Tensor) -> None:
        """Move the weights by the gradient there is, which goes, and the averaged ones towards them."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self._clip_norm, foreach=True)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(ema_weight)

    def _look(self, distances: list[tuple[Tensor, Tensor]]) -> None:
        for each in distances:  # now that the whole batch has fitted
            self.watch.add(*each)  # type: ignore[union-attr]

    def accumulate(
        self, batch: Batch, codec: HeatmapCodec, sigma_px: Tensor, weights: Tensor, micro_batch: int
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Add the gradient of the batch's loss, `micro_batch` films at a time.

        The loss is a mean over the visible landmarks of the whole batch, so that its gradient does not hang on how the batch
        is cut; only batch norm sees a micro-batch at a time, and normalises by what it sees.

        Args:
            batch: films and points.
            codec: of this size.
            sigma_px: (K,) of the targets, input px.
            weights: (K,) of the landmarks.
            micro_batch: films on the device at once.

        Returns:
            The loss, and each pass's distances for `Watch.add` if they are watched.
        """
        images = batch.images.to(self.device, non_blocking=True)
        points = batch.points.to(self.device, non_blocking=True)
        size = (images.shape[-2], images.shape[-1])
        target = codec.encode(points, sigma_px, size)
        share = (weights * target.visible).sum().clamp_min(1e-6)
        total = torch.zeros((), device=self.device)
        distances = []
        for start in range(0, len(images), micro_batch):
            part = slice(start, start + micro_batch)
            with autocast(self.device, self.precision):
                raw = self._forward(images[part].float().contiguous(memory_format=self._format))
            wanted = Target(target.rows[part], target.columns[part], target.visible[part])
            if self.sigmas is not None:  # a graph of its own for every backward
                wanted = codec.encode(points[part], sigma_px * self.sigmas.factors(), size)
            loss = (per_landmark(codec.loss, raw, wanted) * weights).sum() / share
            if self.sigmas is not None:
                loss = loss + self.sigmas.penalty() * (len(raw) / len(images))
            if self.watch is not None:
                distances.append(self.watch.distances(codec, raw.detach(), points[part], wanted.visible))
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total, distances

    def state_dict(self) -> dict[str, Any]:
        """Everything above, for a checkpoint."""
        return {
            "step": self.num_steps,
            "precision": self.precision,
            "net": self._net_state,
            "ema": self._ema_state,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "sigmas": {} if self.sigmas is None else self.sigmas.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave; a scale is left behind where the precision has changed."""
        self.num_steps = state["step"]
        self.net.load_state_dict(state["net"])
        self.ema.net.load_state_dict(state["ema"])
        decays = [group["weight_decay"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, decay in zip(self.optimizer.param_groups, decays, strict=True):  # another plan's or device's may differ
            group |= {"weight_decay": decay, "capturable": self._capturable}
        if self.sigmas is not None:
            self.sigmas.load_state_dict(state["sigmas"])
        if state["precision"] == self.precision:
            self.scaler.load_state_dict(state["scaler"])
