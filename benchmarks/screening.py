"""A two-level screening design and what its runs say: every run informs every effect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard


@dataclass(frozen=True)
class Effect:
    """What turning a technique on changes, in percent of the error, with its standard error; negative: better."""

    name: str
    percent: float
    standard_error: float

    @property
    def is_clear(self) -> bool:
        """Beyond two standard errors."""
        return abs(self.percent) > 2 * self.standard_error


class Design:
    """A saturated two-level design of resolution III (Plackett & Burman, Biometrika 1946) in blocks of one fold each.

    Columns of a Hadamard matrix are balanced against each other: each effect is a difference of two halves of all runs, in which
    every other technique is on as often as off.  Two columns and their product choose among four folds.

    Args:
        names: the techniques, at most `num_runs` - 4.
        num_runs: a power of two.
    """

    num_blocks = 4

    def __init__(self, names: Sequence[str], num_runs: int) -> None:
        matrix = hadamard(num_runs)[:, 1:]
        blocks = [0, 1, 2]  # columns 1, 2 and 3: the third is the product of the others
        free = [column for column in range(num_runs - 1) if column not in blocks]
        assert len(names) <= len(free), f"{len(names)} techniques need more than {num_runs} runs"
        self.names = tuple(names)
        self.signs: NDArray[np.int64] = matrix[:, free[: len(names)]]
        self.unused: NDArray[np.int64] = matrix[:, free[len(names) :]]
        self.block: NDArray[np.int64] = (matrix[:, 0] > 0) * 2 + (matrix[:, 1] > 0)

    def on(self, run: int) -> tuple[str, ...]:
        """The techniques that are on in a run."""
        return tuple(name for name, sign in zip(self.names, self.signs[run], strict=True) if sign > 0)

    def effects(self, errors_mm: Sequence[float]) -> list[Effect]:
        """Effects on the logarithm of the error, the most helpful first.

        No run is repeated, so that the standard error is Lenth's (Technometrics 1989): most effects are nothing but noise, and
        1.5 times the median of those that are not large says how much.
        """
        logs = np.log(errors_mm)
        logs = logs - np.array([logs[self.block == block].mean() for block in self.block])
        found = {name: float(logs @ column) * 2 / len(logs) for name, column in zip(self.names, self.signs.T, strict=True)}
        error = lenth([*found.values(), *(float(logs @ column) * 2 / len(logs) for column in self.unused.T)])
        made = [Effect(name, (np.exp(value) - 1) * 100, error * 100) for name, value in found.items()]
        return sorted(made, key=lambda effect: effect.percent)


def lenth(effects: Sequence[float]) -> float:
    """Lenth's pseudo standard error of effects most of which are noise."""
    sizes = [abs(effect) for effect in effects]
    rough = 1.5 * median(sizes)
    return 1.5 * median([size for size in sizes if size < 2.5 * rough] or [0.0])


def paired(on: Mapping[int, float], off: Mapping[int, float]) -> Effect:
    """The effect of one technique from runs of the same seeds and folds with and without it."""
    shared = sorted(on.keys() & off.keys())
    logs = np.log([on[seed] / off[seed] for seed in shared])
    error = float(logs.std(ddof=1) / np.sqrt(len(logs))) if len(logs) > 1 else float("nan")
    return Effect("", float(np.exp(logs.mean()) - 1) * 100, error * 100)
