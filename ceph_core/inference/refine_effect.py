"""Measured on films with known landmarks: what flagging catches, and what dropping or moving flagged points does to the error."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ceph_core.inference.refine import REASONS, Review
from ceph_core.metrics import radial_errors_mm

LARGE_MM = (4.0, 10.0)
"""Errors that flags are meant to catch."""


@dataclass(frozen=True)
class Effect:
    """Of one reason to flag, or any, over all marked points.

    Attributes:
        reason: why points are flagged.
        points: marked points.
        flagged: of them flagged.
        over_4mm: errors beyond 4 mm.
        caught_4mm: of them flagged.
        over_10mm: errors beyond 10 mm.
        caught_10mm: of them flagged.
        mre_mm: of all points as predicted; NaN (as below) where no point is left to average.
        mre_dropped_mm: of the points that are not flagged.
        mre_replaced_mm: of all points, the flagged ones where the shape puts them.
        flagged_mm: of the flagged points as predicted.
        flagged_replaced_mm: of the flagged points where the shape puts them.
    """

    reason: str
    points: int
    flagged: int
    over_4mm: int
    caught_4mm: int
    over_10mm: int
    caught_10mm: int
    mre_mm: float
    mre_dropped_mm: float
    mre_replaced_mm: float
    flagged_mm: float
    flagged_replaced_mm: float

    def to_dict(self) -> dict[str, str | int | float]:
        """The fields by name."""
        return asdict(self)


def effect_of(
    review: Review, points_px: NDArray[np.float64], reference_px: NDArray[np.float64], spacing_mm: NDArray[np.float64]
) -> list[Effect]:
    """One entry a reason and one for any of them.

    Args:
        review: of N films.
        points_px: (N, K, 2) original px, as predicted.
        reference_px: (N, K, 2), NaN where missing.
        spacing_mm: (N, 2).
    """
    errors = radial_errors_mm(points_px, reference_px, spacing_mm)
    moved = radial_errors_mm(np.where(np.isnan(review.expected_px), points_px, review.expected_px), reference_px, spacing_mm)
    known = ~np.isnan(errors)
    errors, moved = errors[known], moved[known]
    rows = {name: review.flags[..., number] for number, name in enumerate(REASONS)} | {"any": review.flagged}
    return [_effect(name, flags[known], errors, moved) for name, flags in rows.items()]


def effect_table(effects: Sequence[Effect]) -> Table:
    """One row a reason: shares in percent, errors in mm."""
    points = effects[0].points
    made = Table(
        title=f"points to review, of {points}",
        caption="> 4 mm, > 10 mm: flagged of all such errors; right: flagged points that err by more than 4 mm; errors in mm",
        title_justify="left",
    )
    made.add_column("reason")
    for column in ("flagged", "> 4 mm", "> 10 mm", "right", "MRE", "dropped", "moved", "flagged ones", "moved"):
        made.add_column(column, justify="right", no_wrap=True)
    for each in effects:
        means = (each.mre_mm, each.mre_dropped_mm, each.mre_replaced_mm, each.flagged_mm, each.flagged_replaced_mm)
        made.add_row(
            each.reason, f"{each.flagged} ({each.flagged / points:.1%})", f"{each.caught_4mm} of {each.over_4mm}",
            f"{each.caught_10mm} of {each.over_10mm}", f"{each.caught_4mm / each.flagged:.0%}" if each.flagged else "",
            *map(_number, means),
        )  # fmt: skip
    return made


def _effect(reason: str, flags: NDArray[np.bool_], errors: NDArray[np.float64], moved: NDArray[np.float64]) -> Effect:
    over = [errors > radius for radius in LARGE_MM]
    counts = [int(each.sum()) for large in over for each in (large, large & flags)]
    means = (errors, errors[~flags], np.where(flags, moved, errors), errors[flags], moved[flags])
    return Effect(reason, errors.size, int(flags.sum()), *counts, *(float(each.mean()) if each.size else np.nan for each in means))


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"
