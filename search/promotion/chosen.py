"""The ensemble that was chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

from ceph_core.inference.ensemble import Combination
from ceph_core.inference.selection import Selection
from search.promotion.networks import Entry, Network


@dataclass(frozen=True)
class Chosen:
    """Entries, and the networks they are made of with the weight of each."""

    entries: tuple[Entry, ...]
    networks: tuple[Network, ...]
    weights: tuple[float, ...]
    combine: Combination

    @classmethod
    def of(cls, pool: Sequence[Entry], selection: Selection) -> "Chosen":
        """What a selection among the pool came to."""
        picked = tuple(pool[index] for index in selection.members)
        networks = tuple(network for entry in picked for network in entry.networks)
        weights = tuple(
            weight / len(entry.networks) for entry, weight in zip(picked, selection.weights, strict=True) for _ in entry.networks
        )
        alone = selection.combine == "single" and len(networks) > 1
        return cls(picked, networks, weights, "coordinate_mean" if alone else selection.combine)
