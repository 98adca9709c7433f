"""What to try next, asked before there is a place for it: of the history as it stands, to be answered whenever there is time.  Pure.

The answer is a function of (seed, trial number, history as it stood), as every proposal is; how much of the history it knew is written
into the ledger with the trial, so that anybody can ask again and be told the same.
"""

from dataclasses import dataclass
from typing import Any

from search.sampler import Sampler


@dataclass(frozen=True)
class Proposal:
    """A configuration.

    Attributes:
        number: of the trial it is for.
        asked_after: announcements, reports, second attempts and ends of search trials that it knew of, counted from the ledger's beginning.
        values: of the active knobs.
    """

    number: int
    asked_after: int
    values: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Question:
    """What a trial should try, as far as is known now.

    Attributes:
        number, asked_after: see `Proposal`.
        sampler: a copy that nothing later reaches, so that another thread may ask it.
    """

    number: int
    asked_after: int
    sampler: Sampler

    def answer(self) -> Proposal:
        """Seconds of work, for a Gaussian process over hundreds of trials."""
        return Proposal(self.number, self.asked_after, self.sampler.ask(self.number))
