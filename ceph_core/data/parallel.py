"""Films worked on by threads, in order and with a bounded number in memory; decoding, hashing and resampling release the GIL."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from ceph_core.duration import duration
from ceph_core.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Told (done, all) after every film."""


def num_threads() -> int:
    """Threads for decoding: the CPUs this process may use, 8 at most."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cpus)


def in_order(work: Callable[[Item], Result], items: Sequence[Item], progress: Progress) -> Iterator[Result]:
    """`work` on every item in threads, a few items ahead of the consumer; results in the order of the items.

    A thread computes alone: teams of torch's own below each of them would only fight over the cores.  The consumer keeps its team.

    Raises:
        InputError: after the last item, every problem that any item had; no result is yielded after the first of them.
    """
    problems: list[str] = []
    team = torch.get_num_threads()
    with ThreadPoolExecutor(num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting = iter(items)
        ahead: deque[Future[Result]] = deque()
        try:
            for done in range(1, len(items) + 1):
                while len(ahead) < 2 * num_threads() and (item := next(waiting, None)) is not None:
                    ahead.append(pool.submit(work, item))
                try:
                    result = ahead.popleft().result()
                except InputError as error:
                    problems.extend(error.problems)
                else:
                    if not problems:
                        yield result
                progress(done, len(items))
        finally:
            for future in ahead:
                future.cancel()
            torch.set_num_threads(team)  # a thread's own number is also what threads made later start with
    if problems:
        raise InputError(problems)


def stderr_progress(label: str, interval_s: float = 3.0, last: bool = False) -> Progress:
    """Writes `label: done/all films`, films a second and the time left to stderr every `interval_s` seconds.

    Shorter work stays silent, unless `last` asks for a line at the end whatever it took.
    """
    began = said = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= interval_s or (last and done == total):
            said = now
            rate = done / max(now - began, 1e-9)
            left = f", {duration((total - done) / rate)} left" if done < total else ""
            print(f"{label}: {done}/{total} films, {rate:.3g} a second{left}", file=sys.stderr, flush=True)

    return report
