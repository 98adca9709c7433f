"""An ensemble at work: films of any size in, points in their own pixels out."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ceph_core.data.imagefile import read_grey
from ceph_core.data.parallel import Progress, in_order
from ceph_core.data.views import on_canvas
from ceph_core.errors import InputError
from ceph_core.geometry import Canvas, fit_affine
from ceph_core.inference.ensemble import (
    COMBINATIONS,
    Combination,
    as_points,
    coordinate_mean,
    heatmap_mean,
    joined,
    normalised,
)
from ceph_core.inference.frames import Frame, placement
from ceph_core.inference.manifest import MANIFEST_FILE, Manifest, read_manifest
from ceph_core.inference.member import Member, is_member, load_member
from ceph_core.inference.outputs import Look, batch_for, look
from ceph_core.inference.tta import Tta, View, common_of
from ceph_core.landmarks import PROTOCOLS, Protocol


@dataclass(frozen=True, eq=False)
class Prediction:
    """The landmarks of one film.

    Attributes:
        points_px: (K, 2) float64, x then y in original px.
        confidence: (K,) float32, 0-1, the members' weighted mean; the views' mean of that.
    """

    points_px: NDArray[np.float64]
    confidence: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Shown:
    """A film as the members see it: its (height, width) in original px, and its picture (H, W) uint8 on each canvas."""

    size: tuple[int, int]
    pictures: Mapping[Canvas, NDArray[np.uint8]]


class Predictor:
    """Members, their weights and the rule that combines them.

    Args:
        members: all on `device`.
        weights: one positive number each; they are scaled to sum 1.
        combine: the rule.
        protocol: the landmarks' names and order.
        device: where the networks are.
        manifest: what the ensemble folder says of itself, if it came from one.
        tta: views whose points are averaged; none by default.

    Raises:
        InputError: a member cannot read one of the views.
    """

    def __init__(
        self,
        members: Sequence[Member],
        weights: Sequence[float],
        combine: Combination,
        protocol: Protocol,
        device: torch.device | str = "cpu",
        manifest: Manifest | None = None,
        tta: Tta | None = None,
    ) -> None:
        assert len(members) == len(weights) >= 1 and combine in COMBINATIONS
        assert combine != "single" or len(members) == 1
        self.tta = tta or Tta()
        if refused := self.tta.refusals([member.config for member in members]):
            raise InputError(refused)
        self.members = tuple(members)
        self.weights = normalised(weights)
        self.combine: Combination = combine
        self.protocol = protocol
        self.device = torch.device(device)
        self.manifest = manifest
        self.frames = tuple(Frame(member.canvas, member.codec) for member in members)
        self.canvases = tuple(dict.fromkeys(canvas for member in members for canvas in member.canvases))

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu", tta: Tta | None = None) -> "Predictor":
        """The ensemble of a folder with `manifest.json`, or the single network of a member folder.

        Args:
            tta: views whose points are averaged; None: those the manifest names, or a member's own configuration.

        Raises:
            InputError: neither of the two, files are missing or disagree, or a member cannot read one of the views.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise InputError(f"--model: {folder}: no such folder; give results/<run>/ensemble or a member folder in it")
        if not (folder / MANIFEST_FILE).is_file():
            if not is_member(folder):
                raise InputError(f"--model: {folder}: holds no {MANIFEST_FILE} and no member's config.json; give results/<run>/ensemble")
            member = load_member(folder, device)
            views = common_of([member.config]) if tta is None else tta
            return cls([member], [1.0], "single", _protocol_of(member, folder), device, tta=views)
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
        views = manifest.tta if tta is None else tta
        return cls(members, [entry.weight for entry in manifest.members], manifest.combine, protocol, device, manifest, views)

    def in_one_pass(self) -> "Predictor":
        """The same ensemble without test-time augmentation."""
        made = copy.copy(self)
        made.tta = Tta()
        return made

    def predict(self, film: NDArray[np.uint8]) -> Prediction:
        """The landmarks of one film, (h, w) grey values."""
        return self.predict_batch([film])[0]

    def predict_batch(self, films: Sequence[NDArray[np.uint8]], batch: int | None = None) -> list[Prediction]:
        """The landmarks of films (h, w) of any sizes, at most `batch` of them on the device at once."""
        step = batch or batch_for(self.device)
        chunks = (films[start : start + step] for start in range(0, len(films), step))
        return [found for chunk in chunks for found in self.answer([self.show(film) for film in chunk])]

    def predict_files(
        self, paths: Sequence[Path], progress: Progress, batch: int | None = None
    ) -> Iterator[tuple[NDArray[np.uint8], Prediction]]:
        """Each file's film and its landmarks, in order; threads decode and resample ahead of the networks.

        A few films a thread and a batch are in memory.  From the first file that cannot be decoded on, no film is predicted
        and the others are only read, to name every bad one.

        Raises:
            InputError: after the last film, every file that cannot be decoded.
        """
        reading = in_order(self._read, paths, lambda done, total: None)
        done = 0
        while chunk := list(islice(reading, batch or batch_for(self.device))):
            found = self.answer([shown for _, shown in chunk])
            done += len(chunk)
            progress(done, len(paths))
            yield from zip((film for film, _ in chunk), found, strict=True)

    def _read(self, path: Path) -> tuple[NDArray[np.uint8], Shown]:
        film = read_grey(path)
        return film, self.show(film)

    def show(self, film: NDArray[np.uint8]) -> Shown:
        """A film (h, w) resampled once a canvas, on the CPU as the cache does it."""
        return Shown((film.shape[0], film.shape[1]), {canvas: on_canvas(film, canvas) for canvas in self.canvases})

    @torch.inference_mode()
    def answer(self, films: Sequence[Shown]) -> list[Prediction]:
        """The landmarks of films, all of them on the device at once."""
        pictures = {
            canvas: torch.from_numpy(np.stack([film.pictures[canvas] for film in films]))[:, None].to(self.device)
            for canvas in self.canvases
        }
        placed = {canvas: placement(np.stack([fit_affine(film.size, canvas) for film in films]), self.device) for canvas in self.canvases}
        looks = [look(member, pictures, placed) for member in self.members]
        seen = [self._in_view(looks, view) for view in self.tta.views]
        points, confidences = (torch.stack(each).mean(0) for each in zip(*seen, strict=True))
        if self.combine == "heatmap_mean":
            xy, confidence = points, coordinate_mean(confidences, self.weights)
        else:
            xy, confidence = joined(points, confidences, self.combine, self.weights)
        return [Prediction(at, sure) for at, sure in zip(as_points(xy), confidence.float().cpu().numpy(), strict=True)]

    def _in_view(self, looks: Sequence[Look], view: View) -> tuple[Tensor, Tensor]:
        """What one view of films is averaged by.

        Returns:
            float64 points in original px, (M, N, K, 2) of each member, or (N, K, 2) where heatmaps are averaged; (M, N, K) confidences.
        """
        answers = [each.read(view) for each in looks]
        confidences = torch.stack([sure for _, sure, *_ in answers])
        if self.combine == "heatmap_mean":
            return heatmap_mean([maps for *_, maps, _ in answers], self.frames, [at for *_, at in answers], self.weights), confidences
        return torch.stack([points for points, *_ in answers]), confidences


def _protocol_of(member: Member, folder: Path) -> Protocol:
    """A member folder names no landmarks: those of the ensemble it lies in, else the known protocol of that many points."""
    if (folder.parent / MANIFEST_FILE).is_file():
        manifest = read_manifest(folder.parent)
        if folder.name in {entry.folder for entry in manifest.members}:
            return Protocol(manifest.protocol.name, manifest.protocol.symbols, manifest.protocol.names)
    fitting = [protocol for protocol in PROTOCOLS.values() if len(protocol) == member.num_landmarks]
    if len(fitting) != 1:
        raise InputError(
            f"--model: {folder}: a single member with {member.num_landmarks} landmarks, a number of {len(fitting)} known protocols; "
            "give the ensemble folder, whose manifest names them"
        )
    return fitting[0]
