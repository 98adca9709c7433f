"""Ctrl-C around Tune, which keeps the handler it installs unless it was called."""

import signal

import pytest
from ray.tune.tune import _setup_signal_catching

from ceph_core.errors import InputError
from search.space.schema import Resources
from search.tune import cluster
from search.tune.searcher import OrderSearcher
from search.tune.trial import Order


class Tuner:
    """Installs Tune's own handler and asks the searcher until it has no more."""

    press = False

    def __init__(self, trainable, tune_config, run_config):
        self.searcher = tune_config.search_alg

    def fit(self):
        _setup_signal_catching()
        self.searcher.suggest("only")
        if self.press:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("press", [False, True])
def test_ctrl_c_is_heard_and_handed_back(tmp_path, monkeypatch, press):
    """After the trials Ctrl-C must work again at the first press, and one pressed as the last trial ended is not lost."""
    monkeypatch.setattr(cluster.tune, "Tuner", Tuner)
    monkeypatch.setattr(Tuner, "press", press)
    user1, before = signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGINT)
    try:
        finished = cluster.run_orders(lambda: None, None, None, Resources(), 1, tmp_path, lambda: None)
        assert finished is not press
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGUSR1, user1)


def test_places():
    machine = cluster.Cluster(cpus=16.0, gpus=2.0, dashboard="", is_local=True)
    assert machine.places(Resources(cpus_per_trial=4, gpus_per_trial=1.0)) == 2
    assert machine.places(Resources(cpus_per_trial=2, gpus_per_trial="1/3")) == 6
    assert machine.places(Resources(cpus_per_trial=8, gpus_per_trial="1/4")) == 2
    assert machine.places(Resources(cpus_per_trial=1, gpus_per_trial=0, max_concurrent=3)) == 3
    with pytest.raises(InputError, match="the cluster has 16 and 2"):
        machine.places(Resources(cpus_per_trial=1, gpus_per_trial=1.0).model_copy(update={"gpus_per_trial": 4.0}))


def order(name: str, places: int = 1) -> Order:
    return Order(name, {}, "", places=places)


def test_an_order_of_more_places_than_there_are_runs_alone():
    orders = iter([order("large", 4), order("b")])
    searcher = OrderSearcher(lambda: next(orders, None), 2)
    assert searcher.suggest("id0")["order"]["trial"] == "large"
    assert searcher.suggest("id1") is None


@pytest.mark.parametrize(("share", "places", "gpus"), [("1/4", 1, 0.25), ("1/4", 4, 1.0), ("1/3", 3, 1.0), ("1/3", 2, 0.6667), (1, 1, 1.0)])
def test_a_trial_of_several_places_has_their_shares_of_a_gpu(share, places, gpus):
    resources = Resources(cpus_per_trial=2, gpus_per_trial=share)
    bundles = cluster.bundle(resources, {"order": vars(order("a", places))}).bundles
    assert bundles == [{"CPU": 2, "GPU": gpus}]
