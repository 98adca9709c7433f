# ruff: noqa: RUF005 -- `point + [x, y]` moves a point here; it joins no lists.
"""The skull above the jaws: vault, cranial base with sella, orbit, nose, ear, and the spine that carries it."""

from dataclasses import dataclass

import numpy as np

from ceph_core.data.phantom.shapes import Points, ellipse, extreme, rotated, smooth, towards
from ceph_core.data.phantom.traits import Traits


@dataclass(frozen=True)
class Cranium:
    """Outlines (n, 2) and points (2,) in mm, head frame (sella at 0, 0)."""

    nasion: Points
    orbitale: Points
    porion: Points
    articulare: Points
    vault: Points  # closed: outer table, and the floor of the braincase
    outer_table: Points  # open: the vault as it shows on edge, nasion to basion
    inner_table: Points
    base_plates: tuple[Points, ...]  # open: orbital roofs, planum, sella, clivus
    basiocciput: Points  # closed wedge of bone under the sella; its lower border runs through articulare
    petrous: Points
    frontal_sinus: Points
    sphenoid_sinus: Points
    ethmoid: Points
    orbit: Points  # open: rim of the orbit; its lowest point is orbitale
    nasal_bone: Points
    ear_canal: Points  # closed; its highest point is porion
    vertebrae: tuple[Points, ...]
    processes: tuple[Points, ...]
    prevertebral: Points  # open: along the front of the spine, downwards


def build_cranium(traits: Traits, rng: np.random.Generator) -> Cranium:
    """The skull of these traits, with small independent variation."""

    def near(*xy: float, mm: float = 0.8) -> Points:
        return np.array(xy) + rng.normal(0, mm, 2)

    rise = -(traits.sn_deg - 7)
    nasion = traits.sn_mm * towards(-traits.sn_deg)
    crown = traits.vault

    front = [nasion, nasion + near(3.6, -7, mm=0.6), nasion + near(5.0, -15), nasion + near(4, -30, mm=1.2)]
    dome = np.array(
        [near(60, -62), near(40, -81), near(12, -93), near(-22, -97), near(-62, -88), near(-96, -62), near(-113, -25), near(-109, 8)]
    )
    dome *= [1 + (traits.sn_mm - 68) / 100, crown]
    occiput = [near(-93, 29), near(-70, 42), near(-48, 46)]
    basion = near(-25, 39, mm=1.2)
    outer_table = smooth([*front, *dome, *occiput, basion])

    width, depth = rng.normal(5.6, 0.5), rng.normal(4.6, 0.45)
    tuberculum, dorsum = np.array([width + 0.6, -depth]), np.array([-width - 0.2, -depth - 0.8])
    sella = smooth(
        [
            near(15, -6.2, mm=0.5), tuberculum, [width - 0.2, -depth * 0.25], [width * 0.6, depth * 0.75], [0, depth],
            [-width * 0.65, depth * 0.75], [-width + 0.1, -depth * 0.1], dorsum, dorsum + [-2.6, 0.6], [-width - 3.6, 2.5],
            near(-16, 19), basion,
        ],
        steps=12,
    )  # fmt: skip
    planum = smooth([nasion + [-7, -3], near(48, -11), near(31, -9), near(19, -7), near(15, -6.2, mm=0.2)])
    roofs = [
        smooth([nasion + [-5, -4 + lift], near(52, -15 + lift), near(36, -14 + lift), near(22, -8.5), near(11, -7, mm=0.5)])
        for lift in (0.0, -3.4)
    ]
    wing = smooth([near(27, -26, mm=1.5), near(22, -12), near(19, 0), near(21, 12), near(27, 22, mm=1.5)])

    articulare = near(-16, 31, mm=1.5)
    lower_border = smooth([basion, articulare, near(-7, 23), near(4, 17.5), near(16, 15), near(24, 12)])
    basiocciput = np.concatenate([lower_border, smooth([near(24, 4), [10, 8], [4, 8], [-6, 6], near(-15, 16), basion])])

    ear = near(-21, 22.5, mm=1.9)
    ear_canal = ellipse(ear, (rng.normal(4.2, 0.3), rng.normal(4.9, 0.35)), rng.normal(0, 12), num=72)
    petrous = smooth(
        [near(-5, 8), near(-16, 1), near(-30, -1), near(-44, 8), near(-50, 24), near(-42, 40, mm=2), near(-30, 36), near(-13, 26)],
        closed=True,
    )

    eye = near(57.5, 4.5, mm=1.5) + [0.35 * (traits.sn_mm - 68), rise * 0.8]
    rim_y = rng.normal(15.2, 0.8)
    orbit = smooth(
        [
            eye + [4, -16],
            eye + [-5, -13],
            eye + [-10, -5],
            eye + [-9.5, 6],
            eye + [-5.5, rim_y - 3],
            eye + [-0.5, rim_y],
            eye + [4, rim_y - 2.6],
        ]
    )

    rhinion = nasion + rotated([11.5, 20.5], rng.normal(0, 3.5))
    nasal_bone = np.concatenate(
        [
            smooth([nasion, nasion + [2.4, 6], nasion + [6.2, 13.5], rhinion]),
            smooth([rhinion, nasion + [3.0, 14], nasion + [-2.6, 6], nasion + [-4, -2]]),
        ]
    )

    sinus_height = float(np.clip(rng.normal(17, 5), 6, 28))
    frontal_sinus = smooth(
        [nasion + [-2.5, -4], nasion + [0.8, -9], nasion + [1.2, -sinus_height], nasion + [-2, -sinus_height - 2], nasion + [-6.5, -8]],
        closed=True,
    )
    sphenoid_sinus = smooth([near(17, -3), near(20, 6), near(12, 12), near(3, 10), near(7.5, 4, mm=0.4), near(9, -2, mm=0.4)], closed=True)
    ethmoid = smooth([near(44, -7), near(47, 6), near(40, 16), near(27, 15), near(22, 4), near(26, -5)], closed=True)

    vertebrae, processes, prevertebral = _build_spine(traits, rng)
    floor = smooth(
        [basion, near(-14, 17), [-width - 3, 2.5], dorsum, [0, -1], tuberculum, near(20, -8), near(36, -14), nasion + [-5, -6], nasion]
    )
    centre = np.array([-15.0, -15.0])
    inward = centre - outer_table
    thickness = (5.6 + rng.normal(0, 0.7)) * (1 + 0.25 * np.sin(np.linspace(0, 7, len(outer_table)) + rng.uniform(0, 6)))
    inner_table = outer_table + inward / np.linalg.norm(inward, axis=1, keepdims=True) * thickness[:, None]
    return Cranium(
        nasion=nasion,
        orbitale=extreme(orbit, (0, 1)),
        porion=extreme(ear_canal, (0, -1)),
        articulare=articulare,
        vault=np.concatenate([outer_table, floor]),
        outer_table=outer_table,
        inner_table=inner_table,
        base_plates=(sella, planum, *roofs, wing, lower_border),
        basiocciput=basiocciput,
        petrous=petrous,
        frontal_sinus=frontal_sinus,
        sphenoid_sinus=sphenoid_sinus,
        ethmoid=ethmoid,
        orbit=orbit,
        nasal_bone=nasal_bone,
        ear_canal=ear_canal,
        vertebrae=vertebrae,
        processes=processes,
        prevertebral=prevertebral,
    )


def _build_spine(traits: Traits, rng: np.random.Generator) -> tuple[tuple[Points, ...], tuple[Points, ...], Points]:
    """Bodies of C2 (with its dens) to C6, their arches and processes with those of C1, and the line along their front."""
    down, forward = towards(traits.neck_deg), towards(traits.neck_deg - 90)
    axes = np.stack([forward, down])
    top = np.array([-23.0, 57.0]) + rng.normal(0, 1.5, 2)
    bodies, processes, front = [], [], [top + forward * 9 - down * 12]
    for level in range(5):
        middle = top + down * (16.2 * level + 12) + forward * (1.6 - 0.4 * (level - 2) ** 2)
        w, h = 7.4 + 0.4 * level, 6.5
        box = np.array(
            [
                [-w, -h + 0.8],
                [0, -h + 1.2],
                [w - 0.6, -h - 0.2],
                [w - 0.9, 0],
                [w + 0.9, h + 0.6],
                [0, h - 0.6],
                [-w, h - 0.4],
                [-w + 0.9, 0],
            ]
        )
        if level == 0:
            box[:3] = [[-5.2, -12], [-0.5, -21.5], [4.2, -12]]
        bodies.append(smooth(middle + (box + rng.normal(0, 0.3, box.shape)) @ axes, closed=True, steps=6))
        pillar = np.array([[-w + 2, -6], [-w - 5, -9.5], [-w - 11, -5], [-w - 11.5, 4], [-w - 5, 7.5], [-w + 1.5, 4]])
        processes.append(smooth(middle + (pillar + rng.normal(0, 0.5, pillar.shape)) @ axes, closed=True, steps=6))
        reach = w + (31, 23, 22, 25, 31)[level] + rng.normal(0, 1.5)
        spinous = np.array(
            [[-w - 9, -3.5], [-w - 15, -1], [-reach + 3, 4], [-reach - 1, 8], [-reach, 12], [-reach + 5, 11.5], [-w - 15, 7.5], [-w - 9, 5]]
        )
        processes.append(smooth(middle + (spinous + rng.normal(0, 0.5, spinous.shape)) @ axes, closed=True, steps=6))
        front.append(middle + forward * w)
    arch = np.array([[-12, -8], [-22, -6.5], [-33, -6], [-37, -2.5], [-34, 0.5], [-22, -1.5], [-12, -1]])
    lateral_mass = np.array([[-2, -10], [-10, -13], [-14, -7], [-12, 1], [-3, 3], [1, -3]])
    tubercle = np.array([[6.2, -9.5], [9.8, -8], [9.8, -1.5], [6.6, 0], [5.8, -5]])
    processes += [smooth(top + part @ axes, closed=True, steps=6) for part in (arch, lateral_mass, tubercle)]
    return tuple(bodies), tuple(processes), smooth(front)
