"""The unit cube and its inverse."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.cube import ABSENT, coordinates, place_in, point_at, share_of, snapped
from search.space.knobs import Knob

KNOBS = (
    Knob("kind", "categorical", choices=("plain", "steps", True)),
    Knob("rate", "float", 1e-5, 1e-1, log=True),
    Knob("share", "float", 0.0, 1.0, step=0.25),
    Knob("batch", "int", 2, 12, step=2),
    Knob("width", "int", 1, 100, log=True),
    Knob("moment", "float", 0.8, 0.99, when={"kind": ("steps",)}),
    Knob("nested", "int", 0, 3, when={"batch": (4, 8), "kind": ("steps", True)}),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=len(KNOBS), max_size=len(KNOBS)))
def test_a_point_s_place_makes_the_same_point(shares: list[float]) -> None:
    values = point_at(KNOBS, shares)
    again = point_at(KNOBS, place_in(KNOBS, values).tolist())
    assert again.keys() == values.keys()
    for key, value in values.items():
        assert again[key] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=len(KNOBS), max_size=len(KNOBS)))
def test_many_points_at_once_have_the_coordinates_of_each(shares: list[float]) -> None:
    together = snapped(KNOBS, np.array([shares, shares]))
    assert np.allclose(together[0], coordinates(KNOBS, point_at(KNOBS, shares)), atol=1e-9)
    assert (together[0] == together[1]).all()


def test_coordinates_are_shares_of_the_range_and_choices_stand_apart() -> None:
    values = {"kind": "plain", "rate": 1e-3, "share": 0.5, "batch": 12, "width": 10}
    expected = [0.5, 0, 0, 0.5, 0.5, 1.0, math.log(10) / math.log(100), ABSENT, ABSENT]
    assert coordinates(KNOBS, values) == pytest.approx(expected)
    other = coordinates(KNOBS, {**values, "kind": True})
    assert np.abs(other - expected).sum() == 1.0


def test_a_knob_of_one_value_lies_at_its_beginning() -> None:
    assert share_of(Knob("one", "int", 3, 3), 3) == 0.0
