"""The verdict on a run so far, and how it differs from the one before."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ceph_core.config import Config
from ceph_core.metrics import tier_of
from ceph_core.training.health.curve import Curve, Point
from ceph_core.training.health.rules import Finding, findings, holding
from ceph_core.training.health.trajectory import trajectory


@dataclass(frozen=True)
class Health:
    """A run so far.

    Attributes:
        findings: rules that hold now, good signs among them.
        trajectory: against the guide's table: "too early", "ahead", "on track" or "behind"; empty before the first validation.
        tier: of the latest validation; empty before the first.
        last: the latest validation; None before the first.
    """

    findings: tuple[Finding, ...] = ()
    trajectory: str = ""
    tier: str = ""
    last: Point | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the findings."""
        return tuple(finding.name for finding in self.findings)

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Findings that are no good signs."""
        return tuple(finding for finding in self.findings if finding.level != "good")


def judge(config: Config, figures: Iterable[Mapping[str, Any]], mean_shape_mm: float | None = None) -> Health:
    """The verdict on a run.

    Args:
        config: of the run; its length is `train.epochs`.
        figures: flat figures of its epochs, in order, as `EpochResult.figures()` or the records have them.
        mean_shape_mm: MRE on the same films of the training films' mean shape; None or NaN if unknown, then nothing is compared with it.
    """
    curve = Curve.of(config.train.epochs, figures, math.nan if mean_shape_mm is None else mean_shape_mm)
    if not curve.points:
        return Health()
    last = curve.last
    return Health(
        findings(config, holding(config, curve)),
        trajectory(last.epoch / curve.epochs, last.mre_mm, last.sdr_2mm, last.sdr_4mm),
        tier_of(last.mre_mm, last.sdr_2mm, last.sdr_4mm),
        last,
    )


def changes(config: Config, before: Iterable[str], after: Iterable[str]) -> Iterator[str]:
    """A line a finding that has appeared or cleared since."""
    old, new = tuple(before), tuple(after)
    for finding in findings(config, (name for name in new if name not in old)):
        yield f"health: {finding}"
    for finding in findings(config, (name for name in old if name not in new)):
        yield f"health: {finding.name} has cleared"
