"""How good points are, beside what a network that learned nothing and what human readers would score."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ceph_core.data.records import CephRecord
from ceph_core.landmarks import Protocol
from ceph_core.metrics import Summary, bootstrap_interval, mean_shape_mm, radial_errors_mm, summarize, tier

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """What one set of points scores on N films.

    Attributes:
        name: whose points.
        errors_mm: (N, K), NaN where a landmark is missing.
        summary: over all marked points.
        interval_mm: 95 % bootstrap interval of the MRE over films.
        by_landmark: K summaries.
    """

    name: str
    errors_mm: NDArray[np.float64]
    summary: Summary
    interval_mm: tuple[float, float]
    by_landmark: tuple[Summary, ...]

    @property
    def num_films(self) -> int:
        """Films with at least one marked point."""
        return int((~np.isnan(self.errors_mm)).any(1).sum())

    def to_dict(self) -> dict[str, object]:
        """Figures by name; mm and percent."""
        return {"films": self.num_films, **self.summary.to_dict(), "mre_interval_mm": list(self.interval_mm), "tier": tier(self.summary)}


def scores_of(name: str, errors_mm: NDArray[np.float64]) -> Scores:
    """Everything said of (N, K) errors in mm."""
    by_landmark = tuple(summarize(errors_mm[:, [k]]) for k in range(errors_mm.shape[1]))
    return Scores(name, errors_mm, summarize(errors_mm), bootstrap_interval(errors_mm), by_landmark)


def score(points_px: Points, records: Sequence[CephRecord], name: str = "model") -> Scores:
    """Scores of (N, K, 2) predicted points, original px, against the films' reference."""
    return scores_of(name, radial_errors_mm(points_px, *reference_of(records)))


def mean_shape(training: Sequence[CephRecord], records: Sequence[CephRecord]) -> Scores:
    """Scores of the training films' mean landmarks, in mm from the film's corner, on other films: what learning nothing gets."""
    shape_mm = mean_shape_mm(_reference(training), _spacing(training))
    points_px = shape_mm / _spacing(records)[:, None, :]
    return score(points_px, records, f"mean shape of {len(training)} training films")


def readers(records: Sequence[CephRecord]) -> Iterator[Scores]:
    """Each human reader against the reference (which may contain that reader's own points), then each pair against each other."""
    names = sorted({name for record in records for name in record.annotators})
    unmarked = np.full(records[0].landmarks_px.shape, np.nan)
    points = {name: np.stack([record.annotators.get(name, unmarked) for record in records]) for name in names}
    for name in names:
        yield _between(f"reader {name} against the reference", points[name], _reference(records), records)
    for one, other in combinations(names, 2):
        yield _between(f"reader {one} against reader {other}", points[one], points[other], records)


WIDE = 136
"""Terminal columns that the whole table needs; below, the rarer figures are left out."""


def table(title: str, rows: Sequence[Scores], width: int = WIDE) -> Table:
    """One row a set of points: MRE with its interval, median, 95th percentile, SDR, tier; fewer figures on a narrow terminal."""
    made = Table(title=title, caption="errors in mm, shares in % of marked points; interval: 95 %, films drawn again", title_justify="left")
    made.add_column("", min_width=14)
    figures = (
        ("films", "MRE [95 %]", "median", "p95", "SDR 2", "2.5", "3", "4", "> 10 mm") if width >= WIDE else ("MRE [95 %]", "SDR 2", "4")
    )
    for column in figures:
        made.add_column(column, justify="right", no_wrap=True)
    made.add_column("tier")
    for row in rows:
        summary, (low, high) = row.summary, row.interval_mm
        cells = {
            "films": str(row.num_films),
            "MRE [95 %]": f"{summary.mre_mm:.2f} [{low:.2f}, {high:.2f}]",
            "median": f"{summary.median_mm:.2f}",
            "p95": f"{summary.p95_mm:.2f}",
            "SDR 2": f"{summary.sdr_2mm:.1f}",
            "2.5": f"{summary.sdr_2_5mm:.1f}",
            "3": f"{summary.sdr_3mm:.1f}",
            "4": f"{summary.sdr_4mm:.1f}",
            "> 10 mm": f"{summary.over_10mm:.1f}",
        }
        made.add_row(row.name, *(cells[column] for column in figures), tier(summary))
    return made


def landmark_table(scores: Scores, protocol: Protocol, film_ids: Sequence[str]) -> Table:
    """One row a landmark, the worst film named."""
    made = Table(title=f"{scores.name}, by landmark", title_justify="left")
    made.add_column("")
    made.add_column("landmark")
    for column in ("marked", "mean", "median", "p95", "SDR 2", "SDR 4", "worst"):
        made.add_column(column, justify="right", no_wrap=True)
    for k, (symbol, name, figures) in enumerate(zip(protocol.symbols, protocol.names, scores.by_landmark, strict=True)):
        errors = scores.errors_mm[:, k]
        marked = int((~np.isnan(errors)).sum())
        if not marked:
            made.add_row(symbol, name, "0")
            continue
        worst = int(np.nanargmax(errors))
        made.add_row(
            symbol, name, str(marked), f"{figures.mre_mm:.2f}", f"{figures.median_mm:.2f}", f"{figures.p95_mm:.2f}",
            f"{figures.sdr_2mm:.1f}", f"{figures.sdr_4mm:.1f}", f"{errors[worst]:.1f} ({film_ids[worst]})",
        )  # fmt: skip
    return made


def _between(name: str, points: Points, truth: Points, records: Sequence[CephRecord]) -> Scores:
    """Errors where both sides marked a point."""
    both = np.where(np.isnan(points), np.nan, truth)
    return scores_of(name, radial_errors_mm(points, both, _spacing(records)))


def reference_of(records: Sequence[CephRecord]) -> tuple[Points, NDArray[np.float64]]:
    """(N, K, 2) reference points, original px, and (N, 2) mm per px."""
    return _reference(records), _spacing(records)


def _reference(records: Sequence[CephRecord]) -> Points:
    return np.stack([record.landmarks_px for record in records])


def _spacing(records: Sequence[CephRecord]) -> NDArray[np.float64]:
    return np.array([record.spacing_mm for record in records], dtype=np.float64)
