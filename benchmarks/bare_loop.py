"""The yardstick of training speed: forward, backward, clipping, optimizer and averaged weights on data that lie on the device.

Nothing is read, augmented, drawn, validated or saved.  Every gain of the trainer's own network counts here too; `Ways` turns them off
one by one, down to what PyTorch does if nobody asks for more.
"""

import copy
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ceph_core import losses, models
from ceph_core.codec import Target, codec_for
from ceph_core.config import Config
from ceph_core.geometry import Canvas
from ceph_core.models.hrnet import LandmarkNet
from ceph_core.training.device import keep_freed_memory

NUM_BATCHES = 4
NUM_LANDMARKS = 19


@dataclass(frozen=True)
class Ways:
    """How the loop computes; the defaults are the trainer's."""

    precision: str = "fp32"
    channels_last: bool = True
    keeps_memory: bool = True
    splits_head: bool = True
    contiguous_loss: bool = True
    fused: bool = True
    compiled: bool = False


class ConcatenatedHead(nn.Module):
    """The same network with its head as the paper draws it: upsample every branch, concatenate, mix."""

    def __init__(self, net: LandmarkNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, film: Tensor) -> Tensor:
        first, *coarser = self.net.backbone((film - self.net.grey_mean) / self.net.grey_std)
        wide = [functional.interpolate(branch, size=first.shape[-2:], mode="bilinear", align_corners=False) for branch in coarser]
        out: Tensor = self.net.shuffle(self.net.maps(self.net.mix(torch.cat([first, *wide], dim=1))))
        return out


class BareLoop:
    """Steps of one configuration on made-up films of a canvas."""

    def __init__(self, config: Config, canvas: Canvas, device: torch.device, ways: Ways) -> None:
        if ways.keeps_memory and device.type == "cpu":
            keep_freed_memory()
        torch.manual_seed(0)
        self.ways, self.device, self.batch = ways, device, config.train.batch_size
        self.loss_name, self.clip_norm = config.heatmap.loss, config.train.clip_norm
        layout = torch.channels_last if ways.channels_last else torch.contiguous_format
        built = models.build(config.model, NUM_LANDMARKS)
        self.net = (built if ways.splits_head else ConcatenatedHead(built)).to(device=device, memory_format=layout).train()
        self.run = torch.compile(self.net, dynamic=False) if ways.compiled else self.net
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=config.train.lr, fused=True if ways.fused else None)
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        codec = codec_for(config, config.data.image_size)
        sigma = torch.full((NUM_LANDMARKS,), codec.sigma_px, device=device)
        self.films: list[tuple[Tensor, Target]] = []
        for _ in range(NUM_BATCHES):
            film = torch.randint(0, 256, (self.batch, 1, canvas.height, canvas.width), device=device).float()
            points = torch.rand(self.batch, NUM_LANDMARKS, 2, device=device) * min(canvas.height, canvas.width)
            self.films.append((film.contiguous(memory_format=layout), codec.encode(points, sigma, (canvas.height, canvas.width))))

    def step(self, film: Tensor, target: Target) -> None:
        """One optimizer step."""
        ways = self.ways
        with torch.autocast(self.device.type, torch.bfloat16, enabled=ways.precision == "bf16"):
            raw = self.run(film)
        if ways.contiguous_loss:
            values = losses.per_landmark(self.loss_name, raw, target)
        else:
            values = losses._LOSSES[self.loss_name](raw.float(), target)
        values.mean().backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            own, followed = list(self.average.parameters()), list(self.net.parameters())
            if ways.fused:
                torch._foreach_lerp_(own, followed, 0.001)
            else:
                for mean, weight in zip(own, followed, strict=True):
                    mean.lerp_(weight, 0.001)

    def films_per_s(self, num_steps: int) -> float:
        """Rate over so many steps."""
        synchronize(self.device)
        started = time.perf_counter()
        for number in range(num_steps):
            self.step(*self.films[number % NUM_BATCHES])
        synchronize(self.device)
        return num_steps * self.batch / (time.perf_counter() - started)


def synchronize(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
