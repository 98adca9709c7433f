"""Whether a training goes as the guide says a good one goes: rules, trajectory and tier, from its learning curve alone.

Everything but `Monitor` is a pure function of configuration and figures, so that records give the verdict that the live run gave.
"""

from ceph_core.training.health.curve import HISTORY_FIGURES, Curve, Point
from ceph_core.training.health.rules import RULES, Finding, Rule, findings, hopeless, names_in, stops_for
from ceph_core.training.health.trajectory import GUIDE_MRE_MM, trajectory
from ceph_core.training.health.verdict import Health, changes, judge

__all__ = [
    "GUIDE_MRE_MM", "HISTORY_FIGURES", "RULES", "Curve", "Finding", "Health", "Point", "Rule", "changes", "findings", "hopeless",
    "judge", "names_in", "stops_for", "trajectory",
]  # fmt: skip
