"""Which candidates become members: greedy forward selection with replacement on validation films (Caruana et al., ICML 2004)."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ceph_core.geometry import Affine
from ceph_core.inference.ensemble import Combination, as_points, to_original
from ceph_core.inference.frames import Frame, common, largest, move, placement
from ceph_core.inference.member import Member
from ceph_core.inference.outputs import MemberOutputs
from ceph_core.metrics import radial_errors_mm

TOLERANCE_MM = 1e-3
"""A member that lowers the validation MRE by less is not worth its time."""
_CHUNK = 16
"""Films whose heatmaps are averaged at once."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A trained network's answers on the validation films.

    Attributes:
        outputs: N films; with heatmaps, or its heatmaps are never averaged.
        frame: where its heatmaps live.
        affines: (N, 2, 3) original -> input px.
    """

    outputs: MemberOutputs
    frame: Frame
    affines: Affine

    @classmethod
    def of(cls, member: Member, outputs: MemberOutputs, affines: Affine) -> "Candidate":
        """The candidate of a member and what `member_outputs` gave."""
        return cls(outputs, Frame(member.canvas, member.codec), affines)


@dataclass(frozen=True)
class Step:
    """One ensemble that was looked at and kept: candidates' indices (repeated ones weigh more) and its validation MRE."""

    combine: Combination
    picks: tuple[int, ...]
    score_mm: float


@dataclass(frozen=True)
class Selection:
    """The best ensemble found.

    Attributes:
        members: distinct candidates' indices.
        weights: one a member, of sum 1.
        combine: the rule that goes with them.
        score_mm: validation MRE; optimistic, since it was chosen by.
        trace: every ensemble kept on the way, by rule.
    """

    members: tuple[int, ...]
    weights: tuple[float, ...]
    combine: Combination
    score_mm: float
    trace: tuple[Step, ...]


def greedy_select(
    candidates: Sequence[Candidate],
    reference_px: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
    max_members: int = 5,
    tolerance_mm: float = TOLERANCE_MM,
    progress: Callable[[str], None] | None = None,
) -> Selection:
    """Grow an ensemble from the best single candidate, for each rule of combination, and take the best.

    Every round adds the candidate (one already in may come again) that lowers the validation MRE most; it ends where none
    lowers it by more than `tolerance_mm`.  A more complicated rule has to beat a simpler one by as much.

    Args:
        candidates: their films are the same, in the same order; predicted by networks that did not train on them.
        reference_px: (N, K, 2) original px, NaN where missing.
        spacing_mm: (N, 2) mm per original px.
        max_members: most distinct members; rounds are at most twice that.
        progress: told in a line what was kept.
    """
    assert candidates and max_members >= 1

    moved: Moved = {}

    def score(combine: Combination, picks: Sequence[int]) -> float:
        points = combined_points([candidates[pick] for pick in picks], combine, moved)
        return float(np.nanmean(radial_errors_mm(points, reference_px, spacing_mm)))

    alone = [score("single", [index]) for index in range(len(candidates))]
    best = Step("single", (int(np.argmin(alone)),), min(alone))
    trace = [best]
    rules: list[Combination] = ["coordinate_mean"]
    if all(candidate.outputs.heatmaps is not None for candidate in candidates):
        rules.append("heatmap_mean")
    for combine in rules if len(candidates) > 1 and max_members > 1 else []:
        current = trace[0]
        for _ in range(2 * max_members - 1):
            full = len(set(current.picks)) >= max_members
            options = [index for index in range(len(candidates)) if not full or index in current.picks]
            grown = [Step(combine, (*current.picks, index), score(combine, (*current.picks, index))) for index in options]
            better = min(grown, key=lambda step: step.score_mm)
            if not better.score_mm < current.score_mm - tolerance_mm:
                break
            current = better
            trace.append(current)
            if progress:
                progress(f"{combine}: {len(set(current.picks))} members, validation MRE {current.score_mm:.3f} mm")
        if current.score_mm < best.score_mm - tolerance_mm:
            best = current
    counts = Counter(best.picks)
    return Selection(
        tuple(counts), tuple(count / len(best.picks) for count in counts.values()), best.combine if len(counts) > 1 else "single",
        best.score_mm, tuple(trace),
    )  # fmt: skip


Moved = dict[tuple[int, Frame], Tensor]
"""Heatmaps already moved, by candidate (its identity) and frame: (N, K, h, w) float16."""


def combined_points(picks: Sequence[Candidate], combine: Combination, moved: Moved | None = None) -> NDArray[np.float64]:
    """(N, K, 2) original px of these candidates together; one that is there twice weighs twice.

    Args:
        moved: keeps moved heatmaps from call to call, N * K * h * w * 2 bytes a candidate and frame.
    """
    if combine != "heatmap_mean":
        mean: NDArray[np.float64] = np.stack([pick.outputs.points_px for pick in picks]).mean(0)
        return mean
    counts = Counter(map(id, picks))
    distinct = list({id(pick): pick for pick in picks}.values())
    frames = [pick.frame for pick in distinct]
    goal, affines = common(frames), distinct[largest(frames)].affines
    kept: Moved = {} if moved is None else moved
    for pick in distinct:
        if (id(pick), goal) not in kept:
            kept[id(pick), goal] = _moved(pick, goal, affines)
    points = []
    for rows in _chunks(len(affines)):
        maps = sum(kept[id(pick), goal][rows].float() * (counts[id(pick)] / len(picks)) for pick in distinct)
        assert isinstance(maps, Tensor)
        found, _ = goal.codec.decode(maps)
        points.append(as_points(to_original(found, placement(affines[rows]))))
    return np.concatenate(points)


def _moved(pick: Candidate, goal: Frame, affines: Affine) -> Tensor:
    """A candidate's heatmaps in the common frame, whose canvas has these affines."""
    heatmaps = pick.outputs.heatmaps
    assert heatmaps is not None
    chunks = _chunks(len(affines))
    return torch.cat(
        [move(heatmaps[rows], pick.frame, goal, placement(pick.affines[rows]), placement(affines[rows])).half() for rows in chunks]
    )


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]
