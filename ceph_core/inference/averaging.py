"""A run's snapshots averaged, as weights and as answers; what validation finds best is what the run leaves behind.

Averaged weights: Izmailov et al., UAI 2018 (batch-norm statistics are computed anew); averaged answers: the guide's ensemble
of checkpoints.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ceph_core import models
from ceph_core.closeup import cut, origins
from ceph_core.config import Config
from ceph_core.data.films import TrainingData
from ceph_core.data.fingerprint import dataset_fingerprint, digests
from ceph_core.geometry import data_aspect
from ceph_core.inference.manifest import make_manifest, write_manifest
from ceph_core.inference.member import load_member, make_member, save_member
from ceph_core.inference.outputs import film_outputs
from ceph_core.inference.tta import common_of
from ceph_core.metrics import radial_errors_mm, summarize, tier
from ceph_core.training.snapshots import Snapshot

Weights = Mapping[str, Tensor]

_ENOUGH_FILMS, _BATCH = 512, 8
"""Films from which statistics are computed, and how many at once."""
MEMBER_FOLDER, ENSEMBLE_FOLDER = "member", "ensemble"
LAST, AVERAGED_WEIGHTS, AVERAGED_ANSWERS = "last weights", "averaged weights", "averaged answers"


@dataclass(frozen=True)
class Finalist:
    """A way to end a run: one network's weights, or several whose points are averaged, its validation MRE and the tier it reaches."""

    name: str
    networks: tuple[Weights, ...]
    epochs: tuple[int, ...]
    mre_mm: float
    tier: str = ""


def finalists(
    config: Config, data: TrainingData, last: Weights, snapshots: Sequence[Snapshot], device: torch.device, tell: Callable[[str], None]
) -> list[Finalist]:
    """Every way to end a run, the last weights first; without validation films there is no other.

    Args:
        last: averaged weights of the last epoch.
        snapshots: of this run; with fewer than two there is nothing to average.
        tell: told of each in a line.
    """
    films = data.open(config.data.image_size)
    validation = films.rows(data.validation_ids)
    num_landmarks = len(data.dataset.protocol)

    def points(weights: Weights) -> NDArray[np.float64]:
        close = data.close_canvas(config.data.image_size, config.data.zoom)
        member = make_member(config, films.canvas, _network(config, num_landmarks, weights), num_landmarks, device, close=close)
        return film_outputs(member, data, data.validation_ids, tta=common_of([config])).points_px

    def finalist(name: str, networks: Sequence[Weights], epochs: Sequence[int], found: NDArray[np.float64]) -> Finalist:
        summary = summarize(radial_errors_mm(found, films.landmarks_px[validation], films.spacing_mm[validation]))
        made = Finalist(name, tuple(networks), tuple(epochs), summary.mre_mm, tier(summary))
        tell(f"{name}: validation MRE {made.mre_mm:.3f} mm, tier {made.tier}")
        return made

    if not len(validation):
        return [Finalist(LAST, (last,), (config.train.epochs,), math.nan)]
    made = [finalist(LAST, [last], [config.train.epochs], points(last))]
    if len(snapshots) < 2:
        return made
    networks, epochs = [snapshot.weights() for snapshot in snapshots], [snapshot.epoch for snapshot in snapshots]
    mixed = averaged_weights(config, num_landmarks, networks, _pictures(config, data), device)
    made.append(finalist(AVERAGED_WEIGHTS, [mixed], epochs, points(mixed)))
    made.append(finalist(AVERAGED_ANSWERS, networks, epochs, np.mean([points(each) for each in networks], axis=0)))
    return made


def write_finalist(out: Path, config: Config, data: TrainingData, chosen: Finalist) -> Path:
    """Leave a run's result behind: `member/` for one network, `ensemble/` for several.

    Returns:
        The folder.
    """
    canvas, close = data.canvas(config.data.image_size), data.close_canvas(config.data.image_size, config.data.zoom)
    num_landmarks = len(data.dataset.protocol)
    if len(chosen.networks) == 1:
        save_member(out / MEMBER_FOLDER, config, canvas, chosen.networks[0], num_landmarks, out.name, max(chosen.epochs), close)
        return out / MEMBER_FOLDER
    folder = out / ENSEMBLE_FOLDER
    for number, (weights, epoch) in enumerate(zip(chosen.networks, chosen.epochs, strict=True)):
        save_member(folder / f"member_{number}", config, canvas, weights, num_landmarks, out.name, epoch, close)
    members = [load_member(folder / f"member_{number}") for number in range(len(chosen.networks))]
    by_id, learned = data.dataset.by_id(), (*data.train_ids, *data.validation_ids)
    manifest = make_manifest(
        members,
        [1.0 / len(members)] * len(members),
        "coordinate_mean",
        data.dataset.protocol,
        data_aspect([record.size for record in data.dataset.records]),
        data_fingerprint=dataset_fingerprint(data.dataset, data.cache_dir),
        training_films=learned,
        member_films=[data.train_ids] * len(members),
        training_digests=digests([by_id[film].image for film in learned], data.cache_dir),
        figures={"validation_mre_mm": chosen.mre_mm},
        tta=common_of([config]),
    )
    write_manifest(folder, manifest)
    return folder


def networks_of(
    config: Config, data: TrainingData, last: Weights, epoch: int, snapshots: Sequence[Snapshot], device: torch.device
) -> dict[str, tuple[Weights, int]]:
    """Every network a run leaves to choose from, with its epoch: the last (no name), each snapshot, and the mean of all."""
    ways = {"": (last, epoch)}
    if len(snapshots) >= 2:
        networks = [each.weights() for each in snapshots]
        mixed = averaged_weights(config, len(data.dataset.protocol), networks, _pictures(config, data), device)
        ways |= {f"epoch {each.epoch}": (weights, each.epoch) for each, weights in zip(snapshots, networks, strict=True)}
        ways[AVERAGED_WEIGHTS] = (mixed, snapshots[-1].epoch)
    return ways


def best(found: Sequence[Finalist]) -> Finalist:
    """The finalist with the lowest validation MRE; of equals the first, which is the simplest."""
    return min(found, key=lambda each: each.mre_mm)


def averaged_weights(
    config: Config, num_landmarks: int, networks: Sequence[Weights], pictures: NDArray[np.uint8], device: torch.device
) -> Weights:
    """The mean of networks' weights, with batch-norm statistics of these training films.

    Args:
        pictures: (N, H, W) of training films, as the networks were trained to read them.
    """
    first = networks[0]
    mean = {
        name: torch.stack([network[name].double() for network in networks]).mean(0).to(first[name].dtype)
        if first[name].is_floating_point()
        else first[name]
        for name in first
    }
    net = _network(config, num_landmarks, mean).to(device)
    if config.model.norm != "frozen":  # it was trained against the statistics it has
        _compute_statistics(net, pictures, device)
    return net.state_dict()


def _pictures(config: Config, data: TrainingData) -> NDArray[np.uint8]:
    """(N, H, W) of training films at the run's size: whole, or the windows of a second pass."""
    films, close = data.open(config.data.image_size), data.close_canvas(config.data.image_size, config.data.zoom)
    rows = films.rows(data.train_ids)[:_ENOUGH_FILMS]
    if close is None:
        return np.asarray(films.images[rows])
    larger = data.open(max(close.height, close.width))
    first = origins(torch.from_numpy(larger.landmarks_input[rows]), films.canvas, close)
    return np.asarray(cut(torch.from_numpy(larger.images[rows])[:, None], first, films.canvas)[:, 0].numpy())


@torch.no_grad()
def _compute_statistics(net: nn.Module, pictures: NDArray[np.uint8], device: torch.device) -> None:
    """Batch norms take the mean statistics of these films, eight at a time."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.train()
    for start in range(0, len(pictures) if norms else 0, _BATCH):
        net(torch.from_numpy(pictures[start : start + _BATCH])[:, None].to(device).float())
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    net.eval()


def _network(config: Config, num_landmarks: int, weights: Weights) -> nn.Module:
    net = models.build(config.model.model_copy(update={"pretrained": False}), num_landmarks)
    net.load_state_dict(dict(weights))
    return net
