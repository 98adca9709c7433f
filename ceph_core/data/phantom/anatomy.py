"""One head: traits, skull, jaws and face, drawn from one generator, with its landmarks in the order of the protocol."""

from dataclasses import dataclass

import numpy as np

from ceph_core.data.phantom.cranium import Cranium, build_cranium
from ceph_core.data.phantom.jaws import Jaws, build_jaws
from ceph_core.data.phantom.profile import Profile, build_profile
from ceph_core.data.phantom.shapes import Points
from ceph_core.data.phantom.traits import Traits, sample_traits
from ceph_core.landmarks import ISBI19


@dataclass(frozen=True)
class Head:
    """All that is drawn of one head, mm in the head frame."""

    traits: Traits
    cranium: Cranium
    jaws: Jaws
    profile: Profile

    def landmarks(self) -> Points:
        """(19, 2) mm, in the order of `ISBI19`."""
        skull, jaws, face = self.cranium, self.jaws, self.profile
        by_symbol = {
            "S": np.zeros(2), "N": skull.nasion, "Or": skull.orbitale, "Po": skull.porion, "Ar": skull.articulare,
            "A": jaws.a, "ANS": jaws.anterior_spine, "PNS": jaws.posterior_spine, "UIT": jaws.upper_tip, "LIT": jaws.lower_tip,
            "B": jaws.b, "Pog": jaws.pogonion, "Gn": jaws.gnathion, "Me": jaws.menton, "Go": jaws.gonion,
            "UL": face.upper_lip, "LL": face.lower_lip, "Sn": face.subnasale, "Pog'": face.soft_pogonion,
        }  # fmt: skip
        return np.stack([by_symbol[symbol] for symbol in ISBI19.symbols])


def sample_head(rng: np.random.Generator) -> Head:
    """Draw one head."""
    traits = sample_traits(rng)
    cranium = build_cranium(traits, rng)
    jaws = build_jaws(traits, cranium, rng)
    return Head(traits, cranium, jaws, build_profile(traits, cranium, jaws, rng))
