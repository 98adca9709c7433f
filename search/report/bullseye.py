"""Where the ensemble's points lie around the reference, a small target a landmark, and the bias that all share."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from ceph_core.metrics import bootstrap_interval
from search.records import ENSEMBLE
from search.report.comparison import Comparison

REACH_MM = 5.0
"""From the middle of a target to its rim; points beyond lie on the rim."""
RINGS_MM = (2.0, 4.0)
_CROSS = f'<path class="cross" d="M{-REACH_MM:g} 0h{2 * REACH_MM:g}M0 {-REACH_MM:g}v{2 * REACH_MM:g}"/>'


@dataclass(frozen=True)
class Target:
    """One landmark.

    Attributes:
        symbol: of the landmark.
        bias_mm: (x, y) mean offset: right and down on the film.
        is_sure: whether the 95 % interval of either coordinate (films drawn again) leaves out zero.
        beyond: points outside the rim.
        picture: SVG.
    """

    symbol: str
    bias_mm: tuple[float, float]
    is_sure: bool
    beyond: int
    picture: Markup

    @property
    def length_mm(self) -> float:
        """Of the bias."""
        return float(np.hypot(*self.bias_mm))


def offsets_mm(comparison: Comparison) -> NDArray[np.float64]:
    """(N, K, 2) of the ensemble's points from the reference on test films, mm, x to the right and y down; NaN where missing."""
    found: NDArray[np.float64] = (comparison.points[ENSEMBLE] - comparison.reference) * comparison.spacing_mm[:, None, :]
    return found


def targets(comparison: Comparison) -> list[Target]:
    """One a landmark that is marked on any test film."""
    offsets = offsets_mm(comparison)
    made = []
    for place, symbol in enumerate(comparison.landmarks):
        own = offsets[:, place][~np.isnan(offsets[:, place]).any(axis=1)]
        if len(own) == 0:
            continue
        bias = own.mean(axis=0)
        limits = [bootstrap_interval(own[:, [axis]]) for axis in range(2)]
        sure = any(low > 0 or high < 0 for low, high in limits)
        beyond = np.hypot(*own.T) > REACH_MM
        made.append(Target(symbol, (float(bias[0]), float(bias[1])), sure, int(beyond.sum()), _picture(symbol, own, beyond, bias)))
    return made


def _picture(symbol: str, offsets: NDArray[np.float64], beyond: NDArray[np.bool_], bias: NDArray[np.float64]) -> Markup:
    on_rim = offsets[beyond] / np.hypot(*offsets[beyond].T)[:, None] * REACH_MM
    label = f"{escape(symbol)}: {len(offsets)} points around the reference, mean offset {bias[0]:+.2f} mm right, {bias[1]:+.2f} mm down"
    edge = REACH_MM + 0.4
    rings = "".join(f'<circle class="mark" r="{radius:g}"/>' for radius in RINGS_MM)
    return Markup(
        f'<svg viewBox="{-edge:g} {-edge:g} {2 * edge:g} {2 * edge:g}" role="img" aria-label="{label}">'
        f'<circle class="rim" r="{REACH_MM:g}"/>{rings}{_CROSS}'
        f'<path class="points" d="{_dots(offsets[~beyond])}"/><path class="beyond" d="{_dots(on_rim)}"/>'
        f'<path class="bias" d="M0 0L{bias[0]:.3f} {bias[1]:.3f}"/>'
        f'<circle class="bias-end" cx="{bias[0]:.3f}" cy="{bias[1]:.3f}" r=".22"/></svg>'
    )


def _dots(points: NDArray[np.float64]) -> str:
    """Strokes of no length, which round caps make dots: one path, however many points."""
    return "".join(f"M{x:.2f} {y:.2f}h0" for x, y in points)
