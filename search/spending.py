"""Device time of a run: what its trainings took, and what stopping early saved.  Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from search.policy import TIME_IS_UP


@dataclass(frozen=True)
class Spending:
    """Hours of one device.

    Attributes:
        device: "GPU" or "CPU core".
        spent_h: of all trainings, confirming ones included.
        saved_h: that trials stopped early would have gone on to take, at the seconds an epoch they had shown; those that only the
            clock stopped saved nothing.
    """

    device: str
    spent_h: float
    saved_h: float

    @property
    def saved_share(self) -> float:
        """Of what would have been spent without stopping."""
        total = self.spent_h + self.saved_h
        return self.saved_h / total if total > 0 else 0.0


def spending(trials: pd.DataFrame, resources: Mapping[str, Any], gpu_share: float | None = None) -> Spending:
    """What a run's trials (the table `trials.parquet`) took.

    A stopped trial's later epochs are counted like those it had: with a progressive schedule they would have taken longer.

    Args:
        resources: section of the space.
        gpu_share: GPUs of a trial where `resources.gpus_per_trial` is auto.
    """
    given = resources.get("gpus_per_trial", 1)
    share = gpu_share if isinstance(given, str) else float(given)
    device, each = ("GPU", 1.0 if share is None else share) if share != 0 else ("CPU core", float(resources.get("cpus_per_trial", 1)))
    is_spared = (trials["status"] == "stopped") & ~trials["reason"].str.contains(TIME_IS_UP, regex=False)
    stopped = trials[is_spared & trials["seconds_per_epoch"].notna()]
    left_s = ((stopped["epochs"] - stopped["epochs_done"]).clip(lower=0) * stopped["seconds_per_epoch"]).sum()
    return Spending(device, each * float(trials["seconds"].sum()) / 3600, each * float(left_s) / 3600)
