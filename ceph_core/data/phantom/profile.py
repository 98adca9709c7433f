# ruff: noqa: RUF005 -- `point + [x, y]` moves a point here; it joins no lists.
"""The face: skin from scalp to neck, hung on the bones beneath it, and the airways behind it."""

from dataclasses import dataclass

import numpy as np

from ceph_core.data.phantom.cranium import Cranium
from ceph_core.data.phantom.jaws import Jaws
from ceph_core.data.phantom.shapes import Points, extreme, furthest_right, smooth, towards
from ceph_core.data.phantom.traits import Traits


@dataclass(frozen=True)
class Profile:
    """Outlines (n, 2) and points (2,) in mm, head frame."""

    upper_lip: Points
    lower_lip: Points
    subnasale: Points
    soft_pogonion: Points
    skin: Points  # closed
    nasal_airway: Points  # closed, as are all below
    pharynx: Points
    mouth_gap: Points
    tongue: Points
    hyoid: Points
    nostril: Points


def build_profile(traits: Traits, cranium: Cranium, jaws: Jaws, rng: np.random.Generator) -> Profile:
    """The soft tissue of these traits, with small independent variation.

    Lips and soft pogonion are the points furthest forward, subnasale where columella and upper lip meet deepest.
    """

    def near(*xy: float, mm: float = 0.5) -> Points:
        return np.array(xy) + rng.normal(0, mm, 2)

    lip = traits.lips_mm
    sn_knot = jaws.a + near(14.5 + 0.5 * lip, 1.5)
    tip = sn_knot + near(traits.nose_mm, -9.5, mm=0.8)
    upper = np.array([0.55 * jaws.upper_tip[0] + 0.45 * jaws.a[0] + 15.0 + lip, jaws.upper_tip[1] - 7.5])
    lower = np.array([0.6 * jaws.lower_tip[0] + 0.4 * jaws.b[0] + 15.2 + lip, jaws.lower_tip[1] + 7.5])
    stomion = np.array([min(upper[0], lower[0]) - 4.5, (upper[1] + lower[1]) / 2])
    chin = jaws.pogonion + [traits.chin_pad_mm, 0.5]
    # A chin that recedes takes the fold above it along: there is always one.
    fold = np.array([min(jaws.b[0] + 11.0 + 0.6 * lip, chin[0] - 2.2), (lower[1] + jaws.pogonion[1]) / 2 + 0.8])
    under = jaws.menton + near(1, 8.5)
    throat = jaws.gonion + near(21, 34, mm=2)

    nose_lip = smooth(
        [
            tip,
            tip + [-0.6, 4.2],
            sn_knot + [6, 0.2],
            sn_knot,
            sn_knot + [-0.1, 4],
            upper + [-1.6, -4.6],
            upper,
            upper + [-1.2, 3.6],
            stomion,
        ],
        steps=14,
    )
    jawline = (under + throat) / 2 + near(0, 1.5)
    lip_knots = [stomion, lower + [-1.4, -3.6], lower, lower + [-1.6, 4.0], fold]
    chin_knots = [fold, chin + [-1.1, -5.5], chin, chin + [-2.2, 7.0], under, jawline]
    lip_chin = smooth([*lip_knots, *chin_knots[1:]], steps=14)
    lower_lip, chin_pad = np.split(lip_chin, [14 * (len(lip_knots) - 1)])
    scalp_points = cranium.outer_table[25:-20:8]
    outward = scalp_points - np.array([-15.0, -20.0])
    scalp = scalp_points + outward / np.linalg.norm(outward, axis=1, keepdims=True) * (6.0 + rng.normal(0, 0.6))
    nasion = cranium.nasion
    brow = [nasion + near(9.0, -11), nasion + near(6.4, 1.5), nasion + near(11, 12), (nasion + [7, 0] + tip) / 2 + near(1.4, 1.5)]
    forehead = smooth([np.array([-94.0, 72.0]), *scalp[::-1], *brow, tip + [-3.2, -4.6], tip])
    down = towards(traits.neck_deg)
    neck = smooth([jawline, throat, throat + down * 26 + near(1, 0), throat + down * 130])
    nape = smooth([np.array([-120.0, 190.0]), np.array([-88.0, 118.0]), np.array([-94.0, 72.0])])
    skin = np.concatenate([forehead, nose_lip, lip_chin, neck, nape])

    pns, ans = jaws.posterior_spine, jaws.anterior_spine
    nasal_airway = smooth(
        [
            pns + near(2, -3),
            pns + near(0, -14),
            pns + near(10, -21),
            pns + near(26, -20),
            ans + near(-10, -19),
            ans + near(-5, -13),
            ans + near(-7, -4),
            (pns + ans) / 2 + near(0, -3),
        ],
        closed=True,
    )
    wall = cranium.prevertebral[8:42:8] + [5.5, 0] + np.linspace(0, 5, 5)[:, None] * [1, 0]
    root = (pns + jaws.gonion) / 2
    tongue_base = [wall[-1] + [10, 4], wall[-1] + [13, -8], root + [9, 14], root + [3, 0]]
    soft_palate = [pns + near(-9, 20), pns + near(-9, 10), pns + near(-3.5, 2)]
    pharynx = smooth([pns + near(-1, -11), pns + near(-11, -13), *wall, *tongue_base, *soft_palate], closed=True)
    gap = smooth(
        [stomion + [0.6, 0], jaws.upper_tip + [2, 3], jaws.upper_tip + [-5, 2.0], jaws.upper_tip + [-5, 0], jaws.upper_tip + [3, 0.5]],
        closed=True,
    )
    tongue = smooth(
        [
            pns + [-3, 12],
            pns + [8, 7.5],
            (pns + ans) / 2 + [2, 10],
            jaws.lower_tip + [-10, 3],
            jaws.b + [-10, 8],
            jaws.gonion + [18, 6],
            pns + [-4, 34],
        ],
        closed=True,
    )
    bone = jaws.gonion + near(16, 27, mm=2.0)
    hyoid = smooth(
        [bone, bone + [4, -2.5], bone + [6.5, 1], bone + [4, 5], bone + [-2, 3.6], bone + [-16, -2.4], bone + [-17, -4.4]], closed=True
    )
    nostril = smooth([tip + [-8, 4.2], tip + [-4.5, 4.4], tip + [-6, 6.8], tip + [-10.5, 7.2]], closed=True)
    return Profile(
        upper_lip=extreme(nose_lip[len(nose_lip) // 2 :], (1, 0)),
        lower_lip=extreme(lower_lip, (1, 0)),
        subnasale=furthest_right(nose_lip[: len(nose_lip) * 3 // 4], tip, upper),
        soft_pogonion=extreme(chin_pad, towards(traits.chin_deg)),
        skin=skin,
        nasal_airway=nasal_airway,
        pharynx=pharynx,
        mouth_gap=gap,
        tongue=tongue,
        hyoid=hyoid,
        nostril=nostril,
    )
