"""The pace of a search: what its trials cost, what promotion and the rest will take, whether time is up.  Pure."""

import math
from collections.abc import Callable
from functools import cached_property

from ceph_core.config import Config
from search.candidates import longer, trainings
from search.cost import EpochCost, Floats, Network, Timetable, makespan_s, network_of
from search.rungs import Rungs
from search.space import Space
from search.standings import Standings, TrialState


class Pace:
    """Time of one search, measured and to come.

    Args:
        workers: trials that run at a time.
        timetable: of the whole run.
        elapsed_s: seconds the run has lived; of this driver and those before.

    Attributes:
        cost: what epochs take, from those that were had.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        rungs: Rungs,
        standings: Standings,
        workers: int,
        timetable: Timetable,
        elapsed_s: Callable[[], float],
    ) -> None:
        self.cost = EpochCost(space.scheduler.rungs)
        self._space, self._seed, self._rungs, self._standings, self._workers = space, seed, rungs, standings, workers
        self.timetable, self._elapsed_s = timetable, elapsed_s
        self._ended_parts: dict[Network, Floats] = {}

    def retired(self, state: TrialState) -> None:
        """The trial has ended: the epochs it had count as what a trial takes."""
        network, parts = network_of(state.config), self.cost.parts(state.config, 0, state.epoch)
        self._ended_parts[network] = self._ended_parts.get(network, 0.0) + parts

    @property
    def workers(self) -> int:
        """Trainings that run at a time."""
        return self._workers

    def elapsed_s(self) -> float:
        """Seconds the run has lived; of this driver and those before."""
        return self._elapsed_s()

    def confirmation_end_s(self) -> float:
        """When confirming trainings must stop so that the final networks still fit."""
        return self.timetable.confirmation_end_s(self.final_s() or 0.0)

    def promotion_s(self) -> float | None:
        """Estimated wall time of promotion's trainings, the largest final stage included; None before anything was measured."""
        confirmation_s, final_s = self._confirmation_s(), self.final_s()
        return None if confirmation_s is None or final_s is None else confirmation_s + final_s

    def final_s(self) -> float | None:
        """Estimated wall time of the largest final stage that may be planned; None before anything was measured."""
        promotion = self._space.promotion
        final = promotion.final
        if not final.is_on:
            return 0.0
        epochs = self.timetable.final_epochs if final.epochs == "auto" else final.epochs
        if math.isinf(epochs):
            return math.inf
        known = [self.cost.seconds(longer(state.config, int(epochs))) for state in self._standings.leading(promotion.candidates)]
        seconds = [each for each in known if each is not None]
        number = promotion.most_networks if final.networks == "auto" else final.networks
        return makespan_s([max(seconds)] * number, self._workers) if seconds else None

    def _confirmation_s(self) -> float | None:
        """Estimated wall time to confirm the trials that lead now; None before anything was measured."""
        promotion = self._space.promotion
        jobs = []
        for state in self._standings.leading(promotion.candidates):
            for training in trainings(promotion):
                seconds = self.cost.seconds(state.config, from_epoch=state.epoch if training.seed == 0 else 0)
                if seconds is None:
                    return None
                jobs.append(seconds)
        return makespan_s(jobs, self._workers) if jobs else None

    def remaining_s(self, is_searched: bool) -> float | None:
        """Estimate of the search's time left: the clock's, or what the trials still need; None before anything was measured.

        Args:
            is_searched: whether nothing new begins.
        """
        clock = self.timetable.search_end_s(self.promotion_s()) - self._elapsed_s()
        live = [self.cost.seconds(state.config, state.epoch) for state in self._standings.running.values()]
        known = [seconds for seconds in live if seconds is not None]
        num_past = self._standings.num_ended.total()
        past_s = sum(self.cost.seconds_of(network, parts) or 0.0 for network, parts in self._ended_parts.items())
        if not known and not past_s:
            return max(0.0, clock) if math.isfinite(clock) else None
        to_come = 0 if is_searched else max(0, self._space.budget.trials - len(self._standings.trials))
        each = past_s / num_past if num_past else max(known)  # what trials have cost so far, early stops included
        work = max(max(known, default=0.0), (sum(known) + each * to_come) / self._workers)
        return max(0.0, min(clock, work))

    def is_up(self, starting: bool = False) -> bool:
        """Whether the search must end now or, for a trial about to start, before it could reach its first rung."""
        if math.isinf(self.timetable.total_s):
            return False
        left = self.timetable.search_end_s(self.promotion_s()) - self._elapsed_s()
        needed = 0.0
        if starting and self._standings.trials:
            config, first_rung = self._shortest
            needed = self.cost.seconds(config, 0, first_rung) or 0.0
        return left < needed

    def is_up_for(self, state: TrialState) -> bool:
        """Whether a trial that runs must end now.

        The baseline is every table's yardstick: the clock of the search does not cut it, only the end of the run.
        """
        return self._elapsed_s() > self.timetable.jobs_end_s() if state.is_baseline else self.is_up()

    @cached_property
    def _shortest(self) -> tuple[Config, int]:
        """The least a trial needs to say anything: the baseline, to its first rung."""
        config = self._space.configure(self._space.baseline, seed=self._seed)
        return config, min(self._rungs.epochs_of(config.train.epochs).values(), default=config.train.epochs)
