"""When Ray is given an order, and when it is told that there are no more."""

from ray.tune.search import Searcher

from search.tune.searcher import OrderSearcher
from search.tune.trial import Order


def _searcher(orders: list[Order], workers: int) -> OrderSearcher:
    return OrderSearcher(lambda: orders.pop(0) if orders else None, workers)


def _order(number: int, places: int = 1) -> Order:
    return Order(f"t{number:04d}", {}, "", places=places)


def _given(suggestion) -> str | None:
    return suggestion if suggestion is None or isinstance(suggestion, str) else suggestion["order"]["trial"]


def test_as_many_as_there_are_places():
    searcher = _searcher([_order(number) for number in range(3)], 2)
    assert [_given(searcher.suggest(ray)) for ray in "abc"] == ["t0000", "t0001", None]
    searcher.on_trial_complete("a")
    assert _given(searcher.suggest("c")) == "t0002"


def test_the_last_to_run_may_come_again():
    """No order is left while a trial runs; should it be lost, it is handed out again."""
    orders = [_order(0)]
    searcher = _searcher(orders, 2)
    searcher.suggest("a")
    assert searcher.suggest("b") is None
    orders.append(_order(0))
    searcher.on_trial_complete("a", error=True)
    assert _given(searcher.suggest("b")) == "t0000"
    assert not searcher.is_exhausted
    searcher.on_trial_complete("b")
    assert searcher.suggest("c") == Searcher.FINISHED
    assert searcher.is_exhausted


def test_an_order_of_several_places_takes_them_all():
    searcher = _searcher([_order(0), _order(1, places=2), _order(2), _order(3)], 4)
    assert [_given(searcher.suggest(ray)) for ray in "ab"] == ["t0000", "t0001"]
    assert searcher.suggest("c") is None, "it still waits for a device that nobody else is on"
    searcher.placed("b")
    assert _given(searcher.suggest("c")) == "t0002"
    assert searcher.suggest("d") is None, "two places of its own device, and two of the other's"
    searcher.on_trial_complete("b")
    assert _given(searcher.suggest("d")) == "t0003"
