"""Thin adaptors to Ray: the only imports of it.  What they are asked, `search.policy` decides."""
