"""The ensemble that was chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

from ceph_core.inference.ensemble import Combination
from ceph_core.inference.selection import Selection
from search.promotion.networks import Entry, Network


@dataclass(frozen=True)
class Chosen:
    """Entries, how often each is picked, and the networks they are made of with the weight of each."""

    entries: tuple[Entry, ...]
    counts: tuple[int, ...]
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
        counts = tuple(selection.picks.count(index) for index in selection.members)
        return cls(picked, counts, networks, weights, _together(selection.combine, networks))

    @classmethod
    def final(cls, entries: Sequence[Entry], combine: Combination) -> "Chosen":
        """The final networks, which weigh the same: how many each configuration has follows its weight in the selection."""
        networks = tuple(network for entry in entries for network in entry.networks)
        return cls(tuple(entries), (1,) * len(entries), networks, (1 / len(networks),) * len(networks), _together(combine, networks))


def _together(combine: Combination, networks: Sequence[Network]) -> Combination:
    """The rule by which these networks are combined, where a single entry was chosen, too."""
    if len(networks) == 1:
        return "single"
    return "coordinate_mean" if combine == "single" else combine
