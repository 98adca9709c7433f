"""The best averaged weights of a run's last stage, kept to be averaged at its end (the guide: the best 3-5 checkpoints)."""

import math
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ceph_core.config import Config
from ceph_core.training.result import EpochResult

SNAPSHOT_FOLDER = "snapshots"

APART = 25
"""Snapshots lie at least this part of the run apart: neighbours are one network."""
_ERROR = "val_mre_mm"


@dataclass(frozen=True)
class Snapshot:
    """Averaged weights on disk, with their epoch and its validation MRE."""

    epoch: int
    mre_mm: float
    path: Path

    def weights(self) -> dict[str, Tensor]:
        """The state dict, on the CPU."""
        return load_file(str(self.path))


class Snapshots:
    """Keeps `train.snapshots` files in a folder.

    A run that was killed offers the epochs after its last state again; what lies in the folder of those is kept, and they are
    judged beside it, so that it may end with a neighbour of what an unstopped run keeps.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder = folder
        self._keep = config.train.snapshots
        self._apart = config.train.epochs / APART
        self._size = config.data.image_size

    def look(self, result: EpochResult, size: int, averaged: nn.Module) -> None:
        """Keep the weights of an epoch, if they are among the best.

        Args:
            result: what the epoch brought.
            size: at which it was validated, px; only that of the last stage counts.
            averaged: the network that was validated.
        """
        error = result.val.mre_mm
        if not self._keep or size != self._size or not math.isfinite(error):
            return
        kept = self.kept()
        if any(each.epoch == result.epoch for each in kept):
            return
        near = [each for each in kept if abs(each.epoch - result.epoch) < self._apart]
        if any(each.mre_mm <= error for each in near):
            return
        others = sorted((each for each in kept if each not in near), key=lambda each: each.mre_mm)
        if len(others) >= self._keep and others[self._keep - 1].mre_mm <= error:
            return
        self._write(result.epoch, error, averaged)
        for dropped in (*near, *others[self._keep - 1 :]):
            dropped.path.unlink()

    def kept(self) -> list[Snapshot]:
        """What lies in the folder, by epoch."""
        found = []
        for path in sorted(self.folder.glob("epoch_*.safetensors")):
            with safe_open(str(path), framework="pt") as file:
                found.append(Snapshot(int(path.stem.removeprefix("epoch_")), float(file.metadata()[_ERROR]), path))
        return found

    def _write(self, epoch: int, error: float, averaged: nn.Module) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"epoch_{epoch:05d}.safetensors"
        temporary = path.with_suffix(".part")
        weights = {name: value.detach().cpu().contiguous() for name, value in averaged.state_dict().items()}
        save_file(weights, str(temporary), metadata={_ERROR: repr(error)})
        temporary.replace(path)
