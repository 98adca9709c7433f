"""All that can be chosen, and its answers for the films that decide."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ceph_core.data.films import TrainingData
from ceph_core.data.records import CephRecord
from ceph_core.inference.device import device_for
from ceph_core.inference.member import load_member
from ceph_core.inference.outputs import MemberOutputs, film_outputs
from ceph_core.inference.selection import Candidate
from ceph_core.inference.tta import Tta, common_of
from ceph_core.metrics import radial_errors_mm
from search.policy import Policy
from search.promotion.networks import Entry, Network, Say, entries
from search.records import RunFolder

CallAll = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], list[Any]]
"""`call_all(function, calls)` runs the function on workers, once a tuple of arguments, and gives the results in order."""


def answers(folder: Path, data: TrainingData, film_ids: tuple[str, ...], heatmaps: bool, tta: Tta) -> MemberOutputs:
    """A member's answers for films of the data set; runs on a worker."""
    member = load_member(folder, device_for("auto"))
    return film_outputs(member, data, film_ids, heatmaps=heatmaps, tta=tta)


@dataclass(frozen=True, eq=False)
class Pool:
    """All that can be chosen, and its answers for the films that decide.

    Attributes:
        entries: M; outputs, candidates: theirs.
        films: N ids.
        reference_px: (N, K, 2); spacing_mm: (N, 2).
        tta: views that points are averaged over.
    """

    entries: tuple[Entry, ...]
    outputs: tuple[MemberOutputs, ...]
    candidates: tuple[Candidate, ...]
    films: tuple[str, ...]
    reference_px: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]
    tta: Tta

    @classmethod
    def of(cls, run: RunFolder, policy: Policy, data: TrainingData, call_all: CallAll, say: Say) -> "Pool":
        """What the candidates' trainings left.

        Raises:
            RuntimeError: nothing.
        """
        folds = policy.space.promotion.folds
        found = entries(run, policy, data, say)
        if not found:
            raise RuntimeError("no trial left a checkpoint that could become a member; see the failed trials in the report")
        parts = [data.validation_ids] if folds == 1 else [data.with_fold(fold).validation_ids for fold in range(folds)]
        films = tuple(film for part in parts for film in part)
        tta = common_of([entry.config for entry in found])
        say(f"promotion: {sum(len(entry.networks) for entry in found)} networks answer for {len(films)} films they did not train on")
        if tta.views[1:]:
            say(f"promotion: points are averaged over views ({tta}); heatmaps are not, so that members are combined by their points")
        calls = [
            (network.folder, data, part, not tta.views[1:], tta)
            for entry in found
            for network, part in zip(entry.networks, parts, strict=True)
        ]
        answered = call_all(answers, calls)
        outputs = tuple(_joined(answered[place : place + len(parts)]) for place in range(0, len(answered), len(parts)))
        made = tuple(candidate_of(entry.networks[0], each, data, films) for entry, each in zip(found, outputs, strict=True))
        records = records_of(data, films)
        reference = np.stack([record.landmarks_px for record in records])
        return cls(tuple(found), outputs, made, films, reference, np.array([record.spacing_mm for record in records]), tta)

    def mre_mm(self, place: int) -> float:
        """Of an entry alone."""
        return float(np.nanmean(radial_errors_mm(self.outputs[place].points_px, self.reference_px, self.spacing_mm)))


def candidate_of(network: Network, outputs: MemberOutputs, data: TrainingData, films: tuple[str, ...]) -> Candidate:
    """What selection sees of a network's answers for these films, or of several that differ in nothing but seed and fold."""
    opened = data.open(network.config.data.image_size)
    return Candidate.of(load_member(network.folder), outputs, opened.affines[opened.rows(films)])


def records_of(data: TrainingData, films: Sequence[str]) -> list[CephRecord]:
    """Their records, in order."""
    by_id = data.dataset.by_id()
    return [by_id[film] for film in films]


def _joined(parts: Sequence[MemberOutputs]) -> MemberOutputs:
    """Answers for one part of the films after the other."""
    maps = [part.heatmaps for part in parts if part.heatmaps is not None]
    return MemberOutputs(
        np.concatenate([part.points_px for part in parts]), np.concatenate([part.confidence for part in parts]),
        torch.cat(maps) if len(maps) == len(parts) else None,
    )  # fmt: skip
