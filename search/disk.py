"""Keeps a run folder within `budget.disk_gb`: the checkpoints of the worst ended trials go first."""

import os
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from itertools import islice
from pathlib import Path

from ceph_core.training.checkpoint import STATE_FILE
from ceph_core.training.snapshots import SNAPSHOT_FOLDER
from search.policy import Policy
from search.records import RunFolder

_FRESH_A_WORKER = 4
"""A trial that has ended is still written to until its place has begun another: its actor saves what it has."""


class Disk:
    """Looks after one run's checkpoints; `say` is told what went, and when nothing more can go."""

    def __init__(self, run: RunFolder, policy: Policy, limit_gb: float, say: Callable[[str], None]) -> None:
        self._run, self._policy, self._limit_gb, self._say = run, policy, limit_gb, say
        self._sizes = Sizes(run, _FRESH_A_WORKER * policy.workers)
        self._gone: set[str] = set()
        self._said_full = False

    def tidy(self) -> list[str]:
        """Delete checkpoints until the folder fits; never a running trial's, the baseline's or a candidate's.

        Returns:
            Trials whose checkpoint went.
        """
        total, limit = self._sizes.total(self._policy.trials, self._policy.running), self._limit_gb * 1e9
        gone = self._remove(total - limit) if total > limit else {}
        total -= sum(gone.values())
        if gone:
            self._say(f"disk: checkpoints of {', '.join(gone)} removed to stay within budget.disk_gb {self._limit_gb:g}")
        if total > limit and not self._said_full:
            self._said_full = True
            self._say(
                f"disk: the run folder takes {total / 1e9:.3g} GB, more than budget.disk_gb {self._limit_gb:g}, "
                "and holds nothing more that may be removed"
            )
        return list(gone)

    def _remove(self, excess: float) -> dict[str, int]:
        """Delete checkpoints of so many bytes, if there are, the worst trials' first; bytes by trial."""
        kept = {state.trial for state in self._policy.candidates()} | self._policy.running.keys() | (self._gone & self._sizes.settled)
        ranked = dict.fromkeys(state.trial for state in reversed(self._policy.ranking()))
        unranked = [trial for trial in self._policy.trials if trial not in ranked]
        gone: dict[str, int] = {}
        for trial in (*unranked, *ranked):
            if excess <= 0:
                break
            path = self._run.trial_dir(trial) / STATE_FILE
            if trial in kept or self._policy.trials[trial].is_baseline or not path.exists():
                continue
            snapshots = path.parent / SNAPSHOT_FOLDER
            gone[trial] = path.stat().st_size + (_bytes_in(snapshots) if snapshots.exists() else 0)
            path.unlink()
            shutil.rmtree(snapshots, ignore_errors=True)
            excess -= gone[trial]
            self._sizes.removed(trial, gone[trial])
        self._gone |= gone.keys()
        return gone


class Sizes:
    """Bytes of a run folder; what a trial left that ended a while ago is counted once, not at every look.

    Args:
        num_fresh: so many of the trials that ended last are looked at anew.

    Attributes:
        settled: trials that are counted for good.
    """

    def __init__(self, run: RunFolder, num_fresh: int) -> None:
        self._run, self._num_fresh = run, num_fresh
        self._live: set[str] = set()
        self._fresh: dict[str, None] = {}  # in the order they were seen to have ended
        self.settled: set[str] = set()
        self._settled_bytes = 0

    def total(self, trials: Collection[str], running: Collection[str]) -> int:
        """All files of the run and of its `trials`, whatever these write, rename and remove meanwhile.

        Args:
            trials: those there are, in an order that stays.
        """
        num_known = len(self._live) + len(self._fresh) + len(self.settled)
        self._live.update(islice(trials, num_known, None))
        ended = [trial for trial in self._live if trial not in running]
        self._live.difference_update(ended)
        self._fresh.update(dict.fromkeys(ended))
        for trial in list(self._fresh)[: max(0, len(self._fresh) - self._num_fresh)]:
            del self._fresh[trial]
            self.settled.add(trial)
            self._settled_bytes += self._bytes_of(trial)
        watched = sum(self._bytes_of(trial) for trial in (*self._live, *self._fresh))
        by_trial = {self._run.trial_dir("").name, self._run.tensorboard_dir("").name}
        return self._settled_bytes + watched + _bytes_in(self._run.path, leaving_out=by_trial)

    def removed(self, trial: str, num_bytes: int) -> None:
        """So much of what a trial left was deleted."""
        if trial in self.settled:
            self._settled_bytes -= num_bytes

    def _bytes_of(self, trial: str) -> int:
        return _bytes_in(self._run.trial_dir(trial)) + _bytes_in(self._run.tensorboard_dir(trial))


def _bytes_in(folder: Path, leaving_out: Collection[str] = ()) -> int:
    """Size of all files below a folder, but for those in folders of these names right in it."""
    total = 0
    for parent, folders, names in os.walk(folder):
        if parent == str(folder):
            folders[:] = [name for name in folders if name not in leaving_out]
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(parent, name).lstat().st_size
    return total
