"""What a training will need before it is started: memory by counting, time by trying one step."""

import time

import torch
from torch import nn

from ceph_core import models
from ceph_core.codec import HeatmapCodec
from ceph_core.config import Config
from ceph_core.geometry import Canvas
from ceph_core.losses import per_landmark
from ceph_core.training.device import autocast, pick_precision


def estimate_memory_mb(config: Config, canvas: Canvas, num_landmarks: int, half_precision: bool) -> float:
    """Device memory of a training at this canvas: weights, gradients, two Adam moments, averaged weights and the activations kept for backward.

    Activations are counted by running the network on torch's meta device, which computes nothing; every layer's output is
    taken as kept once.  Batch norm and ReLU in place are not counted twice.  Expect a GPU's allocator to add a tenth.
    """
    with torch.device("meta"):
        net = models.build(config.model.model_copy(update={"pretrained": False}), num_landmarks)
    kept = 0

    def count(module: nn.Module, _: object, output: object) -> None:
        nonlocal kept
        if isinstance(output, torch.Tensor) and not list(module.children()) and not getattr(module, "inplace", False):
            kept += output.numel()

    for module in net.modules():
        module.register_forward_hook(count)
    batch = min(config.train.micro_batch or config.train.batch_size, config.train.batch_size)
    net(torch.empty(batch, 1, canvas.height, canvas.width, device="meta"))
    weights = sum(parameter.numel() for parameter in net.parameters())
    return (weights * 4 * 5 + kept * (2 if half_precision else 4)) / 2**20


def step_seconds(config: Config, canvas: Canvas, num_landmarks: int, device: torch.device) -> float:
    """Seconds of one optimizer step's forward and backward pass on made-up films, the second of two."""
    batch = config.train.batch_size
    net = models.build(config.model.model_copy(update={"pretrained": False}), num_landmarks).to(device)
    if config.train.channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision = pick_precision(config.train, device)
    codec = HeatmapCodec(config.model.head_stride, config.heatmap.loss, config.heatmap.sigma_rel * config.data.image_size)
    films = torch.rand(batch, 1, canvas.height, canvas.width, device=device) * 255
    points = torch.rand(batch, num_landmarks, 2, device=device) * canvas.width
    took = 0.0
    for _ in range(2):
        started = time.perf_counter()
        with autocast(device, precision):
            raw = net(films)
        target = codec.encode(points, torch.full((num_landmarks,), codec.sigma_px), (canvas.height, canvas.width))
        per_landmark(codec.loss, raw, target).mean().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took = time.perf_counter() - started
    return took
