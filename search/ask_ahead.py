"""A slow sampler is asked while trials run, in a thread, so that a free place need not wait for it.

The policy decides what is asked and whether an answer still counts; here is only when: at once for the trial that comes next, and again
as reports come in, but for at most a tenth of the time.  Knowing less has a price (docs/search.md), so that it is asked ahead only where a
place would stand empty for long.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

from search.policy import Assignment, Policy
from search.question import Proposal, Question

SLOW_S, SLOW_SHARE = 0.1, 0.25
"""A proposal is worth asking ahead if it takes longer than this, and than this share of the time that a trial has its place."""
_LAST_TRIALS = 16
"""So many tell how long that is."""
_MODELS = ("curve_gp", "gp")
"""Samplers that can become so slow; the others never are."""
_SHARE = 0.1
"""Most of the time that goes into asking again what was asked before."""


class AskAhead:
    """A policy's `next`, with the proposal ready where that pays.

    Args:
        policy: used from the caller's thread alone; the thread here has a copy of what it needs.
        wanted: True; False; auto: where a proposal took too long, see `SLOW_S`.
    """

    def __init__(self, policy: Policy, wanted: bool | Literal["auto"], clock: Callable[[], float] = time.monotonic) -> None:
        self._policy, self._clock = policy, clock
        self._measures = wanted == "auto" and policy.space.sampler.name in _MODELS
        self._is_slow = wanted is True
        self._pool = ThreadPoolExecutor(1, "ask-ahead")
        self._coming: tuple[Question, Future[tuple[Proposal, float]]] | None = None
        self._asked: Question | None = None
        self._rest_until_s = 0.0
        self._handed_out_s: deque[float] = deque(maxlen=_LAST_TRIALS + policy.workers)

    def next(self) -> Assignment | None:
        """The policy's next trial; a proposal for it that is being worked on is waited for, if there is no older one."""
        self._collect(wait=not self._policy.has_offer)
        was_there, number, began = self._policy.has_offer, self._policy.next_number, self._clock()
        assignment = self._policy.next()
        if self._policy.next_number > number:
            self._handed_out_s.append(began)
            if not was_there:
                self._learn(self._clock() - began)
        return assignment

    def tick(self) -> None:
        """Time has passed: called about ten times a second."""
        self._collect(wait=False)
        if not self._is_slow or self._coming is not None or not self._is_due():
            return
        question = self._policy.question()
        if question is not None:
            self._asked = question
            self._coming = question, self._pool.submit(_timed, question, self._clock)

    def close(self) -> None:
        """Waits for a proposal that is being worked on."""
        self._pool.shutdown(cancel_futures=True)

    def _is_due(self) -> bool:
        if self._asked is None or self._asked.number != self._policy.next_number:
            return True
        return self._asked.asked_after != self._policy.num_events and self._clock() >= self._rest_until_s

    def _collect(self, wait: bool) -> None:
        """Take an answer that is there, or that is worth waiting for."""
        if self._coming is None:
            return
        question, future = self._coming
        if not future.done() and not (wait and question.number == self._policy.next_number):
            return
        self._coming = None
        proposal, took_s = future.result()
        self._learn(took_s)
        self._rest_until_s = self._clock() + took_s * (1 / _SHARE - 1)
        self._policy.offer(proposal)

    def _learn(self, took_s: float) -> None:
        if self._measures:
            self._is_slow = took_s > max(SLOW_S, SLOW_SHARE * self._trial_s())

    def _trial_s(self) -> float:
        """How long a trial has its place; 0 before that is known."""
        num_between = len(self._handed_out_s) - self._policy.workers
        if num_between < 1:
            return 0.0
        first, last = self._handed_out_s[self._policy.workers - 1], self._handed_out_s[-1]  # the first places are taken at once
        return self._policy.workers * (last - first) / num_between


def _timed(question: Question, clock: Callable[[], float]) -> tuple[Proposal, float]:
    began = clock()
    return question.answer(), clock() - began
