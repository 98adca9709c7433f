"""Made-up learning curves with a known optimum, and a search over them in simulated time."""

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.history import Outcome
from search.rungs import Action, Rungs
from search.sampler import Sampler
from search.space.knobs import Knob

SPACE = (
    Knob("heatmap.sigma_rel", "float", 0.003, 0.02, log=True),
    Knob("augment.strength", "float", 0.0, 2.0),
    Knob("train.batch_size", "int", 4, 12),
    Knob("data.image_size", "categorical", choices=(384, 512, 640)),
    Knob("schedule", "categorical", choices=("w32-flat", "w48-flat", "w32-progressive", "w48-progressive")),
)
BASELINE = {
    "heatmap.sigma_rel": 0.007, "augment.strength": 1.0, "train.batch_size": 6, "data.image_size": 512, "schedule": "w48-flat",
}  # fmt: skip
BEST_MM = 1.2


def final_mm(values: Mapping[str, Any]) -> float:
    """Where the curve of a configuration ends, mm; `BEST_MM` at the optimum."""
    excess = 1.6 * math.log(values["heatmap.sigma_rel"] / 0.0055) ** 2 + 0.5 * (values["augment.strength"] - 1.3) ** 2
    excess += 0.01 * (values["train.batch_size"] - 5) ** 2 + 0.12 * abs(values["data.image_size"] - 512) / 128
    excess += {"w32-flat": 0.15, "w48-flat": 0.1, "w32-progressive": 0.05, "w48-progressive": 0.0}[values["schedule"]]
    return BEST_MM + excess


def value_mm(values: Mapping[str, Any], epoch: int, seed: int) -> float:
    """Validation MRE after an epoch: a power law from about 20 mm, whose speed depends on batch and augmentation, with noise."""
    speed = 1.3 - 0.03 * (values["train.batch_size"] - 4) - 0.1 * values["augment.strength"]
    noise = np.random.default_rng([seed, epoch, round(1e6 * final_mm(values))]).normal(0, 0.04)
    return float(final_mm(values) + 18 * epoch**-speed * 0.5 + noise)


@dataclass(frozen=True)
class Searched:
    """What a simulated search did.

    Attributes:
        found: (simulated time in epochs, final_mm) whenever a finished trial was the best so far.
        epochs: epochs trained in all.
        stopped: trials stopped early.
        proposed: every configuration, by number.
    """

    found: tuple[tuple[float, float], ...]
    epochs: int
    stopped: int
    proposed: tuple[dict[str, Any], ...]


def search(sampler: Sampler, rungs: Rungs, *, budget: int, workers: int, seed: int, total: int = 20) -> Searched:
    """Trials of `total` epochs on `workers` simulated workers until `budget` epochs are trained."""
    found: list[tuple[float, float]] = []
    trained = stopped = number = 0
    best = math.inf
    clock: list[tuple[float, int, int]] = []  # when a report comes, of which trial, after which epoch
    proposed: list[dict[str, Any]] = []

    def begin(now: float) -> None:
        nonlocal number
        proposed.append(sampler.ask(number))
        heapq.heappush(clock, (now + 1, number, 1))
        number += 1

    for _ in range(workers):
        begin(0.0)
    while clock and trained < budget:
        now, trial, epoch = heapq.heappop(clock)
        trained += 1
        mre_mm = value_mm(proposed[trial], epoch, seed)
        sampler.report(trial, epoch, total, mre_mm)
        action = rungs.report(str(trial), epoch, total, mre_mm).action
        if action is Action.STOP:
            stopped += 1
            sampler.tell(trial, Outcome("stopped", mre_mm))
        elif epoch == total:
            sampler.tell(trial, Outcome("complete", mre_mm))
            if (final := final_mm(proposed[trial])) < best:
                best = final
                found.append((now, final))
        else:
            heapq.heappush(clock, (now + 1, trial, epoch + 1))
            continue
        begin(now)
    return Searched(tuple(found), trained, stopped, tuple(proposed))
