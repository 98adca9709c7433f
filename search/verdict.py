"""Whether a search was worth it: ensemble and best single network against the baseline on the locked test, and that in words.  Pure."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ceph_core.metrics import Errors, Paired, paired_test
from search.records import BASELINE, BEST_SINGLE, ENSEMBLE

SINGLE_AGAINST_BASELINE = f"{BEST_SINGLE} against {BASELINE}"


def paired_differences(errors_mm: Mapping[str, Errors]) -> dict[str, Paired]:
    """The ensemble against baseline and best single network, by the other's name; and the best single network against the baseline.

    Args:
        errors_mm: (N, K) by model, NaN where a landmark is missing.  A best single network that is the baseline's is not compared.
    """
    if ENSEMBLE not in errors_mm:
        return {}
    marked = ~np.isnan(errors_mm[ENSEMBLE]).all(axis=1)
    kept = {name: errors_mm[name][marked] for name in (ENSEMBLE, BASELINE, BEST_SINGLE) if name in errors_mm}
    found = {other: paired_test(kept[ENSEMBLE], kept[other]) for other in (BASELINE, BEST_SINGLE) if other in kept}
    if len(kept) == 3 and not np.array_equal(kept[BEST_SINGLE], kept[BASELINE], equal_nan=True):
        found[SINGLE_AGAINST_BASELINE] = paired_test(kept[BEST_SINGLE], kept[BASELINE])
    return found


def verdict(paired: Mapping[str, Paired]) -> str:
    """What `paired_differences` found, in words."""
    if BASELINE not in paired:
        return "The baseline left no network, so that nothing can be said of what the search brought."
    ensemble, single = paired[BASELINE], paired.get(SINGLE_AGAINST_BASELINE)
    if ensemble.high_mm >= 0:
        worse = "is worse by" if ensemble.low_mm > 0 else "differs by no more than chance:"
        found = f"{worse} {_figures(ensemble)}."
        if single is not None and single.high_mm < 0:
            return f"The best single network beats the baseline: {_figures(single)}. The ensemble does not: it {found}"
        return f"Nothing beats the baseline: the ensemble {found}"
    first = f"The ensemble beats the baseline: {_figures(ensemble)}."
    if single is None:
        return f"{first} The best single network is the baseline's own: what helped is averaging networks."
    if single.high_mm >= 0:
        return f"{first} No single network does ({_figures(single)}): what helped is averaging networks."
    return first


def all_the_time(recipe: Mapping[str, Any]) -> str:
    """What the row of the recipe with all the time is called, from what the ledger keeps of it."""
    networks = f"{recipe['networks']} network{'s' if recipe['networks'] > 1 else ''}"
    return f"the recipe with all the time: {networks} x {recipe['epochs']} epochs of {recipe['trial']}'s setting, not run"


def _figures(paired: Paired) -> str:
    return (
        f"{paired.difference_mm:+.3f} mm a film, 95 % interval [{paired.low_mm:+.3f}, {paired.high_mm:+.3f}], "
        f"Wilcoxon p = {paired.p_value:.2g}"
    )
