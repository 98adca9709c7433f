"""Keeps a run folder within `budget.disk_gb`: the checkpoints of the worst ended trials go first."""

from ceph_core.training.checkpoint import STATE_FILE
from search.policy import Policy
from search.records import RunFolder


class Disk:
    """Looks after one run's checkpoints."""

    def __init__(self, run: RunFolder, policy: Policy, limit_gb: float) -> None:
        self._run, self._policy, self._limit = run, policy, limit_gb * 1e9

    def tidy(self) -> list[str]:
        """Delete checkpoints until the folder fits; never a running trial's, the baseline's or a candidate's.

        Returns:
            Trials whose checkpoint went.
        """
        ranked = self._policy.ranking()
        kept = {state.trial for state in ranked[: self._policy.space.promotion.candidates]}
        total = sum(path.stat().st_size for path in self._run.path.rglob("*") if path.is_file())
        gone: list[str] = []
        unranked = [state for state in self._policy.trials.values() if state not in ranked]
        for state in [*unranked, *reversed(ranked)]:
            if total <= self._limit:
                break
            path = self._run.trial_dir(state.trial) / STATE_FILE
            if state.status == "running" or state.is_baseline or state.trial in kept or not path.exists():
                continue
            total -= path.stat().st_size
            path.unlink()
            gone.append(state.trial)
        return gone
