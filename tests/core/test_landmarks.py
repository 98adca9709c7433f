"""Protocols: which points, in which order, and which of them two share."""

import numpy as np
import pytest

from ceph_core.landmarks import AARIZ29, ISBI19, PROTOCOLS, canonical, numbered, protocol_of


def test_every_isbi_point_is_among_those_of_aariz():
    pairs = ISBI19.shared_with(AARIZ29)
    assert [here for here, _ in pairs] == list(range(19))
    assert {ISBI19.names[here] for here, _ in pairs} == {AARIZ29.names[there] for _, there in pairs}
    assert [ISBI19.names[here] for here, _ in pairs] == [AARIZ29.names[there] for _, there in pairs], "the same point by its name in words"


def test_sharing_goes_both_ways():
    there = AARIZ29.shared_with(ISBI19)
    assert sorted((b, a) for a, b in there) == list(ISBI19.shared_with(AARIZ29))


def test_numbers_are_shared_with_nobody_else():
    assert numbered(38).shared_with(numbered(53)) == ()
    assert numbered(19).shared_with(ISBI19) == ()
    assert ISBI19.shared_with(numbered(19)) == ()
    assert len(numbered(38).shared_with(numbered(38))) == 38


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda protocol: protocol.name)
def test_a_protocol_is_known_in_any_order(protocol):
    shuffled = np.random.default_rng(0).permutation(protocol.symbols).tolist()
    assert protocol_of(shuffled) == protocol


def test_synonyms_and_primes():
    assert canonical("Pog`") == canonical("Pog’") == canonical("Pog'") == "Pog'"
    assert canonical(" UL ") == canonical("Ls")
    assert protocol_of([symbol.replace("'", "`") for symbol in AARIZ29.symbols]) == AARIZ29


def test_points_of_their_own():
    own = protocol_of(["S", "N", "Ba"])
    assert (own.name, own.symbols, own.names) == ("own-3", ("S", "N", "Ba"), ("sella", "nasion", "Ba"))
    assert own.shared_with(ISBI19) == ((0, 0), (1, 1))
    with pytest.raises(ValueError, match=r"Ls, UL are there more than once"):
        protocol_of(["UL", "Ls"])
