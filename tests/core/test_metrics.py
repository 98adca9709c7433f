"""Errors in mm and what is said of them."""

import numpy as np
import pytest

from ceph_core.metrics import bootstrap_interval, mean_shape_mm, paired_test, radial_errors_mm, summarize

NAN = float("nan")


def test_each_film_has_its_own_spacing_and_each_axis_too() -> None:
    predicted = np.array([[[3.0, 4.0]], [[3.0, 4.0]], [[3.0, 4.0]]])
    errors = radial_errors_mm(predicted, np.zeros((3, 1, 2)), [(1, 1), (0.1, 0.1), (2, 0.5)])
    assert errors.ravel() == pytest.approx([5, 0.5, np.hypot(6, 2)])


def test_a_missing_landmark_never_counts() -> None:
    reference = np.array([[[0.0, 0.0], [NAN, NAN]]])
    errors = radial_errors_mm(np.array([[[1.0, 0.0], [50.0, 0.0]]]), reference, [(1, 1)])
    assert errors[0, 0] == 1 and np.isnan(errors[0, 1])
    assert summarize(errors).mre_mm == 1


def test_a_lost_prediction_does_not_vanish_from_the_mean() -> None:
    with pytest.raises(ValueError, match="1 predicted points are NaN"):
        radial_errors_mm(np.full((1, 1, 2), NAN), np.zeros((1, 1, 2)), [(1, 1)])


def test_sdr_counts_errors_up_to_and_including_the_radius() -> None:
    summary = summarize(np.array([[1.0, 2.0, 2.4, 3.0, 4.0, 4.1, 10.0, 11.0]]))
    assert (summary.sdr_2mm, summary.sdr_2_5mm, summary.sdr_3mm, summary.sdr_4mm) == (25, 37.5, 50, 62.5)
    assert (summary.over_4mm, summary.over_10mm, summary.median_mm) == (37.5, 12.5, 3.5)
    assert np.isnan(summarize(np.full((2, 2), NAN)).mre_mm)


def test_the_interval_draws_films_not_points() -> None:
    # Two kinds of film, each with equal errors throughout: 40 points, but only 10 observations.
    errors = np.repeat(np.array([1.0, 3.0] * 5)[:, None], 4, axis=1)
    low, high = bootstrap_interval(errors)
    assert low < 2 < high
    assert high - low > 3.2 * errors.std() / np.sqrt(errors.size), "an interval over points would be half as wide"
    assert (low, high) == bootstrap_interval(errors), "seeded"
    assert np.isnan(bootstrap_interval(errors[:1])).all()


def test_the_paired_test_sees_a_small_difference_that_intervals_do_not() -> None:
    random = np.random.default_rng(0)
    worse = random.uniform(0.5, 4, (60, 1)) + random.uniform(0, 0.2, (60, 19))
    found = paired_test(worse - 0.05, worse)
    assert found.difference_mm == pytest.approx(-0.05) and found.high_mm < 0 and found.p_value < 1e-6
    same = paired_test(worse, worse)
    assert (same.difference_mm, same.p_value) == (0, 1)


def test_the_mean_shape_is_taken_in_mm() -> None:
    landmarks = np.array([[[10.0, 20.0]], [[100.0, 200.0]], [[NAN, NAN]]])
    assert mean_shape_mm(landmarks, np.array([[1, 1], [0.1, 0.1], [1, 1]])) == pytest.approx(np.array([[10.0, 20.0]]))


def test_unmarked_films_and_landmarks_leave_no_trace() -> None:
    errors = np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, 5.0]])
    paired = paired_test(errors, errors + 1)
    assert paired.difference_mm == pytest.approx(-1)
    points = np.full((2, 2, 2), np.nan)
    points[:, 0] = [[10, 20], [30, 40]]
    shape = mean_shape_mm(points, np.full((2, 2), 0.5))
    assert shape[0].tolist() == [10, 15] and np.isnan(shape[1]).all()
