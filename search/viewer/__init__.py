"""The film viewer: a run's films with their points, to be looked through and corrected offline."""

from search.viewer.build import build

__all__ = ["build"]
