"""Ray asks this for trials; it hands out orders when a place is free."""

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from search.tune.driverside import DriverSide
from search.tune.trial import Order

NextOrder = Callable[[], Order | None]


class OrderSearcher(DriverSide, Searcher):
    """Orders one at a time, never more than `workers` places at once, so that each proposal sees every result there is.

    An order of several places waits until they are free, and all others behind it: passed by, it might never find them.
    """

    def __init__(self, next_order: NextOrder, workers: int) -> None:
        super().__init__(metric="val_mre_mm", mode="min")
        self._next_order, self._workers = next_order, workers
        self._live: dict[str, int] = {}
        self._waiting: Order | None = None
        self._finished = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is text
        """The next order as a Tune configuration; None while all places are taken."""
        taken = sum(self._live.values())
        if taken >= self._workers:
            return None
        order = self._waiting or self._next_order()
        if order is None:
            self._finished = True
            return str(Searcher.FINISHED)
        self._waiting = order if self._live and taken + order.places > self._workers else None
        if self._waiting is not None:
            return None
        self._live[trial_id] = order.places
        return {"order": vars(order)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A place is free again."""
        self._live.pop(trial_id, None)

    @property
    def is_exhausted(self) -> bool:
        """Whether every order was handed out and has ended; False after Ctrl-C."""
        return self._finished and not self._live

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a resumed run is a new Tuner built from the ledger."""
