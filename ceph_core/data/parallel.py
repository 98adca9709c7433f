"""Films worked on by threads, in order and with a bounded number in memory; decoding and hashing release the GIL."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

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

    Raises:
        InputError: after the last item, every problem that any item had; no result is yielded after the first of them.
    """
    problems: list[str] = []
    with ThreadPoolExecutor(num_threads()) as pool:
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
    if problems:
        raise InputError(problems)


def stderr_progress(label: str, interval_s: float = 3.0) -> Progress:
    """Writes `label: done/all films` to stderr every `interval_s` seconds; shorter work stays silent."""
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= interval_s:
            last = time.monotonic()
            print(f"{label}: {done}/{total} films", file=sys.stderr, flush=True)

    return report
