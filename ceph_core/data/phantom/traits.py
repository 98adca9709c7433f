"""Who is drawn: a few correlated numbers from which the whole head follows.

Means and spreads are textbook adult norms (Steiner, Downs, Ricketts); the correlations are the usual compensations: a
steep mandibular plane goes with a long lower face, a retruded chin with proclined lower incisors.
"""

from dataclasses import dataclass

import numpy as np

MEAN_FMA_DEG = 25.5


@dataclass(frozen=True)
class Traits:
    """One head.  Angles in degrees, lengths in mm."""

    size: float  # of everything, 1.0 = adult mean
    sn_mm: float  # length of the anterior cranial base
    sn_deg: float  # its rise above the Frankfort horizontal
    sna_deg: float
    anb_deg: float  # skeletal class: about 0-4 is I, above II, below III
    fma_deg: float  # mandibular plane to Frankfort horizontal
    palate_deg: float
    midface_mm: float  # nasion to A point
    lower_face_mm: float  # A to B point
    body_mm: float  # gonion to menton
    overbite_mm: float
    upper_incisor_deg: float  # long axis, 90 = upright
    lower_incisor_deg: float
    chin_mm: float  # prominence of the bony chin
    vault: float  # height of the vault, 1.0 = mean
    nose_mm: float  # tip in front of subnasale
    lips_mm: float  # thickness beyond the mean
    chin_pad_mm: float  # soft tissue before pogonion
    neck_deg: float  # slant of the cervical spine

    @property
    def chin_deg(self) -> float:
        """Turn of the chin with the mandibular plane, down and back: its foremost and lowest points are taken in this frame."""
        return 0.5 * (self.fma_deg - MEAN_FMA_DEG)


def sample_traits(rng: np.random.Generator) -> Traits:
    """Draw a head; every number is bounded at 2.2 standard deviations."""

    def normal() -> float:
        return float(np.clip(rng.standard_normal(), -2.2, 2.2))

    skeletal, vertical, sex = normal(), normal(), normal()
    size = 1.0 + 0.035 * sex + 0.015 * normal()
    anb = 2.6 + 2.7 * skeletal
    sn_deg = 7.0 + 2.4 * normal()
    fma = MEAN_FMA_DEG + 4.2 * vertical + 0.5 * (anb - 2.6)
    return Traits(
        size=size,
        sn_mm=68 + 2.0 * normal(),
        sn_deg=sn_deg,
        sna_deg=81.5 + 2.6 * normal() - 0.35 * (sn_deg - 7) + 0.3 * (anb - 2.6),
        anb_deg=anb,
        fma_deg=fma,
        palate_deg=0.5 + 2.4 * normal(),
        midface_mm=56 + 2.0 * normal(),
        lower_face_mm=38 + 1.6 * vertical + 1.4 * normal(),
        body_mm=70 + 1.8 * normal() - 1.0 * skeletal,
        overbite_mm=2.6 - 0.8 * vertical + 0.9 * normal(),
        upper_incisor_deg=63 + 1.1 * (anb - 2.6) + 4.0 * normal(),
        lower_incisor_deg=61 - 1.2 * (anb - 2.6) + 0.35 * (fma - MEAN_FMA_DEG) + 3.5 * normal(),
        chin_mm=max(0.5, 2.0 - 0.5 * vertical + 0.8 * normal()),
        vault=1.0 + 0.035 * normal(),
        nose_mm=15.5 + 1.2 * sex + 1.6 * normal(),
        lips_mm=1.3 * normal(),
        chin_pad_mm=11.5 + 1.4 * normal() + 0.6 * sex,
        neck_deg=97 + 5 * normal(),
    )
