"""Drawn lateral cephalograms: films to try everything on without a patient's data."""

from ceph_core.data.phantom.drawing import DRAWING_VERSION, draw
from ceph_core.data.phantom.folder import write
from ceph_core.data.phantom.reader import read

__all__ = ["DRAWING_VERSION", "draw", "read", "write"]
