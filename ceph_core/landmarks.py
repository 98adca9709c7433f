"""Landmark protocols: which points a data set marks, in which order."""

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

PROTOCOLS = {protocol.name: protocol for protocol in (ISBI19,)}
