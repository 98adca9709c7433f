"""Networks."""

from ceph_core.models.hrnet import LandmarkNet, build

__all__ = ["LandmarkNet", "build"]
