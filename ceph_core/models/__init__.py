"""Networks."""

from ceph_core.models.hrnet import LandmarkNet, build
from ceph_core.models.recomputed import recompute, recomputed_parts
from ceph_core.models.regularised import freeze_norms

__all__ = ["LandmarkNet", "build", "freeze_norms", "recompute", "recomputed_parts"]
