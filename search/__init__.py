"""Hyperparameter search over `ceph_core` trainings: what to try, when to stop, what to keep."""
