"""Which candidates become members: greedy forward selection with replacement on films none of them trained on (Caruana et al., ICML 2004).

A choice among many is lucky in part.  So a member has to bring more than the noise of what it brings, and what a selection can be expected
to have on new films is measured by selecting again and again without a part of the films, which then judges.
How the candidates came about is not repeated: if the same films had a part in that, its luck is still in what is expected.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ceph_core.geometry import Affine
from ceph_core.inference.ensemble import Combination, as_points, joined, to_original
from ceph_core.inference.frames import Frame, common, largest, move, placement
from ceph_core.inference.member import Member
from ceph_core.inference.outputs import MemberOutputs
from ceph_core.metrics import bootstrap_interval, radial_errors_mm

TOLERANCE_MM = 1e-3
"""A member that lowers the MRE by less is not worth its time."""
NOISE = 0.25
"""Nor is one whose gain, film by film, is not so many standard errors above nothing.

A whole one left good members out: networks that are averaged help each other before anything is measured.  Over 40 replays of whole runs on
ISBI films the estimate for new films (`expected`) fell from 1.295 to 1.291 and 1.284 mm (time of 8 and 15 trainings), at 0 it was 1.293
and 1.285.
"""
_PARTS = 5
"""Parts of the films that judge, in turn, what the others chose."""
_CHUNK = 16
"""Films whose heatmaps are averaged at once."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """What could be a member: a network's answers on films it did not train on, or those of several, each on its own.

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
    """One ensemble that was looked at and kept: candidates' indices (repeated ones weigh more) and its MRE."""

    combine: Combination
    picks: tuple[int, ...]
    score_mm: float


@dataclass(frozen=True)
class Expectation:
    """MRE on films that had no part in choosing among the candidates, mm, its 95 % interval over films; NaN where there are too few."""

    mre_mm: float
    low_mm: float
    high_mm: float


@dataclass(frozen=True)
class Selection:
    """The best ensemble found.

    Attributes:
        members: distinct candidates' indices.
        weights: one a member, of sum 1.
        combine: the rule that goes with them.
        score_mm: MRE on the films it was chosen by, which is optimistic.
        trace: every ensemble kept on the way, by rule; the first is the single candidate with the lowest error.
        single: index of the best single candidate, see `greedy_select`.
        expected: of such a selection on films it was not chosen by; `expected_single`: of taking the best single candidate so.
    """

    members: tuple[int, ...]
    weights: tuple[float, ...]
    combine: Combination
    score_mm: float
    trace: tuple[Step, ...]
    single: int
    expected: Expectation
    expected_single: Expectation

    @property
    def picks(self) -> tuple[int, ...]:
        """The chosen candidates, repeated ones as often as they weigh."""
        return next(step.picks for step in reversed(self.trace) if step.score_mm == self.score_mm and set(step.picks) == set(self.members))


def greedy_select(
    candidates: Sequence[Candidate],
    reference_px: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
    max_members: int = 5,
    tolerance_mm: float = TOLERANCE_MM,
    noise: float = NOISE,
    progress: Callable[[str], None] | None = None,
    groups: Sequence[Hashable] | None = None,
) -> Selection:
    """Grow an ensemble from the best single candidate, for each rule of combination, and take the best.

    Every round adds the candidate (one already in may come again) that lowers the MRE most; it ends where that is less than
    `tolerance_mm`, or less than `noise` standard errors of the difference between films.  A more complicated rule has to beat a
    simpler one by as much.

    Args:
        candidates: their films are the same, in the same order; predicted by networks that did not train on them.
        reference_px: (N, K, 2) original px, NaN where missing.
        spacing_mm: (N, 2) mm per original px.
        max_members: most distinct members; rounds are at most twice that.
        progress: told in a line what was kept.
        groups: one a candidate, the same where only the seed differs.  The best single candidate is the best of the group that is best on
            average: one lucky seed does not make a winner.  None: each is its own.
    """
    assert candidates and max_members >= 1
    of_group = range(len(candidates)) if groups is None else groups
    grower = _Grower(candidates, reference_px, spacing_mm, max_members, tolerance_mm, noise, of_group)
    everything = np.arange(len(reference_px))
    best, trace = grower.grow(everything, progress)
    counts = Counter(best.picks)
    expected, expected_single = grower.expectations()
    return Selection(
        tuple(counts), tuple(count / len(best.picks) for count in counts.values()), best.combine if len(counts) > 1 else "single",
        best.score_mm, trace, grower.single(everything), expected, expected_single,
    )  # fmt: skip


Rows = NDArray[np.int64]


class _Grower:
    """Grows ensembles on any part of the films; what an ensemble errs on each film is computed once."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        reference_px: NDArray[np.float64],
        spacing_mm: NDArray[np.float64],
        max_members: int,
        tolerance_mm: float,
        noise: float,
        groups: Sequence[Hashable],
    ) -> None:
        self._candidates, self._reference_px, self._spacing_mm = candidates, reference_px, spacing_mm
        self._max_members, self._tolerance_mm, self._noise = max_members, tolerance_mm, noise
        self._groups = groups
        self._moved: Moved = {}
        self._errors: dict[tuple[Combination, tuple[int, ...]], NDArray[np.float64]] = {}
        self._rules: list[Combination] = []
        if len(candidates) > 1 and max_members > 1:
            self._rules = ["coordinate_mean", "confidence_mean"]
            if all(candidate.outputs.heatmaps is not None for candidate in candidates):
                self._rules.append("heatmap_mean")

    def errors_mm(self, combine: Combination, picks: Sequence[int]) -> NDArray[np.float64]:
        """(N, K) of these candidates together."""
        key = (combine, tuple(sorted(picks)))
        if key not in self._errors:
            points = combined_points([self._candidates[pick] for pick in key[1]], combine, self._moved)
            self._errors[key] = radial_errors_mm(points, self._reference_px, self._spacing_mm)
        return self._errors[key]

    def grow(self, rows: Rows, progress: Callable[[str], None] | None = None) -> tuple[Step, tuple[Step, ...]]:
        """The best ensemble on these films, and every one kept on the way."""
        best = min((self._step("single", (index,), rows) for index in range(len(self._candidates))), key=lambda step: step.score_mm)
        trace = [best]
        for combine in self._rules:
            current = trace[0]
            for _ in range(2 * self._max_members - 1):
                full = len(set(current.picks)) >= self._max_members
                options = [index for index in range(len(self._candidates)) if not full or index in current.picks]
                better = min((self._step(combine, (*current.picks, index), rows) for index in options), key=lambda step: step.score_mm)
                if not self._is_better(better, current, rows):
                    break
                current = better
                trace.append(current)
                if progress:
                    progress(f"{combine}: {len(set(current.picks))} members, MRE {current.score_mm:.3f} mm")
            if self._is_better(current, best, rows):
                best = current
        return best, tuple(trace)

    def single(self, rows: Rows) -> int:
        """The best single candidate on these films."""
        alone = [self._step("single", (index,), rows).score_mm for index in range(len(self._candidates))]
        by_group: dict[Hashable, list[float]] = {}
        for group, error in zip(self._groups, alone, strict=True):
            by_group.setdefault(group, []).append(error)
        return min(range(len(alone)), key=lambda index: (np.mean(by_group[self._groups[index]]), alone[index]))

    def expectations(self) -> tuple[Expectation, Expectation]:
        """Of the best ensemble and of the best single candidate, chosen without the films that judge them."""
        count = len(self._reference_px)
        parts = min(_PARTS, count)
        if parts < 2:
            unknown = Expectation(float("nan"), float("nan"), float("nan"))
            return unknown, unknown
        ensemble, single = (np.full(self._reference_px.shape[:2], np.nan) for _ in range(2))
        for part in range(parts):
            judges = np.arange(count) % parts == part
            choosing = np.flatnonzero(~judges)
            best, _ = self.grow(choosing)
            ensemble[judges] = self.errors_mm(best.combine, best.picks)[judges]
            single[judges] = self.errors_mm("single", (self.single(choosing),))[judges]
        return _expectation(ensemble), _expectation(single)

    def _step(self, combine: Combination, picks: tuple[int, ...], rows: Rows) -> Step:
        return Step(combine, picks, float(np.nanmean(self.errors_mm(combine, picks)[rows])))

    def _is_better(self, one: Step, other: Step, rows: Rows) -> bool:
        """Whether an ensemble has a lower error than another, beyond what the films' differences leave open."""
        if not one.score_mm < other.score_mm - self._tolerance_mm:
            return False
        gains = self.errors_mm(other.combine, other.picks)[rows] - self.errors_mm(one.combine, one.picks)[rows]
        by_film = np.nanmean(gains[~np.isnan(gains).all(axis=1)], axis=1)
        doubt = float(by_film.std(ddof=1)) / np.sqrt(len(by_film)) if len(by_film) > 1 else 0.0
        return bool(by_film.mean() > self._noise * doubt)


def _expectation(errors_mm: NDArray[np.float64]) -> Expectation:
    return Expectation(float(np.nanmean(errors_mm)), *bootstrap_interval(errors_mm))


Moved = dict[tuple[int, Frame], Tensor]
"""Heatmaps already moved, by candidate (its identity) and frame: (N, K, h, w) float16."""


def combined_points(picks: Sequence[Candidate], combine: Combination, moved: Moved | None = None) -> NDArray[np.float64]:
    """(N, K, 2) original px of these candidates together; one that is there twice weighs twice.

    Args:
        moved: keeps moved heatmaps from call to call, N * K * h * w * 2 bytes a candidate and frame.
    """
    if combine != "heatmap_mean":
        points = torch.from_numpy(np.stack([pick.outputs.points_px for pick in picks]))
        confidences = torch.from_numpy(np.stack([pick.outputs.confidence for pick in picks]))
        return as_points(joined(points, confidences, combine, torch.full((len(picks),), 1 / len(picks), dtype=torch.float64))[0])
    counts = Counter(map(id, picks))
    distinct = list({id(pick): pick for pick in picks}.values())
    frames = [pick.frame for pick in distinct]
    goal, affines = common(frames), distinct[largest(frames)].affines
    kept: Moved = {} if moved is None else moved
    for pick in distinct:
        if (id(pick), goal) not in kept:
            kept[id(pick), goal] = _moved(pick, goal, affines)
    chunks = []
    for rows in _chunks(len(affines)):
        maps = sum(kept[id(pick), goal][rows].float() * (counts[id(pick)] / len(picks)) for pick in distinct)
        assert isinstance(maps, Tensor)
        found, _ = goal.codec.decode(maps)
        chunks.append(as_points(to_original(found, placement(affines[rows]))))
    return np.concatenate(chunks)


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
