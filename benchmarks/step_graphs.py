"""A GPU's training steps launched kernel by kernel and as one CUDA graph each: time, films a second and memory.

python benchmarks/step_graphs.py          (about 4 minutes on one GPU; a CPU has no graphs and runs only --quick, without them)
"""

import time
from typing import Any

import measuring
import torch

from ceph_core import models
from ceph_core.codec import codec_for
from ceph_core.config import Config, apply
from ceph_core.data.loader import Batch
from ceph_core.geometry import Canvas
from ceph_core.training.device import pick_device, pick_precision, prepare
from ceph_core.training.learner import Learner
from ceph_core.training.memory import estimate_memory_mb
from ceph_core.training.step_graphs import StepGraphs

NUM_LANDMARKS = 19
SMALL = {"model.name": "hrnet_w18_small", "model.head_stride": 2, "heatmap.loss": "cross_entropy", "data.image_size": 256}
SETTINGS: list[dict[str, Any]] = [
    *({**SMALL, "train.batch_size": batch} for batch in (2, 4)),
    *({"model.name": name, "train.batch_size": batch} for name in ("hrnet_w32", "hrnet_w48") for batch in (4, 8, 16)),
]


def steps_ms(config: Config, canvas: Canvas, device: torch.device, recorded: bool, rounds: int) -> dict[str, float]:
    """Milliseconds a step, on films that lie in pinned memory, and MB."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    prepare(device)
    batch = config.train.batch_size
    graphs = StepGraphs(device) if recorded else None
    learner = Learner(models.build(config.model, NUM_LANDMARKS), config.train, device, pick_precision(config.train, device), graphs=graphs)
    learner.set_mode(frozen_norm=False, checkpoints=False)
    images = torch.randint(0, 256, (batch, 1, canvas.height, canvas.width), dtype=torch.uint8)
    points = torch.rand(batch, NUM_LANDMARKS, 2) * canvas.width
    films = Batch(images.pin_memory(), points.pin_memory()) if device.type == "cuda" else Batch(images, points)
    codec = codec_for(config, config.data.image_size)
    sigma, weights = torch.full((NUM_LANDMARKS,), codec.sigma_px, device=device), torch.ones(NUM_LANDMARKS, device=device)

    def run(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            loss = learner.step(films, codec, sigma, weights, batch, 1e-4)
        float(loss)
        return (time.perf_counter() - started) / steps * 1e3

    run(4)
    found = {"ms": run(rounds)}
    if device.type == "cuda":
        found |= {"peak_mb": torch.cuda.max_memory_allocated() / 2**20, "reserved_mb": torch.cuda.memory_reserved() / 2**20}
    return found


def main() -> None:
    parser = measuring.arguments(__doc__)
    args = parser.parse_args()
    device = pick_device()
    if device.type != "cuda" and not args.quick:
        parser.error("there is no GPU here, and a CPU has no CUDA graphs")
    rows = []
    for changes in [{**SMALL, "data.image_size": 64, "train.batch_size": 2}] if args.quick else SETTINGS:
        config = apply(Config(), changes)
        size, batch = config.data.image_size, config.train.batch_size
        canvas = Canvas(size, round(size * 0.8 / 32) * 32)
        plain = steps_ms(config, canvas, device, False, 8)
        row: dict[str, Any] = {"network": config.model.name, "size": size, "batch": batch, "kernel by kernel, ms": plain["ms"]}
        if device.type == "cuda":
            graph = steps_ms(config, canvas, device, True, 40)
            row |= {
                "as a graph, ms": graph["ms"],
                "ratio": plain["ms"] / graph["ms"],
                "films/s": batch / graph["ms"] * 1e3,
                "peak, MB": graph["peak_mb"],
                "reserved, MB": graph["reserved_mb"],
                "estimated, MB": estimate_memory_mb(config, canvas, NUM_LANDMARKS, half_precision=True),
            }
        rows.append(row)
    measuring.publish("step_graphs", {"Training steps on a GPU": rows}, args.quick)


if __name__ == "__main__":
    main()
