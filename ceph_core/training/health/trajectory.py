"""The guide's table of expected results, scaled to the length of a run."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Verdict = Literal["too early", "ahead", "on track", "behind"]

Range = tuple[float, float]


@dataclass(frozen=True)
class Expected:
    """What the guide expects at one share of a run: lowest and highest MRE in mm, SDR at 2 and 4 mm in percent."""

    share: float
    mre_mm: Range
    sdr_2mm: Range
    sdr_4mm: Range


TABLE = (
    Expected(50 / 250, (3.0, 5.0), (60.0, 65.0), (85.0, 88.0)),
    Expected(150 / 250, (1.9, 2.2), (70.0, 72.0), (92.0, 94.0)),
    Expected(250 / 250, (1.67, 1.67), (75.9, 75.9), (95.0, 95.0)),
)
"""After 50, 150 and 250 of 250 epochs of HRNet-w48 at 512 px."""

GUIDE_MRE_MM = ((5 / 250, 20.0), (15 / 250, 10.0), *((row.share, sum(row.mre_mm) / 2) for row in TABLE))
"""(share of a run, mm): the marks a healthy run stays below early, then the middles of the table; a line for plots."""

_MRE_SLACK, _SDR_SLACK = 0.05, 1.0
"""The table's figures are `about`: a twentieth of an error, a percentage point of a share."""


def expected_at(share: float) -> Expected | None:
    """The table between its rows, linear in the logarithm of the share; None before its first row."""
    if share < TABLE[0].share - 1e-9:
        return None
    share = min(share, 1.0)
    before, after = next((one, other) for one, other in pairwise(TABLE) if share <= other.share + 1e-9)
    way = math.log(share / before.share) / math.log(after.share / before.share)

    def between(one: Range, other: Range) -> Range:
        low, high = (a + way * (b - a) for a, b in zip(one, other, strict=True))
        return low, high

    return Expected(
        share, between(before.mre_mm, after.mre_mm), between(before.sdr_2mm, after.sdr_2mm), between(before.sdr_4mm, after.sdr_4mm)
    )


def trajectory(share: float, mre_mm: float, sdr_2mm: float, sdr_4mm: float) -> Verdict:
    """What at least two of the three figures say."""
    expected = expected_at(share)
    if expected is None:
        return "too early"
    low, high = expected.mre_mm
    signs = [
        (mre_mm < low * (1 - _MRE_SLACK)) - (mre_mm > high * (1 + _MRE_SLACK)),
        *(
            (value > most + _SDR_SLACK) - (value < least - _SDR_SLACK)
            for value, (least, most) in ((sdr_2mm, expected.sdr_2mm), (sdr_4mm, expected.sdr_4mm))
        ),
    ]
    verdicts: tuple[Verdict, ...] = ("behind", "on track", "ahead")
    return verdicts[sorted(signs)[1] + 1]
