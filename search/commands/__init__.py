"""Commands of `python -m search`: one module a command, as in `ceph_core.commands`."""
