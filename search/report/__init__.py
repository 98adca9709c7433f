"""The report: a run's records as one self-contained page."""

from search.report.build import build

__all__ = ["build"]
