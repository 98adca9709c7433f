"""Priors of knobs: their densities, what they do to proposals, and how that fades."""

import copy

import numpy as np
import pytest
from scipy.stats import qmc

from ceph_core.errors import InputError
from search import curve_model, sampler
from search.cube import coordinates, point_at, snapped
from search.curve_model import proposals
from search.history import Outcome, Point, Trial
from search.prior import drawn, log_density
from search.rungs import Rungs
from search.sampler import Sampler
from search.space.knobs import Knob, misfits
from search.space.schema import Prior
from tests.search import curves

NEAR = Prior(mode=1e-2, width=0.1)
RATE = Knob("rate", "float", 1e-5, 1e-1, log=True, prior=NEAR)
KIND = Knob("kind", "categorical", choices=("a", "b", "c", "d"), prior=Prior(prefer=("b", True)))
CONDITIONAL = (
    Knob("loss", "categorical", choices=("mse", "wing"), prior=Prior(prefer=("wing",))),
    Knob("omega", "float", 0.0, 20.0, when={"loss": ("wing",)}, prior=Prior(mode=5.0, width=0.1)),
    Knob("batch", "int", 2, 8, step=2, prior=Prior(mode=8, width=0.2)),
    Knob("free", "float", 0.0, 1.0),
)


def evenly(knobs: tuple[Knob, ...], number: int = 4096) -> np.ndarray:
    return qmc.Sobol(len(knobs), scramble=True, rng=np.random.default_rng(0)).random(number)


def trials(knobs: tuple[Knob, ...], number: int, level: float = 3.0) -> list[Trial]:
    """Finished trials, all over the space, that end nearly alike."""
    return [
        Trial(place, point_at(knobs, shares.tolist()), {1: Point(level + 1e-3 * place, 1)}, Outcome("complete", level + 1e-3 * place))
        for place, shares in enumerate(evenly(knobs, 64)[:number])
    ]


@pytest.mark.parametrize("knobs", [(RATE,), CONDITIONAL[2:], (Knob("n", "int", 1, 500, log=True, prior=Prior(mode=500, width=1)),)])
def test_densities_average_to_that_of_the_uniform_distribution(knobs):
    density = np.exp(log_density(knobs, snapped(knobs, evenly(knobs))))
    assert density.mean() == pytest.approx(1.0, abs=0.02)


def test_a_range_s_density_is_highest_at_the_mode_and_lowest_nowhere_zero():
    shares = np.linspace(0, 1 - 1e-9, 101)[:, None]
    density = log_density((RATE,), shares)
    assert np.argmax(density) == 75  # 1e-2 of 1e-5 to 1e-1, on a log scale
    assert density.min() == pytest.approx(np.log(0.25))


def test_preferred_choices_have_most_of_the_weight_and_the_others_some():
    knob = Knob("kind", "categorical", choices=(1, True, "b", "c"), prior=Prior(prefer=("b", True)))
    points = np.stack([coordinates([knob], {"kind": choice}) for choice in knob.choices])
    weights = np.exp(log_density([knob], points)) / 4
    assert weights == pytest.approx([0.0625, 0.4375, 0.4375, 0.0625])
    chosen = [point_at([knob], share)["kind"] for share in drawn([knob], evenly((knob,))).tolist()]
    assert [np.mean([one is choice for one in chosen]) for choice in knob.choices] == pytest.approx(weights, abs=0.01)


def test_draws_follow_the_prior_inside_the_range_and_leave_other_knobs_alone():
    shares = evenly(CONDITIONAL)
    moved = drawn(CONDITIONAL, shares)
    assert (moved[:, 3] == shares[:, 3]).all() and (moved >= 0).all() and (moved < 1).all()
    assert np.median(moved[:, 1]) == pytest.approx(0.25, abs=0.01) and np.std(moved[:, 1]) == pytest.approx(0.1, abs=0.01)
    batches = [point_at(CONDITIONAL, row)["batch"] for row in moved.tolist()]
    assert batches.count(8) > batches.count(6) > batches.count(4) > batches.count(2) > 0


@pytest.mark.parametrize("mode", [0.0, 1.0])
def test_a_very_narrow_prior_at_an_end_stays_in_range(mode):
    knob = Knob("x", "float", 0.0, 1.0, prior=Prior(mode=mode, width=1e-6))
    moved = drawn([knob], np.array([[0.01], [0.5], [1 - 1e-9]]))
    assert ((moved >= 0) & (moved < 1)).all() and moved == pytest.approx(np.full((3, 1), mode), abs=1e-5)
    assert np.isfinite(log_density([knob], np.array([[0.0], [0.5], [1.0]]))).all()


def test_a_knob_that_does_not_exist_adds_nothing():
    points = np.stack([coordinates(CONDITIONAL, values) for values in (
        {"loss": "mse", "batch": 8, "free": 0.1}, {"loss": "wing", "omega": 20.0, "batch": 8, "free": 0.1},
        {"loss": "wing", "omega": 5.0, "batch": 8, "free": 0.9},
    )])  # fmt: skip
    mse, far, near = log_density(CONDITIONAL, points)
    without = [knob for knob in CONDITIONAL if knob.key != "omega"]
    alone = log_density(without, np.stack([coordinates(without, {"loss": "mse", "batch": 8, "free": 0.1})]))
    assert mse == pytest.approx(alone[0])
    assert far == pytest.approx(near - np.log((0.75 * 10 / np.sqrt(2 * np.pi) + 0.25) / 0.25), abs=0.01)


def test_proposals_concentrate_near_the_mode_early_and_the_influence_vanishes_with_trials(monkeypatch):
    """All trials end nearly alike, so that the model has little to say; failed ones tell it nothing, but are counted."""
    bare = (Knob("rate", "float", 1e-5, 1e-1, log=True), Knob("other", "float", 0.0, 1.0))
    history = trials(bare, 4)
    failed = [Trial(4 + place, {}, {}, Outcome("failed")) for place in range(5000)]

    def rates(known: list[Trial]) -> np.ndarray:
        found = [proposals((RATE, bare[1]), known, np.random.default_rng(seed), 1)[0] for seed in range(8)]
        return np.array([coordinates(bare, values)[0] for values in found])

    early, late = rates(history), rates(history + failed)
    monkeypatch.setattr(curve_model, "_PRIOR_WEIGHT", 0.0)
    without = rates(history)
    assert np.abs(early - 0.75).max() < 0.1 < np.abs(without - 0.75).min()
    assert late == pytest.approx(without, abs=0.02)


def test_a_wrong_prior_is_outweighed_by_trials():
    """Good values lie at 1e-4; the prior says 1e-2."""
    bare = Knob("rate", "float", 1e-5, 1e-1, log=True)
    history = []
    for place, share in enumerate(evenly((bare,), 32)):
        level = 2 + 20 * (share[0] - 0.25) ** 2
        history.append(Trial(place, point_at([bare], share.tolist()), {1: Point(level, 1)}, Outcome("complete", level)))
    late = [proposals((RATE,), history, np.random.default_rng(seed), 1)[0]["rate"] for seed in range(8)]
    assert all(share == pytest.approx(0.25, abs=0.1) for share in (coordinates([bare], {"rate": rate})[0] for rate in late))


def test_half_of_the_start_up_follows_the_prior_and_half_is_spread_evenly():
    first = []
    for seed in range(40):
        proposer = Sampler(CONDITIONAL, seed=seed)
        first += [proposer.ask(number) for number in range(8)]
    assert not any(misfits(CONDITIONAL, values) for values in first)
    # The prior's mixture has seven in eight of two choices' weight on the preferred one, the uniform half one in two.
    assert np.mean([values["loss"] == "wing" for values in first]) == pytest.approx(0.5 * 0.875 + 0.5 * 0.5, abs=0.05)
    away = np.mean([values["omega"] > 12 for values in first if "omega" in values])
    assert away == pytest.approx(0.4 * 0.25 / 0.6875, abs=0.06)


def test_without_priors_nothing_of_them_is_asked_and_the_start_is_the_same_sobol_sequence(monkeypatch):
    def never(*_: object) -> None:
        raise AssertionError

    for module in (curve_model, sampler):
        monkeypatch.setattr(module, "drawn", never)
    monkeypatch.setattr(curve_model, "log_density", never)
    proposer = Sampler(curves.SPACE, startup_trials=4, seed=3)
    begun = [proposer.ask(number) for number in range(4)]
    points = qmc.Sobol(len(curves.SPACE), scramble=True, rng=np.random.default_rng(3)).random(4)
    assert begun == [point_at(curves.SPACE, point.tolist()) for point in points]
    curves.search(Sampler(curves.SPACE, startup_trials=4, seed=3), Rungs((0.1, 0.3), 3), budget=100, workers=2, seed=3)


@pytest.mark.parametrize("name", ["tpe", "gp", "random", "qmc"])
def test_other_samplers_refuse_priors(name):
    with pytest.raises(InputError, match=f"{name} uses no priors, given for rate, kind; choose curve_gp"):
        Sampler([RATE, Knob("kind", "categorical", choices=("a", "b"), prior=Prior(prefer=("a",)))], name=name)


def test_replay_proposes_what_an_unbroken_run_would():
    def live(proposer: Sampler, begin: int, end: int) -> list[dict]:
        proposed = []
        for number in range(begin, end):
            values = proposer.ask(number)
            proposed.append(values)
            proposer.report(number, 1, 2, values["free"] + values["batch"])
            if number % 3:
                proposer.tell(number, Outcome("complete", values["free"] + values["batch"]))
        return proposed

    unbroken = Sampler(CONDITIONAL, startup_trials=4, seed=3)
    live(unbroken, 0, 9)
    resumed = Sampler(CONDITIONAL, startup_trials=4, seed=3)
    resumed.replay(copy.deepcopy(unbroken.trials))
    assert live(resumed, 9, 13) == live(unbroken, 9, 13)
