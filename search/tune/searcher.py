"""Ray asks this for trials; it hands out orders when a place is free."""

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from search.tune.driverside import DriverSide
from search.tune.trial import Order

NextOrder = Callable[[], Order | None]


class OrderSearcher(DriverSide, Searcher):
    """Orders one at a time, never for more than `workers` places at once, so that each proposal sees every result there is.

    Args:
        next_order: asked whenever a place is free.  None ends the series once no trial runs: until then one may be lost and come again.
        workers: places there are.
        places_alone: how many of them an order takes that has a device to itself.
    """

    def __init__(self, next_order: NextOrder, workers: int, places_alone: int = 1) -> None:
        super().__init__(metric="val_mre_mm", mode="min")
        self._next_order, self._workers, self._places_alone = next_order, workers, places_alone
        self._live: dict[str, int] = {}
        self._unplaced: set[str] = set()
        self._finished = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is text
        """The next order as a Tune configuration; None while all places are taken.

        While an order waits for a device to itself none is handed out: its neighbours' places would be taken again as they fall free.
        """
        if self._unplaced or sum(self._live.values()) >= self._workers:
            return None
        order = self._next_order()
        if order is None:
            if self._live:
                return None
            self._finished = True
            return str(Searcher.FINISHED)
        self._live[trial_id] = self._places_alone if order.alone else 1
        if order.alone:
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
