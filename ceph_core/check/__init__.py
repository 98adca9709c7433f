"""The checklist before a run: one module a group of checks."""

from ceph_core.check.checklist import checklist
from ceph_core.check.finding import LEVELS, Finding, Level

__all__ = ["LEVELS", "Finding", "Level", "checklist"]
