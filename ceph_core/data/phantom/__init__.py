"""Drawn lateral cephalograms: films to try everything on without a patient's data."""

from ceph_core.data.phantom.drawing import DRAWING_VERSION, draw
from ceph_core.data.phantom.folder import write
from ceph_core.data.phantom.reader import LOOKED_FOR, known_by, read

__all__ = ["DRAWING_VERSION", "LOOKED_FOR", "draw", "known_by", "read", "write"]
