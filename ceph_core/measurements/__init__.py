"""Clinical measurements from landmarks: definitions in a file that anyone may edit, values, intervals and agreement."""

from ceph_core.measurements.agreement import Agreement, agreement, agreements
from ceph_core.measurements.definitions import BUILT_IN, Definitions, Measurement, definitions_named, read_definitions
from ceph_core.measurements.values import Measured, measure

__all__ = [
    "BUILT_IN", "Agreement", "Definitions", "Measured", "Measurement", "agreement", "agreements", "definitions_named", "measure",
    "read_definitions",
]  # fmt: skip
