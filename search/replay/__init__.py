"""Searches over recorded learning curves, in simulated time, through the same decision code as a live run.  Pure: no Ray, no films."""

from search.replay.curves import Curve, Curves, Recorded
from search.replay.run import Replayed, replay
from search.replay.sources import read_curves
from search.replay.timeline import Clock, Step, drive

__all__ = ["Clock", "Curve", "Curves", "Recorded", "Replayed", "Step", "drive", "read_curves", "replay"]
