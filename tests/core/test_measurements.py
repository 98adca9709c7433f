"""Every formula on geometry worked out by hand, the file that defines them, intervals and agreement."""

import math

import numpy as np
import pytest

from ceph_core.errors import InputError
from ceph_core.landmarks import AARIZ29, ISBI19, canonical, numbered
from ceph_core.measurements import agreement, measure, read_definitions

BUILT_IN = read_definitions()


def at(degrees, length=1.0, start=(0.0, 0.0)):
    """A point in a direction: 0 ahead, 90 down, as angles run on a film."""
    return (start[0] + length * math.cos(math.radians(degrees)), start[1] + length * math.sin(math.radians(degrees)))


# A head that faces right, in mm from sella: skull base tilted up by 7 degrees, Frankfort level, mandibular plane 25 degrees down.
S, N = (0.0, 0.0), at(-7, 70)
PO, OR = (-15.0, 22.0), (60.0, 22.0)
A = at(180 - 7 - 82, 55, N)
B = at(180 - 7 - 79, 95, N)
GO = (5.0, 65.0)
ME = at(25, 70, GO)
LIT = (66.0, 70.0)
LIA = at(180 - 65, 22, LIT)  # 65 degrees to Frankfort: its apex lies down and back
UIT = (69.0, 71.0)
UIA = at(-7 - 180 + 77 - 0, 23, UIT)  # 103 degrees to the skull base
PNS, ANS = (20.0, 48.0), (70.0, 49.0)
POG = at(180 - 95, 110, N)
UMT, LMT, UPM, LPM = (40.0, 71.0), (40.0, 73.0), (52.0, 72.0), (52.0, 72.0)
PN, SOFT_POG, LS, LI = (95.0, 40.0), (75.0, 100.0), (84.0, 66.0), (80.0, 80.0)
HEAD = {
    "S": S, "N": N, "Po": PO, "Or": OR, "A": A, "B": B, "Go": GO, "Me": ME, "LIT": LIT, "LIA": LIA, "UIT": UIT, "UIA": UIA, "PNS": PNS,
    "ANS": ANS, "Pog": POG, "UMT": UMT, "LMT": LMT, "UPM": UPM, "LPM": LPM, "Pn": PN, "Pog'": SOFT_POG, "Ls": LS, "Li": LI,
}  # fmt: skip


def toward(one, other):
    """Direction of a line on the film, degrees."""
    return math.degrees(math.atan2(other[1] - one[1], other[0] - one[0]))


def ahead(one, other, line):
    direction = math.radians(toward(*line))
    return (one[0] - other[0]) * math.cos(direction) + (one[1] - other[1]) * math.sin(direction)


OCCLUSAL = ((40.0, 72.0), (52.0, 72.0))  # level: through the middle of the molars' and of the premolars' tips
PALATE = math.degrees(math.atan2(1, 50))
EXPECTED = {
    "SNA": 82.0,
    "SNB": 79.0,
    "ANB": 3.0,
    "SN-MP": 32.0,
    "FMA": 25.0,
    "FMIA": 65.0,
    "IMPA": 90.0,
    "U1-SN": 103.0,
    "interincisal": abs((toward(UIT, UIA) - toward(LIT, LIA) + 180) % 360 - 180),
    "Wits": A[0] - B[0],
    "ODI": toward(A, B) - 25.0 + PALATE,
    "APDI": (180 - toward(N, POG)) - (toward(A, B) - toward(N, POG)) + PALATE,
    "FHI": math.dist(S, GO) / math.dist(N, ME),
    "MW": math.dist(UIT, LIT),
}


def head_of(protocol):
    known = {canonical(symbol): point for symbol, point in HEAD.items()}
    return np.array([known.get(canonical(symbol), (30.0, 30.0)) for symbol in protocol.symbols])[None]


@pytest.mark.parametrize("facing", ["right", "left"])
@pytest.mark.parametrize("name", EXPECTED)
def test_by_hand(name, facing):
    points = head_of(AARIZ29) * ((-1, 1) if facing == "left" else (1, 1)) + (200, 100)
    found = measure(BUILT_IN, AARIZ29, points, np.ones((1, 2)))
    assert found.values[0, found.names.index(name)] == pytest.approx(EXPECTED[name], abs=1e-9)


def test_lips_against_the_line_from_nose_to_chin():
    found = measure(BUILT_IN, AARIZ29, head_of(AARIZ29), np.ones((1, 2)))
    direction = np.subtract(SOFT_POG, PN) / math.dist(PN, SOFT_POG)
    for name, lip in (("E-line upper lip", LS), ("E-line lower lip", LI)):
        on_line = np.array(PN) + np.dot(np.subtract(lip, PN), direction) * direction
        sign = 1 if lip[0] > on_line[0] else -1
        assert found.values[0, found.names.index(name)] == pytest.approx(sign * math.dist(lip, on_line))
    assert found.values[0, found.names.index("E-line upper lip")] < 0, "behind the line"


def test_what_every_formula_is_checked_by():
    assert set(EXPECTED) | {"E-line upper lip", "E-line lower lip"} == set(BUILT_IN.measurements)


def test_the_three_angles_of_tweed_are_a_triangle():
    points = np.random.default_rng(0).normal(head_of(AARIZ29)[0], 3, (50, 29, 2))
    found = measure(BUILT_IN, AARIZ29, points, np.ones((50, 2)))
    of = dict(zip(found.names, found.values.T, strict=True))
    np.testing.assert_allclose(of["FMA"] + of["FMIA"] + of["IMPA"], 180)
    np.testing.assert_allclose(of["ANB"], of["SNA"] - of["SNB"])


def test_anb_keeps_its_sign():
    points = head_of(ISBI19)
    swapped = points.copy()
    a, b = ISBI19.symbols.index("A"), ISBI19.symbols.index("B")
    swapped[0, a], swapped[0, b] = at(180 - 7 - 78, 55, N), at(180 - 7 - 82, 95, N)
    values = [measure(BUILT_IN, ISBI19, each, np.ones((1, 2))) for each in (points, swapped)]
    assert [round(each.values[0, each.names.index("ANB")], 6) for each in values] == [3.0, -4.0]
    place = values[0].names.index("ANB")
    assert [each.classes(place) for each in values] == [["class III"], ["class III"]], "3.2 is the challenge's limit"


def test_what_a_protocol_lacks_is_named():
    found = measure(BUILT_IN, ISBI19, head_of(ISBI19), np.ones((1, 2)))
    assert found.missing == {
        "FMIA": ("LIA",),
        "IMPA": ("LIA",),
        "U1-SN": ("UIA",),
        "interincisal": ("UIA", "LIA"),
        "Wits": ("UMT", "LMT", "UPM", "LPM"),
        "E-line upper lip": ("Pn",),
        "E-line lower lip": ("Pn",),
    }
    assert np.isnan(found.values[0, found.names.index("IMPA")])
    assert set(measure(BUILT_IN, numbered(38), np.zeros((1, 38, 2)), np.ones((1, 2))).missing) == set(BUILT_IN.measurements)


def test_without_mm_angles_stay_and_lengths_go():
    found = measure(BUILT_IN, ISBI19, head_of(ISBI19), None)
    assert found.values[0, found.names.index("SNA")] == pytest.approx(82)
    assert found.values[0, found.names.index("FHI")] == pytest.approx(EXPECTED["FHI"]), "a ratio needs none"
    assert found.missing["MW"] == ("mm a pixel",)


def test_pixels_need_not_be_square():
    spacing = np.array([[0.1, 0.25]])
    found = measure(BUILT_IN, AARIZ29, head_of(AARIZ29) / spacing, spacing)
    for name, value in EXPECTED.items():
        assert found.values[0, found.names.index(name)] == pytest.approx(value)


def test_a_missing_point_leaves_only_what_needs_it():
    points = head_of(ISBI19)
    points[0, ISBI19.symbols.index("B")] = np.nan
    found = measure(BUILT_IN, ISBI19, points, np.ones((1, 2)), np.ones((1, 19)))
    at = {name: found.values[0, place] for place, name in enumerate(found.names)}
    assert np.isnan([at["SNB"], at["ANB"], at["ODI"], at["APDI"]]).all() and at["SNA"] == pytest.approx(82)
    assert np.isnan(found.low[0, found.names.index("SNB")]) and np.isfinite(found.low[0, found.names.index("SNA")])


def test_intervals_hold_what_they_say():
    """Points drawn about the truth as their radii say: 95 % of intervals hold the true measurement."""
    rng = np.random.default_rng(1)
    deviation = rng.uniform(0.3, 1.5, (400, 19))
    found_at = head_of(ISBI19) + rng.standard_normal((400, 19, 2)) * deviation[..., None]
    radius = deviation * math.sqrt(2 * math.log(10))
    found = measure(BUILT_IN, ISBI19, found_at, np.ones((400, 2)), radius)
    true = measure(BUILT_IN, ISBI19, head_of(ISBI19), np.ones((1, 2)))
    for place, name in enumerate(found.names):
        if name not in found.missing and name != "MW":  # the sign of a length close to 0 makes its draws two heaps
            held = (found.low[:, place] <= true.values[0, place]) & (true.values[0, place] <= found.high[:, place])
            assert held.mean() == pytest.approx(0.95, abs=0.04), name


def test_agreement():
    rng = np.random.default_rng(0)
    points = rng.normal(head_of(ISBI19)[0], 2, (60, 19, 2))
    one = measure(BUILT_IN, ISBI19, points, np.ones((60, 2)))
    other = measure(BUILT_IN, ISBI19, points + rng.normal(0, 1, points.shape), np.ones((60, 2)))
    rows = {row.name: row for row in agreement(one, other)}
    place = one.names.index("SNA")
    difference = one.values[:, place] - other.values[:, place]
    assert rows["SNA"].difference == pytest.approx(difference.mean())
    assert rows["SNA"].high - rows["SNA"].low == pytest.approx(2 * 1.96 * difference.std(ddof=1))
    assert rows["SNA"].acceptable == pytest.approx((abs(difference) <= 2).mean())
    assert 0.3 < rows["SNA"].same_class < 1 and math.isnan(rows["SN-MP"].same_class)
    assert all(row.same_class == 1 for row in agreement(one, one) if not math.isnan(row.same_class))
    assert "IMPA" not in rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("measurements: {}", "measurements"),
        ("measurements: {X: {unit: deg}}", "needs exactly one of angle"),
        ("measurements: {X: {unit: deg, angle: [[S, N], [N, A]], distance: [S, N]}}", "got angle, distance"),
        ("measurements: {X: {unit: deg, sum: [Y]}}", "X: sum names 'Y', which is not defined"),
        ("measurements: {X: {unit: deg, sum: [Y]}, Y: {unit: deg, sum: [-X]}}", "is part of its own sum"),
        ("measurements: {X: {unit: inch, distance: [S, N]}}", "unit"),
        ("measurements: {X: {unit: mm, distance: [S, N], classes: [{name: a, below: 3}, {name: b, below: 2}, {name: c}]}}", "must rise"),
        ("measurements: {X: {unit: mm, distance: [S, N], classes: [{name: a}, {name: b}]}}", "every class but the last has a limit"),
        ("measurements: {X: {unit: mm, distance: [S, N], colour: red}}", "colour"),
        ("{torn", "is no YAML"),
    ],
)
def test_a_wrong_file_is_told(tmp_path, text, said):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=r"mine\.yaml") as caught:
        read_definitions(tmp_path / "mine.yaml")
    assert said in str(caught.value)


def test_a_file_of_ones_own(tmp_path):
    text = "measurements: {lower face: {unit: mm, distance: [ANS, Me]}, half: {unit: mm, distance: ['mid(S, N)', N]}}"
    (tmp_path / "mine.yaml").write_text(text)
    found = measure(read_definitions(tmp_path / "mine.yaml"), ISBI19, head_of(ISBI19), np.ones((1, 2)))
    assert found.values[0].tolist() == pytest.approx([math.dist(ANS, ME), 35.0])
    with pytest.raises(InputError, match="cannot be read"):
        read_definitions(tmp_path / "gone.yaml")
