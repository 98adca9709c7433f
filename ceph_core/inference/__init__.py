"""Trained networks at work: members, ensembles, their evaluation and export.  `export` is imported by name: it needs ONNX."""

from ceph_core.inference.ensemble import COMBINATIONS, Combination
from ceph_core.inference.manifest import Manifest, make_manifest, read_manifest, write_manifest
from ceph_core.inference.member import Member, load_member, make_member, save_member
from ceph_core.inference.outputs import MemberOutputs, member_outputs
from ceph_core.inference.predictor import Prediction, Predictor
from ceph_core.inference.selection import Candidate, Selection, combined_points, greedy_select
from ceph_core.inference.tta import Tta

__all__ = [
    "COMBINATIONS", "Candidate", "Combination", "Manifest", "Member", "MemberOutputs", "Prediction", "Predictor", "Selection", "Tta",
    "combined_points", "greedy_select", "load_member", "make_manifest", "make_member", "member_outputs", "read_manifest", "save_member",
    "write_manifest",
]  # fmt: skip
