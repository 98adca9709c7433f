"""Ray asks this for trials; it hands out orders when a place is free."""

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from search.tune.driverside import DriverSide
from search.tune.trial import Order

NextOrder = Callable[[], Order | None]


class OrderSearcher(DriverSide, Searcher):
    """Orders one at a time, never for more than `workers` places at once, so that each proposal sees every result there is.

    An order of several places is one for several shares of a device.  While it waits for them none is handed out: the places its
    neighbours leave would be taken again one by one.

    Args:
        next_order: asked whenever a place is free.  None ends the series once no trial runs: until then one may be lost and come again.
        workers: places there are.
    """

    def __init__(self, next_order: NextOrder, workers: int) -> None:
        super().__init__(metric="val_mre_mm", mode="min")
        self._next_order, self._workers = next_order, workers
        self._live: dict[str, int] = {}
        self._unplaced: set[str] = set()
        self._finished = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is text
        """The next order as a Tune configuration; None while all places are taken, or one that takes several waits for them."""
        if self._unplaced or sum(self._live.values()) >= self._workers:
            return None
        order = self._next_order()
        if order is None:
            if self._live:
                return None
            self._finished = True
            return str(Searcher.FINISHED)
        self._live[trial_id] = order.places
        if order.places > 1:
            self._unplaced.add(trial_id)
        return {"order": vars(order)}

    def placed(self, trial_id: str) -> None:
        """The trial's actor runs."""
        self._unplaced.discard(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A place is free again."""
        self._live.pop(trial_id, None)
        self._unplaced.discard(trial_id)

    @property
    def is_exhausted(self) -> bool:
        """Whether every order was handed out and has ended; False after Ctrl-C."""
        return self._finished and not self._live

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a resumed run is a new Tuner built from the ledger."""
