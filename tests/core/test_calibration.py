"""Radii around points: what they promise on films they were not learned from."""

import numpy as np
import pytest

from ceph_core.errors import InputError
from ceph_core.inference.calibration import CALIBRATION_FILE, coverage, fit, read_calibration

SYMBOLS = tuple("ABCDEFGHIJ")


def drawn(films, seed, informative=True):
    """Rayleigh errors: landmarks differ, and so do films' points, of which confidence knows."""
    rng = np.random.default_rng(seed)
    of_landmark = np.exp(np.random.default_rng(7).normal(0, 0.4, len(SYMBOLS)))
    of_point = np.exp(rng.normal(0, 0.5, (films, len(SYMBOLS))))
    errors = rng.rayleigh(of_landmark * of_point)
    confidence = np.clip(0.5 / (of_point if informative else np.exp(rng.normal(0, 0.5, of_point.shape))), 0.01, 1.0)
    return errors, confidence


@pytest.mark.parametrize("films", [10, 25, 100])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_the_radius_holds_at_least_what_it_says(films, level):
    """Over many draws of the films it is learned from, in 95 of 100 if these are not too few to draw again."""
    new = drawn(400, 99)
    shares = np.array([coverage(fit(SYMBOLS, *drawn(films, seed)), *new, level=level).share for seed in range(40)])
    assert (shares >= level - 0.005).mean() >= (0.8 if films < 20 else 0.9)
    assert shares.mean() < level + {10: 0.14, 25: 0.08, 100: 0.045}[films], "nor much more: a radius is to be small"


def test_more_films_make_it_smaller():
    errors, confidence = drawn(400, 0)
    few, many = (fit(SYMBOLS, errors[:number], confidence[:number]).radius_mm(confidence).mean() for number in (20, 400))
    assert few > 1.03 * many


def test_films_whose_points_err_together_make_it_larger():
    """The same errors, dealt out among films so that those of a film are alike."""
    errors, confidence = drawn(60, 0, informative=False)
    ranks = np.argsort(np.argsort(errors, axis=0), axis=0)
    alike = np.take_along_axis(np.sort(errors, axis=0), np.tile(ranks[:, :1], len(SYMBOLS)), axis=0)
    assert (
        fit(SYMBOLS, alike, confidence).radius_mm(confidence).mean() > 1.05 * fit(SYMBOLS, errors, confidence).radius_mm(confidence).mean()
    )


def test_it_is_smaller_than_one_constant_radius_a_landmark_that_holds_as_many():
    errors, confidence = drawn(400, 99)
    found = coverage(fit(SYMBOLS, *drawn(25, 0)), errors, confidence)
    assert found.mean_mm < 0.85 * found.constant_mm
    assert abs(found.share - 0.9) < 0.04


def test_confidence_that_knows_nothing_is_not_used():
    assert fit(SYMBOLS, *drawn(200, 0, informative=False)).slope == pytest.approx(0, abs=0.05)
    errors, confidence = drawn(100, 0)
    assert fit(SYMBOLS, errors, 1 / confidence / 100).slope == 0, "a surer point never has the larger radius"


def test_points_in_doubt_have_the_larger_radius():
    radii = fit(SYMBOLS, *drawn(50, 0)).radius_mm(np.array([[0.9] * 10, [0.2] * 10]))
    assert (radii[1] > radii[0]).all()
    assert np.isfinite(fit(SYMBOLS, *drawn(50, 0)).radius_mm(np.zeros((1, 10)))).all()


def test_missing_landmarks_do_not_count():
    errors, confidence = drawn(60, 0)
    errors[:, 3] = np.nan
    errors[::2, 4] = np.nan
    errors[5] = np.nan
    made = fit(SYMBOLS, errors, confidence)
    assert made.num_films == 59
    assert np.isfinite(made.radius_mm(confidence)).all(), "a landmark nobody marked has the usual radius"
    found = coverage(made, *drawn(100, 1))
    assert found.films == 100


def test_luck_makes_it_larger():
    errors, confidence = drawn(30, 0)
    plain, lucky = fit(SYMBOLS, errors, confidence), fit(SYMBOLS, errors, confidence, inflation=1.2)
    np.testing.assert_allclose(lucky.radius_mm(confidence), 1.2 * plain.radius_mm(confidence))
    assert fit(SYMBOLS, errors, confidence, inflation=0.5).inflation == 1.0, "being unlucky is no reason for smaller ones"


def test_few_films_are_refused():
    with pytest.raises(ValueError, match="7 films that the model did not learn from; 8 are needed"):
        fit(SYMBOLS, *drawn(7, 0))


def test_it_comes_back_from_its_file(tmp_path):
    made = fit(SYMBOLS, *drawn(30, 0))
    made.save(tmp_path / CALIBRATION_FILE)
    assert read_calibration(tmp_path, SYMBOLS) == made
    assert read_calibration(tmp_path / "member_0", SYMBOLS) == made
    assert read_calibration(tmp_path / "deep" / "member_0", SYMBOLS) is None
    with pytest.raises(InputError, match="is of 10 other landmarks"):
        read_calibration(tmp_path, SYMBOLS[::-1])
    (tmp_path / CALIBRATION_FILE).write_text('{"symbols": 3}')
    with pytest.raises(InputError, match="symbols"):
        read_calibration(tmp_path, SYMBOLS)


def test_what_is_said_of_it():
    said = str(coverage(fit(SYMBOLS, *drawn(30, 0)), *drawn(50, 1)))
    assert said.startswith("the 90% radius holds ") and "one constant radius a landmark that holds as many: " in said
