# ruff: noqa: RUF005 -- `point + [x, y]` moves a point here; it joins no lists.
"""Maxilla, mandible and teeth, hung on the skull by the traits' angles and lengths."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ceph_core.data.phantom.cranium import Cranium
from ceph_core.data.phantom.shapes import Points, extreme, furthest_right, rotated, smooth, spanned, towards
from ceph_core.data.phantom.traits import Traits

# Half a tooth's outline: share of the way from the edge to the root's tip, and half width in mm.
INCISOR = ((0.0, 0.5), (0.1, 1.9), (0.3, 3.3), (0.42, 3.1), (0.7, 2.2), (0.93, 1.1), (1.0, 0.0))
MOLAR = ((0.0, 2.6), (0.06, 4.2), (0.22, 4.9), (0.36, 4.3), (0.6, 3.6), (0.9, 2.2), (1.0, 1.0))
PREMOLAR = ((0.0, 0.9), (0.08, 2.4), (0.25, 3.3), (0.38, 2.9), (0.65, 2.2), (0.92, 1.1), (1.0, 0.0))
CROWN = 0.4
"""Share of a tooth that is crown."""


@dataclass(frozen=True)
class Jaws:
    """Outlines (n, 2) and points (2,) in mm, head frame."""

    a: Points
    anterior_spine: Points
    posterior_spine: Points
    upper_tip: Points
    lower_tip: Points
    b: Points
    pogonion: Points
    gnathion: Points
    menton: Points
    gonion: Points
    maxilla: Points  # closed: palate, alveolar process
    maxilla_front: Points  # open: anterior spine to the alveolar crest
    midface: Points  # closed: bone between nasion, spines and sphenoid
    palate: Points  # closed wedge between its two spines
    antrum: Points  # closed: maxillary sinus
    malar: Points  # open: key ridge, the zygomatic process on edge
    fissure: Points  # closed: pterygomaxillary fissure
    mandible: Points  # closed
    canal: Points  # open: mandibular canal
    upper_teeth: tuple[Points, ...]  # closed, incisor first
    lower_teeth: tuple[Points, ...]
    crowns: tuple[Points, ...]  # closed: the enamel of every tooth


def build_jaws(traits: Traits, cranium: Cranium, rng: np.random.Generator) -> Jaws:
    """The jaws of these traits, with small independent variation.

    A and B are where the fronts of the jaws are deepest, pogonion, gnathion and menton the chin's furthest points forward,
    forward-down and down, gonion the point of the angle furthest from the line articulare - menton: all found on the
    outlines that are drawn.
    """

    def near(*xy: float, mm: float = 0.7) -> Points:
        return np.array(xy) + rng.normal(0, mm, 2)

    down = 180 - traits.sn_deg
    a_knot = cranium.nasion + traits.midface_mm * towards(down - traits.sna_deg)
    b_way = towards(down - (traits.sna_deg - traits.anb_deg))
    b_knot = cranium.nasion + b_way * (a_knot[1] + traits.lower_face_mm - cranium.nasion[1]) / b_way[1]

    tilt = traits.palate_deg
    anterior_spine = a_knot + rotated(near(4.6, -5.6, mm=0.6), tilt)
    posterior_spine = anterior_spine - (51 + rng.normal(0, 1.5)) * towards(tilt)
    edge_y = a_knot[1] + 0.60 * (b_knot[1] - a_knot[1])
    compensation = 0.35 * (traits.anb_deg - 2.6)
    upper_tip = np.array([a_knot[0] + 4.4 - compensation, edge_y + traits.overbite_mm / 2]) + rng.normal(0, 0.6, 2)
    lower_tip = np.array([b_knot[0] + 6.2 + compensation, edge_y - traits.overbite_mm / 2]) + rng.normal(0, 0.6, 2)
    upper_axis, lower_axis = -towards(traits.upper_incisor_deg), towards(180 - traits.lower_incisor_deg)
    upper_root, lower_root = upper_tip + 23.5 * upper_axis, lower_tip + 21.5 * lower_axis

    prosthion = upper_tip + 10.0 * upper_axis + 3.4 * towards(traits.upper_incisor_deg - 90)
    infradentale = lower_tip + 9.4 * lower_axis + 3.2 * towards(90 - traits.lower_incisor_deg)
    front = smooth([anterior_spine, a_knot + [1.4, -3.6], a_knot, spanned(a_knot, prosthion, [(0.55, 0.9)])[0], prosthion], steps=16)

    plane_deg = float(np.clip(6 + 0.9 * traits.chin_deg + rng.normal(0, 1.5), -3, 16))
    occlusal = towards(180 + plane_deg)
    contact = (upper_tip + lower_tip) / 2 - [0, 0.4]
    row = np.array([8.0, 14.8, 21.6, 30.2, 40.0])
    upper = [_tooth(upper_tip, upper_root, INCISOR)]
    lower = [_tooth(lower_tip, lower_root, INCISOR)]
    for place, (distance, form) in enumerate(zip(row, (PREMOLAR, PREMOLAR, PREMOLAR, MOLAR, MOLAR), strict=True)):
        length = (25, 21, 20.5, 19.5, 18.5)[place]
        lean = (1 - place / 4) * 14
        upper_edge = contact + occlusal * (distance - 1.5) + rotated([0, 0.6], plane_deg) + rng.normal(0, 0.35, 2)
        lower_edge = contact + occlusal * (distance + 1.8) + rotated([0, 0.9], plane_deg) + rng.normal(0, 0.35, 2)
        upper.append(_tooth(upper_edge, upper_edge - length * towards(88 + plane_deg - lean), form))
        lower.append(_tooth(lower_edge, lower_edge + (length - 0.5) * towards(96 + plane_deg + lean * 0.6), form))

    back = contact + occlusal * 47
    under_palate = [contact + occlusal * 14 + [0, -8.5], contact + occlusal * 32 + [0, -7.5], back + [0, -11]]
    behind = smooth([prosthion + [-5, 0.5], *under_palate, posterior_spine + [2.5, 7], posterior_spine])
    maxilla = np.concatenate([front, behind])
    floor = (posterior_spine + anterior_spine) / 2
    nasal_side = smooth([posterior_spine, floor + [0, -0.8], anterior_spine])
    oral_side = smooth(
        [anterior_spine + [-1.2, 1.6], anterior_spine + [-9, 5.2], floor + [2, 4.6], posterior_spine + [10, 2.6], posterior_spine]
    )
    palate = np.concatenate([nasal_side, oral_side])
    antrum_knots = ((13, -5), (10, -22), (-4, -27), (-17, -22), (-19, -6), (-10, 3), (4, 3))
    antrum = smooth([floor + near(*knot) for knot in antrum_knots], closed=True)
    key = contact + occlusal * 27 + [0, -25]
    malar = smooth([key + near(10, -16), key + near(7, -6), key + near(1.5, 1), key + near(-4, -6), key + near(-5.5, -18)])
    fissure = smooth(
        [
            posterior_spine + near(-2, -5),
            posterior_spine + near(2.6, -16),
            posterior_spine + near(1.5, -24),
            posterior_spine + near(-3.4, -21),
        ],
        closed=True,
    )

    nasion = cranium.nasion
    midface_front = [nasion + [-1, 2], nasion + [3, 16], *(anterior_spine + [[-3, -22], [-5, -8], [-1, 0]])]
    midface = smooth([*midface_front, posterior_spine, posterior_spine + [0, -26], nasion + [-42, 6]], closed=True)

    turn = traits.chin_deg
    pogonion_knot = b_knot + rotated([traits.chin_mm, 15.5], turn)
    menton_knot = b_knot + rotated(near(-6.0, 25.0, mm=0.5), turn)
    below = b_knot + rotated([traits.chin_mm - 1.2, 21.8], turn)
    angle_knot = menton_knot - traits.body_mm * towards(traits.fma_deg)
    articulare = cranium.articulare
    posterior = spanned(articulare, angle_knot, [(0.3, -0.7), (0.6, -1.0), (0.85, 0.9)]) + rng.normal(0, 0.35, (3, 2))
    under = spanned(angle_knot, menton_knot, [(0.13, 1.6), (0.34, -0.9), (0.55, -0.6), (0.82, 1.0)]) + rng.normal(0, 0.3, (4, 2))
    alveolus = spanned(infradentale, b_knot, [(0.5, 0.2)])[0]
    chin_knots = [infradentale, alveolus, b_knot, spanned(b_knot, pogonion_knot, [(0.5, 0.3)])[0], pogonion_knot, below, menton_knot]
    outline = smooth([*chin_knots, *under[::-1], *posterior[::-1], articulare], steps=16)
    chin, border = np.split(outline, [16 * (len(chin_knots) - 1)])

    condyle = articulare + near(8.0, -12.5, mm=0.6)
    head = [articulare + [2.2, -7.5], condyle + [-4.4, 0.2], condyle + [0.2, -2.8], condyle + [4.2, 1.0], condyle + [2.6, 6.4]]
    coronoid = condyle + near(26, 5.5, mm=1.2)
    crest = contact + occlusal * 50 + [0, 7.5]
    notch = [condyle + [9, 12], condyle + [16, 13], coronoid + [-4, 3], coronoid, coronoid + [3.2, 5]]
    sockets = [contact + occlusal * 34 + [0, 9.5], contact + occlusal * 14 + [0, 9.5], infradentale + [-6.5, 0.5]]
    top = [*head, *notch, crest + [4, -8], crest + [5.5, 0.5], *sockets]
    mandible = np.concatenate([chin, border, smooth([articulare, *top])])
    canal = smooth(
        [
            condyle + [8, 30],
            angle_knot + [13, -21],
            angle_knot + [24, -10],
            spanned(angle_knot, menton_knot, [(0.58, -13)])[0],
            spanned(angle_knot, menton_knot, [(0.74, -16)])[0],
        ]
    )

    symphysis = np.concatenate([chin[len(chin) // 3 :], border[: len(border) // 3]])
    pogonion = extreme(symphysis, towards(turn))
    return Jaws(
        a=furthest_right(front, anterior_spine, prosthion),
        anterior_spine=anterior_spine,
        posterior_spine=posterior_spine,
        upper_tip=upper_tip,
        lower_tip=lower_tip,
        b=furthest_right(chin[: len(chin) * 2 // 3], infradentale, pogonion),
        pogonion=pogonion,
        gnathion=extreme(symphysis, towards(turn + 45)),
        menton=extreme(symphysis, towards(turn + 90)),
        gonion=furthest_right(border, articulare, menton_knot),
        maxilla=maxilla,
        maxilla_front=front,
        midface=midface,
        palate=palate,
        antrum=antrum,
        malar=malar,
        fissure=fissure,
        mandible=mandible,
        canal=canal,
        upper_teeth=tuple(tooth for tooth, _ in upper),
        lower_teeth=tuple(tooth for tooth, _ in lower),
        crowns=tuple(crown for _, crown in (*upper, *lower)),
    )


def _tooth(edge: Points, root: Points, form: Sequence[tuple[float, float]]) -> tuple[Points, Points]:
    """Closed outlines of a whole tooth and of its crown."""
    half = np.array(form)
    crown = half[half[:, 0] <= CROWN]
    return tuple(spanned(edge, root, np.concatenate([side, side[::-1] * [1, -1]])) for side in (half, crown))  # type: ignore[return-value]
