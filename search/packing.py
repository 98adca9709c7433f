"""`resources.gpus_per_trial: auto`: how many trials share a GPU, and which of them need more of it than the others.  Pure.

As many as fit where most of what the space can propose would fit; what needs more takes several places, up to a whole GPU.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import qmc

from ceph_core.config import Config
from ceph_core.errors import InputError
from ceph_core.training.out_of_memory import advice
from search.cube import point_at
from search.room import Gpu, Room
from search.space import Space
from search.space.schema import AUTO, Resources

MOST = 4
"""Trials a GPU."""
_PROPOSALS, _SHARE = 64, 0.9
"""Points of the space that are looked at, and how many of them must fit into an even share."""


def settled(space: Space, room: Room, before: float | None = None) -> tuple[Space, list[str]]:
    """The space with a number in the place of `auto`, and what is to be said of memory.

    Args:
        before: share that an earlier driver of the run settled on, which is kept while it still fits: a resume packs as it began, however
            much memory the records make room for.

    Raises:
        InputError: a start point fits on no GPU; all of them at once.
    """
    notes = check_start_points(space, room)
    if space.resources.gpus_per_trial != AUTO:
        return space, notes
    number = trials_a_gpu([room.may_take_mb(config) for config in _usual(space)], room.gpus)
    if before and number >= round(1 / before):
        number, why = round(1 / before), "as before"
    elif room.gpus:
        why = f"{_gb(_smallest_mb(room.gpus))} free on {' and '.join(sorted({gpu.name for gpu in room.gpus}))}"
    else:
        why = "no GPU's memory could be read"
    notes.append(f"resources.gpus_per_trial auto: {number} trial{'s' if number > 1 else ''} a GPU ({why})")
    resources = space.resources.model_copy(update={"gpus_per_trial": 1 / number})
    return space.model_copy(update={"resources": resources}), notes


def trials_a_gpu(takes_mb: Sequence[float], gpus: Sequence[Gpu]) -> int:
    """The most, up to four, of which nine in ten fit beside each other; 1 if no GPU's memory is known.

    Args:
        takes_mb: what each of many trials may take, MB.
    """
    if not gpus:
        return 1
    usual = float(np.quantile(takes_mb, _SHARE, method="higher"))
    return max(1, min(MOST, math.floor(_smallest_mb(gpus) / usual)))


def places_a_gpu(resources: Resources) -> int:
    """Places of a whole GPU; 1 where trials have no share of one."""
    share = float(resources.gpus_per_trial)
    return round(1 / share) if 0 < share < 1 else 1


def places(config: Config, room: Room, resources: Resources) -> int:
    """How many of the run's places a trial takes: one, or as many shares of a GPU as it may need."""
    a_gpu = places_a_gpu(resources)
    if not room.gpus or a_gpu == 1:
        return 1
    return min(a_gpu, math.ceil(room.may_take_mb(config) / (_smallest_mb(room.gpus) / a_gpu)))


def check_start_points(space: Space, room: Room) -> list[str]:
    """What is to be said of start points that will train fewer films at once than they want.

    Raises:
        InputError: a start point fits on no GPU, not even one film at a time; one line each.
    """
    problems, notes = [], []
    for place, point in enumerate(space.start_from):
        config, where = space.configure(point, 0), f"{space.source}: start_from[{place}]"
        for gpu in sorted(room.gpus, key=lambda gpu: -gpu.total_mb)[:1]:
            of_it = f"the largest GPU ({gpu.name}) has {_gb(gpu.total_mb)}, {_gb(gpu.free_mb)} of them free"
            if not room.fits(config):
                least = _gb(room.surely_needs_mb(config))
                problems.append(f"{where}: not even one film at a time fits: that takes {least} or more; {of_it}; {advice(config)}")
            elif (wanted := room.may_take_mb(config)) > gpu.free_mb:
                notes.append(f"{where}: may take {_gb(wanted)}; {of_it}: where it runs out, it goes on with fewer films at once")
    if problems:
        raise InputError(problems)
    return notes


def _usual(space: Space) -> list[Config]:
    """The start points and what the space may propose, spread evenly over it."""
    shares = qmc.Sobol(len(space.knobs), scramble=True, rng=np.random.default_rng(0)).random(_PROPOSALS)
    configs = []
    for values in [*space.start_from, *(point_at(space.knobs, row.tolist()) for row in shares)]:
        try:
            configs.append(space.configure(values, 0))
        except InputError:  # keys that do not fit together: no such training will be
            continue
    return configs


def _smallest_mb(gpus: Sequence[Gpu]) -> float:
    """Free memory of the fullest GPU: a trial may come to lie on any."""
    return min(gpu.free_mb for gpu in gpus)


def _gb(megabytes: float) -> str:
    return f"{megabytes / 1024:.1f} GB"
