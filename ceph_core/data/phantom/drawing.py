"""One film: a head posed before the beam, its attenuation added up, and exposed."""

import numpy as np
from numpy.typing import NDArray

from ceph_core.data.phantom.anatomy import Head, sample_head
from ceph_core.data.phantom.density import Density
from ceph_core.data.phantom.exposure import expose
from ceph_core.data.phantom.shapes import rotated, smooth

DRAWING_VERSION = 1
"""Raised whenever the same numbers give another film, so that cached films are never mixed."""
HEIGHT, WIDTH = 800, 640
"""Size of a film, px."""
MARGIN = 20
"""No landmark lies nearer than this to the film's edge, px."""


def draw(seed: int, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float64], float]:
    """Draw a film: a pure function of its two numbers.

    Returns:
        (800, 640) grey film, bright bone; (19, 2) landmarks in its pixels, order of `ISBI19`; mm per pixel.
    """
    head, affine, points_px, spacing_mm = place(seed, index)
    rng = np.random.default_rng([seed, index, 1])
    density = Density((HEIGHT, WIDTH), affine)
    draw_head(density, head, rng)
    return expose(density, spacing_mm, rng), points_px, spacing_mm


def place(seed: int, index: int) -> tuple[Head, NDArray[np.float64], NDArray[np.float64], float]:
    """What a film will show: the head, (2, 3) from its mm to film pixels, (19, 2) landmarks in film pixels, mm per pixel."""
    rng = np.random.default_rng([seed, index, 0])
    head = sample_head(rng)
    spacing_mm = round(float(rng.uniform(0.285, 0.315)), 4)
    affine = _pose(head, spacing_mm, rng)
    return head, affine, head.landmarks() @ affine[:, :2].T + affine[:, 2], spacing_mm


def draw_head(density: Density, head: Head, rng: np.random.Generator) -> None:
    """Add all of a head to a map; `rng` places what has no landmark: air cells, clutter, the shadow of the far side."""
    _draw_soft_tissue(density, head)
    _draw_cranium(density, head, rng)
    _draw_spine(density, head)
    _draw_jaws(density, head, rng)


def _pose(head: Head, spacing_mm: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, 3) from mm in the head frame to film pixels: size, nod, and where the patient stood, pushed back onto the film."""
    nod = np.deg2rad(rng.normal(0, 3.0))
    turn = np.array([[np.cos(nod), -np.sin(nod)], [np.sin(nod), np.cos(nod)]]) * (head.traits.size / spacing_mm)
    stand = np.array([0.44 * WIDTH, 0.43 * HEIGHT]) + rng.normal(0, [4.6, 5.2]) / spacing_mm
    px = head.landmarks() @ turn.T + stand
    stand += np.maximum(MARGIN - px.min(axis=0), 0) - np.maximum(px.max(axis=0) - [WIDTH - MARGIN, HEIGHT - MARGIN], 0)
    return np.concatenate([turn, stand[:, None]], axis=1)


def _draw_soft_tissue(density: Density, head: Head) -> None:
    face = head.profile
    density.body(face.skin, 0.42, 42)
    density.body(face.tongue, 0.08, 12, blur_mm=1.2)
    density.body(face.pharynx, -0.20, 5, blur_mm=0.6)
    density.body(face.nostril, -0.10, 2.5, blur_mm=0.5)
    density.body(face.mouth_gap, -0.10, 2, blur_mm=0.4)
    density.bone(face.hyoid, 0.22, 0.12, 1.2, blur_mm=0.3)


def _draw_cranium(density: Density, head: Head, rng: np.random.Generator) -> None:
    skull = head.cranium
    density.body(skull.vault, 0.72, 34, blur_mm=2.0)
    density.body(np.concatenate([skull.outer_table, skull.inner_table[::-1]]), 0.34, 2.6, blur_mm=0.6)
    density.plate(skull.outer_table, 0.16, 1.2, blur_mm=0.3)
    density.plate(skull.inner_table, 0.20, 1.0, blur_mm=0.35)
    density.cells(skull.vault, 0.05, 16, rng)
    density.body(skull.petrous, 0.38, 16, blur_mm=3.0)
    density.cells(skull.petrous, 0.05, 1.6, rng)
    density.cells(skull.petrous, 0.08, 4.0, rng)
    density.body(skull.basiocciput, 0.26, 4, blur_mm=0.8)
    for plate in skull.base_plates:
        density.plate(plate, 0.24, 0.9, blur_mm=0.22)
        density.plate(plate, 0.10, 2.6, blur_mm=0.7)
    density.body(skull.sphenoid_sinus, -0.12, 4, blur_mm=0.5)
    density.body(skull.frontal_sinus, -0.20, 3, blur_mm=0.4)
    density.body(skull.ethmoid, 0.12, 8, blur_mm=1.0)
    density.cells(skull.ethmoid, 0.10, 4, rng)
    density.plate(skull.orbit, 0.26, 1.5, blur_mm=0.35)
    density.plate(skull.orbit + rng.normal(0, 1.4, 2), 0.10, 1.4, blur_mm=0.5)
    density.bone(skull.nasal_bone, 0.30, 0.2, 1.0, blur_mm=0.25)
    density.body(skull.ear_canal, -0.45, 3, blur_mm=0.25)
    density.plate(skull.ear_canal, 0.50, 1.2, blur_mm=0.3, closed=True)
    _draw_clutter(density, rng)


def _draw_clutter(density: Density, rng: np.random.Generator) -> None:
    """Fine plates of the skull base and sinuses, seen on edge at random: what superimposition leaves there."""
    for centre, spread, num in (((34.0, 4.0), (9.0, 7.0), 9), ((-30.0, 18.0), (11.0, 9.0), 8), ((4.0, 12.0), (9.0, 4.0), 5)):
        for middle in rng.normal(centre, spread, (num, 2)):
            along = rotated([[-rng.uniform(4, 11), 0], [0, rng.normal(0, 2.5)], [rng.uniform(4, 11), 0]], rng.uniform(0, 180))
            density.plate(smooth(middle + along), rng.uniform(0.05, 0.13), rng.uniform(0.6, 1.4), blur_mm=0.35)


def _draw_spine(density: Density, head: Head) -> None:
    skull = head.cranium
    for body in skull.vertebrae:
        density.bone(body, 0.42, 0.24, 1.5, blur_mm=0.3)
    for process in skull.processes:
        density.bone(process, 0.22, 0.12, 1.4, blur_mm=0.4)


def _draw_jaws(density: Density, head: Head, rng: np.random.Generator) -> None:
    jaws, face = head.jaws, head.profile
    density.body(face.nasal_airway, -0.12, 6, blur_mm=0.8)
    density.body(jaws.midface, 0.16, 7, blur_mm=1.2)
    density.body(jaws.maxilla, 0.24, 3, blur_mm=0.5)
    density.plate(jaws.maxilla_front, 0.20, 0.9, blur_mm=0.2)
    density.bone(jaws.palate, 0.30, 0.24, 0.9, blur_mm=0.2)
    density.body(jaws.antrum, -0.10, 6, blur_mm=0.5)
    density.plate(jaws.antrum, 0.16, 0.9, blur_mm=0.3, closed=True)
    density.plate(jaws.malar, 0.22, 1.8, blur_mm=0.5)
    density.body(jaws.fissure, -0.14, 2, blur_mm=0.4)
    density.plate(jaws.fissure, 0.14, 0.8, blur_mm=0.3, closed=True)
    density.bone(jaws.mandible, 0.44, 0.19, 2.2, blur_mm=0.25)
    density.bone(jaws.mandible + rng.normal([-1.2, -0.6], 1.0), 0.14, 0.07, 2.4, blur_mm=0.6)
    density.cells(jaws.mandible, 0.035, 1.6, rng)
    density.plate(jaws.canal, -0.06, 2.2, blur_mm=0.6)
    for teeth in (jaws.upper_teeth, jaws.lower_teeth):
        for tooth in teeth:
            density.body(tooth, 0.22, 2.5, blur_mm=0.15)
    for crown in jaws.crowns:
        density.body(crown, 0.28, 2.0, blur_mm=0.15)
