"""Landmark protocols: which points a data set marks, in which order, and which points two of them share."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """An ordered set of landmarks.  Arrays of points follow this order everywhere."""

    name: str
    symbols: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        assert len(self.symbols) == len(self.names) == len(set(self.symbols))

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def is_numbered(self) -> bool:
        """Whether the points have numbers for names, so that nobody may say what they are."""
        return all(symbol.isdecimal() for symbol in self.symbols)

    def shared_with(self, other: "Protocol") -> tuple[tuple[int, int], ...]:
        """Places (here, there) of the points that both mark, in this protocol's order.

        Numbers mean nothing outside their own set: numbered protocols share points only if they are the same.
        """
        if self.is_numbered or other.is_numbered:
            return tuple((place, place) for place in range(len(self))) if self == other else ()
        there = {canonical(symbol): place for place, symbol in enumerate(other.symbols)}
        found = ((here, there.get(canonical(symbol))) for here, symbol in enumerate(self.symbols))
        return tuple((here, place) for here, place in found if place is not None)


# Order of the IEEE ISBI 2015 challenge (Wang et al., Medical Image Analysis 2016, table 1).
ISBI19 = Protocol(
    name="isbi-19",
    symbols=("S", "N", "Or", "Po", "A", "B", "Pog", "Me", "Gn", "Go", "LIT", "UIT", "UL", "LL", "Sn", "Pog'", "PNS", "ANS", "Ar"),
    names=(
        "sella", "nasion", "orbitale", "porion", "subspinale", "supramentale", "pogonion", "menton", "gnathion", "gonion",
        "lower incisor tip", "upper incisor tip", "upper lip", "lower lip", "subnasale", "soft-tissue pogonion",
        "posterior nasal spine", "anterior nasal spine", "articulare",
    ),
)  # fmt: skip

# Order of the Aariz set (CEPHA29; Khalid et al., Scientific Data 2025), its backticks written as primes.
AARIZ29 = Protocol(
    name="aariz-29",
    symbols=(
        "A", "ANS", "B", "Me", "N", "Or", "Pog", "PNS", "Pn", "R", "S", "Ar", "Co", "Gn", "Go", "Po", "LPM", "LIT", "LMT", "UPM", "UIA",
        "UIT", "UMT", "LIA", "Li", "Ls", "N'", "Pog'", "Sn",
    ),
    names=(
        "subspinale", "anterior nasal spine", "supramentale", "menton", "nasion", "orbitale", "pogonion", "posterior nasal spine",
        "pronasale", "ramus", "sella", "articulare", "condylion", "gnathion", "gonion", "porion", "lower second premolar cusp tip",
        "lower incisor tip", "lower molar cusp tip", "upper second premolar cusp tip", "upper incisor apex", "upper incisor tip",
        "upper molar cusp tip", "lower incisor apex", "lower lip", "upper lip", "soft-tissue nasion", "soft-tissue pogonion", "subnasale",
    ),
)  # fmt: skip

PROTOCOLS = {protocol.name: protocol for protocol in (ISBI19, AARIZ29)}

_SYNONYMS = {"UL": "Ls", "LL": "Li", "Prn": "Pn"}
"""Symbols of one point that go by two names: upper lip is labrale superius, lower lip labrale inferius, pronasale has two."""


def canonical(symbol: str) -> str:
    """The one name of a point: backticks and curly quotes are primes, synonyms are settled."""
    plain = symbol.strip()
    for prime in "`´’′":
        plain = plain.replace(prime, "'")
    return _SYNONYMS.get(plain, plain)


def numbered(count: int) -> Protocol:
    """Points that a data set only numbers, from 1; nothing clinical may be derived from them."""
    numbers = tuple(str(number) for number in range(1, count + 1))
    return Protocol(f"numbered-{count}", numbers, tuple(f"landmark {number}" for number in numbers))


def protocol_of(symbols: Sequence[str]) -> Protocol:
    """The known protocol of exactly these points, under any synonyms and in any order; else one of their own, in the order given.

    Raises:
        ValueError: a point is there twice.
    """
    wanted = [canonical(symbol) for symbol in symbols]
    twice = sorted({symbol for symbol, name in zip(symbols, wanted, strict=True) if wanted.count(name) > 1})
    if twice:
        raise ValueError(f"landmarks {', '.join(twice)} are there more than once")
    for protocol in PROTOCOLS.values():
        if {canonical(symbol) for symbol in protocol.symbols} == set(wanted):
            return protocol
    if sorted(wanted) == sorted(str(number) for number in range(1, len(wanted) + 1)):
        return numbered(len(wanted))
    names = {canonical(symbol): name for known in PROTOCOLS.values() for symbol, name in zip(known.symbols, known.names, strict=True)}
    own = tuple(symbol.strip() for symbol in symbols)
    return Protocol(f"own-{len(own)}", own, tuple(names.get(name, symbol) for symbol, name in zip(own, wanted, strict=True)))
