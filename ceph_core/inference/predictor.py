"""An ensemble at work: films of any size in, points in their own pixels out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ceph_core.errors import InputError
from ceph_core.geometry import fit_affine, resample
from ceph_core.inference.ensemble import COMBINATIONS, Combination, as_points, coordinate_mean, heatmap_mean, normalised, to_original
from ceph_core.inference.frames import Frame, placement
from ceph_core.inference.manifest import MANIFEST_FILE, Manifest, read_manifest
from ceph_core.inference.member import Member, is_member, load_member
from ceph_core.inference.outputs import heatmaps_of
from ceph_core.landmarks import PROTOCOLS, Protocol


@dataclass(frozen=True, eq=False)
class Prediction:
    """The landmarks of one film.

    Attributes:
        points_px: (K, 2) float64, x then y in original px.
        confidence: (K,) float32, 0-1, the members' weighted mean.
    """

    points_px: NDArray[np.float64]
    confidence: NDArray[np.float32]


class Predictor:
    """Members, their weights and the rule that combines them.

    Args:
        members: all on `device`.
        weights: one positive number each; they are scaled to sum 1.
        combine: "single", "coordinate_mean" or "heatmap_mean".
        protocol: the landmarks' names and order.
        device: where films are resampled and read.
        manifest: what the ensemble folder says of itself, if it came from one.
    """

    def __init__(
        self,
        members: Sequence[Member],
        weights: Sequence[float],
        combine: Combination,
        protocol: Protocol,
        device: torch.device | str = "cpu",
        manifest: Manifest | None = None,
    ) -> None:
        assert len(members) == len(weights) >= 1 and combine in COMBINATIONS
        assert combine != "single" or len(members) == 1
        self.members = tuple(members)
        self.weights = normalised(weights)
        self.combine: Combination = combine
        self.protocol = protocol
        self.device = torch.device(device)
        self.manifest = manifest
        self.frames = tuple(Frame(member.canvas, member.codec) for member in members)

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> "Predictor":
        """The ensemble of a folder with `manifest.json`, or the single network of a member folder.

        Raises:
            InputError: neither of the two, or files are missing or disagree.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise InputError(f"--model: {folder}: no such folder; give results/<run>/ensemble or a member folder in it")
        if not (folder / MANIFEST_FILE).is_file():
            if not is_member(folder):
                raise InputError(f"--model: {folder}: holds no {MANIFEST_FILE} and no member's config.json; give results/<run>/ensemble")
            member = load_member(folder, device)
            return cls([member], [1.0], "single", _protocol_of(member, folder), device)
        manifest = read_manifest(folder)
        members: list[Member] = []
        problems: list[str] = []
        for entry in manifest.members:
            try:
                member = load_member(folder / entry.folder, device)
            except InputError as error:
                problems.extend(error.problems)
                continue
            problems.extend(entry.disagreements(member, len(manifest.protocol.symbols), str(folder / MANIFEST_FILE)))
            members.append(member)
        if problems:
            raise InputError(problems)
        protocol = Protocol(manifest.protocol.name, manifest.protocol.symbols, manifest.protocol.names)
        return cls(members, [entry.weight for entry in manifest.members], manifest.combine, protocol, device, manifest)

    def predict(self, film: NDArray[np.uint8]) -> Prediction:
        """The landmarks of one film, (h, w) grey values."""
        return self.predict_batch([film])[0]

    @torch.inference_mode()
    def predict_batch(self, films: Sequence[NDArray[np.uint8]], batch: int = 8) -> list[Prediction]:
        """The landmarks of films (h, w) of any sizes, at most `batch` of them on the device at once."""
        return [found for start in range(0, len(films), batch) for found in self._predict(films[start : start + batch])]

    def _predict(self, films: Sequence[NDArray[np.uint8]]) -> list[Prediction]:
        # Each film is resampled once per canvas, not per member.
        grey: dict[object, Tensor] = {}
        for canvas in {member.canvas for member in self.members}:
            grey[canvas] = torch.cat([resample(torch.from_numpy(film)[None, None].to(self.device), canvas) for film in films])
        placements = [
            placement(np.stack([fit_affine((film.shape[0], film.shape[1]), member.canvas) for film in films]), self.device)
            for member in self.members
        ]
        maps = [heatmaps_of(member, grey[member.canvas]) for member in self.members]
        decoded = [member.codec.decode(each) for member, each in zip(self.members, maps, strict=True)]
        confidence = coordinate_mean(torch.stack([each for _, each in decoded]), self.weights)
        if self.combine == "heatmap_mean":
            points = heatmap_mean(maps, self.frames, placements, self.weights)
        else:
            points = coordinate_mean(
                torch.stack([to_original(each, placed) for (each, _), placed in zip(decoded, placements, strict=True)]), self.weights
            )
        return [Prediction(xy, sure) for xy, sure in zip(as_points(points), confidence.float().cpu().numpy(), strict=True)]


def _protocol_of(member: Member, folder: Path) -> Protocol:
    """A member folder names no landmarks: the known protocol of that many points."""
    fitting = [protocol for protocol in PROTOCOLS.values() if len(protocol) == member.num_landmarks]
    if len(fitting) != 1:
        raise InputError(
            f"--model: {folder}: a single member with {member.num_landmarks} landmarks, a number of {len(fitting)} known protocols; "
            "give the ensemble folder, whose manifest names them"
        )
    return fitting[0]
