"""Gaussian-process regression."""

import numpy as np
import pytest
from scipy.stats import norm

from search.process import Process, _matern, log_expected_improvement


def wave(points: np.ndarray) -> np.ndarray:
    return np.sin(5 * points[:, 0]) + 0.3 * points[:, 1]


def test_it_learns_a_function_and_which_coordinate_matters() -> None:
    random = np.random.default_rng(0)
    points, new = random.random((60, 4)), random.random((200, 4))
    process = Process.fit(points, wave(points), np.zeros(60))
    means, deviations = process.at(new)
    assert np.sqrt(np.mean((means - wave(new)) ** 2)) < 0.1
    assert process.scales[0] < process.scales[2:].min()
    inside = np.abs(means - wave(new)) < 3 * deviations
    assert inside.mean() > 0.9


def test_the_gradient_is_the_cost_s(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def keep(cost, start, **_):  # type: ignore[no-untyped-def]
        shifted = start + np.linspace(-0.3, 0.4, len(start))
        _, gradient = cost(shifted)
        for place in range(len(start)):
            step = np.zeros(len(start))
            step[place] = 1e-5
            seen.append(((cost(shifted + step)[0] - cost(shifted - step)[0]) / 2e-5, gradient[place]))
        return type("Found", (), {"x": start})

    monkeypatch.setattr("search.process.minimize", keep)
    random = np.random.default_rng(1)
    points = random.random((20, 3))
    Process.fit(points, wave(points), random.random(20) * 0.1)
    assert len(seen) == 4
    for numeric, told in seen:
        assert told == pytest.approx(numeric, rel=1e-4, abs=1e-5)


def test_an_uncertain_observation_counts_less() -> None:
    points = np.array([[0.5, 0.5], [0.5, 0.5], [0.0, 0.0]])
    values = np.array([1.0, -1.0, 0.0])
    trusting_first = Process.of(points, values, np.array([0.01, 1.0, 0.01]), np.ones(2))
    trusting_second = Process.of(points, values, np.array([1.0, 0.01, 0.01]), np.ones(2))
    at = np.array([[0.5, 0.5]])
    assert trusting_first.at(at)[0][0] > 0.7 and trusting_second.at(at)[0][0] < -0.7


def test_what_is_awaited_leaves_means_and_takes_doubt_away() -> None:
    random = np.random.default_rng(2)
    points = random.random((15, 2))
    process = Process.fit(points, wave(points), np.zeros(15))
    awaited, elsewhere = np.array([[0.9, 0.1]]), random.random((30, 2))
    believing = process.believing(awaited)
    assert np.allclose(believing.at(elsewhere)[0], process.at(elsewhere)[0], atol=1e-3)
    assert believing.at(awaited)[1][0] < 0.2 * process.at(awaited)[1][0] + 0.02
    assert (believing.at(elsewhere)[1] <= process.at(elsewhere)[1] + 1e-6).all()
    assert process.believing(np.empty((0, 2))) is process


def test_expected_improvement_is_the_integral_and_ranks_where_it_vanishes() -> None:
    means, deviations = np.array([0.3, 1.0]), np.array([0.5, 0.2])
    z = (0.5 - means) / deviations
    exact = deviations * (z * norm.cdf(z) + norm.pdf(z))
    assert np.allclose(np.exp(log_expected_improvement(means, deviations, 0.5)), exact, rtol=1e-6)
    far = log_expected_improvement(np.array([5.0, 10.0, 20.0]), np.ones(3) * 0.1, 0.0)
    assert np.isfinite(far).all() and far[0] > far[1] > far[2]
    near = log_expected_improvement(np.array([0.599, 0.601]), np.full(2, 0.1), 0.0)
    assert near[0] == pytest.approx(near[1], rel=0.01)


def test_the_kernel_falls_from_one() -> None:
    kernel, _ = _matern(np.array([0.0, 0.1, 1.0, 100.0]))
    assert kernel[0] == 1 and (np.diff(kernel) < 0).all() and kernel[-1] < 1e-6


def test_a_contrast_is_a_mean_difference_in_which_common_uncertainty_cancels():
    random = np.random.default_rng(5)
    points = random.random((12, 2))
    process = Process.of(points, np.sin(4 * points[:, 0]), np.full(12, 0.01), np.array([0.5, 2.0]))
    one, other = random.random((3, 2)), random.random((3, 2))
    loss, _ = process.contrast(one, other)
    assert loss == pytest.approx(float((process.at(other)[0] - process.at(one)[0]).mean()))
    near = process.contrast(one, one + np.array([1e-3, 0]))[1]
    assert near < 0.05 * process.at(one)[1].mean(), "what two near points have in common cancels"
    far_one, far_other = np.array([[100.0, 0.0]]), np.array([[0.0, 100.0]])
    assert process.contrast(far_one, far_other) == (pytest.approx(0.0), pytest.approx(2**0.5)), "nothing is known of either"
