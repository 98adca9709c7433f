"""Keeps a run folder within `budget.disk_gb`: the checkpoints of the worst ended trials go first."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ceph_core.training.checkpoint import STATE_FILE
from search.policy import Policy
from search.records import RunFolder


class Disk:
    """Looks after one run's checkpoints; `say` is told what went, and when nothing more can go."""

    def __init__(self, run: RunFolder, policy: Policy, limit_gb: float, say: Callable[[str], None]) -> None:
        self._run, self._policy, self._limit_gb, self._say = run, policy, limit_gb, say
        self._said_full = False

    def tidy(self) -> list[str]:
        """Delete checkpoints until the folder fits; never a running trial's, the baseline's or a candidate's.

        Returns:
            Trials whose checkpoint went.
        """
        total, limit = _bytes_in(self._run.path), self._limit_gb * 1e9
        kept = {state.trial for state in self._policy.candidates()}
        ranked = self._policy.ranking()
        unranked = [state for state in self._policy.trials.values() if state not in ranked]
        gone: list[str] = []
        for state in [*unranked, *reversed(ranked)]:
            if total <= limit:
                break
            path = self._run.trial_dir(state.trial) / STATE_FILE
            if state.status == "running" or state.is_baseline or state.trial in kept or not path.exists():
                continue
            total -= path.stat().st_size
            path.unlink()
            gone.append(state.trial)
        if gone:
            self._say(f"disk: checkpoints of {', '.join(gone)} removed to stay within budget.disk_gb {self._limit_gb:g}")
        if total > limit and not self._said_full:
            self._said_full = True
            self._say(
                f"disk: the run folder takes {total / 1e9:.3g} GB, more than budget.disk_gb {self._limit_gb:g}, "
                "and holds nothing more that may be removed"
            )
        return gone


def _bytes_in(folder: Path) -> int:
    """Size of all files, whatever trials write, rename and remove meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(parent, name).lstat().st_size
    return total
