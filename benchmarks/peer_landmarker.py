"""landmarker 0.4.1 trained for some minutes, as a user of it would: run by benchmarks/landmarker.py in an environment of the peer's own.

Of its networks, losses and decoders these did best on two cores: the spatial-configuration network made narrow, a learned width of the
target, AdamW in the place of the documented SGD (which wants 25 hours), and its documented augmentation.

PYTHON -I benchmarks/peer_landmarker.py JOB.json POINTS.npz; its last line is JSON: film passes and seconds of training.
"""

import json
import math
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from landmarker.data import LandmarkDataset
from landmarker.heatmap.decoder import heatmap_to_coord
from landmarker.heatmap.generator import GaussianHeatmapGenerator
from landmarker.losses import GaussianHeatmapL2Loss
from landmarker.models import SpatialConfigurationNet
from landmarker.transforms.images import UseOnlyFirstChannel
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandGaussianNoised,
    RandHistogramShiftd,
    RandScaleIntensityd,
    ScaleIntensityd,
)
from torch.utils.data import DataLoader

IMAGE = ("image",)
SIZE = (256, 208)
LOCAL_CHANNELS, SPATIAL_CHANNELS = (24, 48, 96, 128), 64
SIGMA_PX, PEAK, SIGMA_WEIGHT = 3.0, 100.0, 5.0
RATE, WEIGHT_DECAY, WARMUP, CLIP_NORM = 1e-3, 1e-4, 0.05, 10_000.0


def main() -> None:
    warnings.filterwarnings("ignore")
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    num_landmarks = len(job["train"][0]["points"])
    net = SpatialConfigurationNet(
        2, 1, num_landmarks, la_channels=LOCAL_CHANNELS, la_strides=(2,) * (len(LOCAL_CHANNELS) - 1), sp_channels=SPATIAL_CHANNELS
    )
    told = train(net, dataset(job["train"], job["seed"]), num_landmarks, 60 * job["minutes"])
    np.savez(sys.argv[2], points=predict(net, dataset(job["test"], None)))
    print(json.dumps(told))


def dataset(films: list[dict], seed: int | None) -> LandmarkDataset:
    """Films in memory at the network's size, augmented if there is a seed; the peer's points are y, x."""
    points = np.array([film["points"] for film in films])[..., ::-1]
    plain = [UseOnlyFirstChannel(IMAGE), ScaleIntensityd(IMAGE)]
    augment = [
        RandGaussianNoised(IMAGE, prob=0.2, mean=0, std=0.1),
        RandScaleIntensityd(IMAGE, factors=0.25, prob=0.2),
        RandAdjustContrastd(IMAGE, prob=0.2, gamma=(0.5, 4.5)),
        RandHistogramShiftd(IMAGE, prob=0.2),
        ScaleIntensityd(IMAGE),
        RandAffined(
            IMAGE,
            prob=1,
            rotate_range=(-math.pi / 12, math.pi / 12),
            translate_range=(-10, 10),
            scale_range=(-0.1, 0.1),
            shear_range=(-0.1, 0.1),
        ),
    ]
    transform = Compose(plain if seed is None else [*plain, *augment])
    transform.set_random_state(seed)
    return LandmarkDataset([film["image"] for film in films], points, transform=transform, store_imgs=True, dim_img=SIZE)


def train(net: torch.nn.Module, films: LandmarkDataset, num_landmarks: int, seconds: float) -> dict:
    """Batch 1 until the time is over; reading the films does not count, nothing is evaluated."""
    targets = GaussianHeatmapGenerator(num_landmarks, sigmas=SIGMA_PX, gamma=PEAK, heatmap_size=SIZE, learnable=True)
    loss_of = GaussianHeatmapL2Loss(alpha=SIGMA_WEIGHT)
    groups = [
        {"params": net.parameters(), "weight_decay": WEIGHT_DECAY},
        {"params": [targets.sigmas, targets.rotation], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    net.train()
    passes, began = 0, time.perf_counter()
    for film in endless(DataLoader(films, batch_size=1, shuffle=True)):
        share = (time.perf_counter() - began) / seconds
        if share >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, share / WARMUP + 0.02) * 0.5 * (1 + math.cos(math.pi * share))
        optimizer.zero_grad()
        loss = loss_of(net(film["image"].as_tensor()), targets.sigmas, targets(film["landmark"]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP_NORM)
        optimizer.step()
        passes += 1
        if passes % len(films) == 0:
            print(f"{share:.0%}: loss {loss.item():.2f}, sigma {targets.sigmas.min():.2f}-{targets.sigmas.max():.2f} px", file=sys.stderr)
    return {"film_passes": passes, "train_s": time.perf_counter() - began}


def endless(loader: DataLoader):
    while True:
        yield from loader


@torch.no_grad()
def predict(net: torch.nn.Module, films: LandmarkDataset) -> np.ndarray:
    """(N, K, 2) x, y in original px by local soft-argmax; where its exponential overflows, the peer's argmax."""
    net.eval()
    found = []
    for film in DataLoader(films, batch_size=1):
        maps = net(film["image"].as_tensor())
        fine, coarse = (heatmap_to_coord(maps, method=method).double() for method in ("local_soft_argmax", "argmax"))
        points = torch.where(torch.isnan(fine), coarse, fine)
        padding = film["padding"][:, None].double()
        size = film["dim_original"][:, None].double() + 2 * padding
        found.append((points * size / torch.tensor(SIZE) - padding).flip(-1))
    return torch.cat(found).numpy()


if __name__ == "__main__":
    main()
