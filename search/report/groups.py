"""The ensemble by X-ray machine and by how hard a film is, where the data set says so."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ceph_core.metrics import Summary, bootstrap_interval, summarize
from search.records import ENSEMBLE, Run
from search.report.comparison import Comparison


@dataclass(frozen=True)
class Group:
    """Test films of one machine or difficulty; errors mm with their 95 % interval over films."""

    kind: str
    name: str
    films: int
    summary: Summary
    low_mm: float
    high_mm: float


def groups(run: Run, comparison: Comparison) -> list[Group]:
    """One a machine and one a difficulty; none where all films are alike or nobody says."""
    errors = comparison.rows[ENSEMBLE].errors_mm
    return [
        Group(kind, name, int(rows.sum()), summarize(errors[rows]), *bootstrap_interval(errors[rows]))
        for kind, name, rows in _kinds(run, comparison)
    ]


def _kinds(run: Run, comparison: Comparison) -> Iterator[tuple[str, str, np.ndarray]]:
    films = run.splits.drop_duplicates("film").set_index("film").reindex(list(comparison.films))
    named = {"device": films["device"].replace("", "not known"), "difficulty": films["difficulty"].map(_difficulty)}
    for kind, names in named.items():
        if names.nunique() > 1:
            for name in sorted(names.unique()):
                yield kind, str(name), (names == name).to_numpy()


def _difficulty(value: float) -> str:
    return "not known" if np.isnan(value) else f"{value:g}"
