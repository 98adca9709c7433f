"""Which trainings that failed through no fault of their own are tried again.  Pure: it follows the ledger, so that a resume counts on.

- A trial whose worker or node was lost goes on from what it saved, but not for ever: one that takes its worker down
  whenever it runs ends after so many losses without a new epoch in between.
- A trial that ran out of memory beside others on its device may have been crowded out: it goes on once with a device to
  itself.  What does not fit even then cannot be trained.
"""

from collections import Counter
from typing import Literal

from search.records import Event
from search.space.schema import Resources

OUT_OF_MEMORY = "out of memory"
"""In what a training says that had none left, in lower case."""

MOST_LOSSES = 3
"""So often in a row may a trial be lost and go on."""

Cause = Literal["lost", "memory"]


class Retries:
    """What the ledger says of second attempts.

    Args:
        shares_device: whether trials of this run stand on one device with others.
    """

    def __init__(self, shares_device: bool) -> None:
        self._shares_device = shares_device
        self._losses: Counter[str] = Counter()
        self._alone: set[str] = set()

    def take(self, event: Event) -> None:
        """An event of the ledger, new or from before a resume; all are taken in order."""
        if event["event"] == "report":
            del self._losses[event["trial"]]
        elif event["event"] == "retry" and event["cause"] == "lost":
            self._losses[event["trial"]] += 1
        elif event["event"] == "retry":
            self._alone.add(event["trial"])

    def is_alone(self, trial: str) -> bool:
        """Whether the trial is to have a device to itself."""
        return trial in self._alone

    def may_go_on(self, trial: str) -> bool:
        """Whether a trial that was lost now is tried again."""
        return self._losses[trial] < MOST_LOSSES

    def may_be_crowded(self, trial: str) -> bool:
        """Whether a trial that ran out of memory now may have been so for its neighbours' sake."""
        return self._shares_device and trial not in self._alone


def shares_device(resources: Resources, workers: int) -> bool:
    """Whether trials stand on one device with others."""
    return workers > 1 and 0 < float(resources.gpus_per_trial) < 1


def retry_event(trial: str, cause: Cause, text: str) -> Event:
    """What the ledger keeps of an attempt that is followed by another."""
    return {"event": "retry", "trial": trial, "cause": cause, "reason": _brief(text)}


def lost_too_often(text: str) -> str:
    """Why a trial ended whose worker was lost once too often."""
    return f"its worker was lost {MOST_LOSSES + 1} times without an epoch in between, the last time: {_brief(text)}"


def _brief(text: str) -> str:
    """The first sentence of the last line: after it Ray says what might have been."""
    return last_line(text).split(". ")[0]


def last_line(text: str) -> str:
    """Of a traceback: what was raised."""
    return text.strip().splitlines()[-1].strip() if text.strip() else "no message"
