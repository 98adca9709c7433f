"""One driver's part of a run: search, promote, record, report; and the terminal on the way."""

import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ceph_core.config import Config
from ceph_core.data.films import TrainingData
from ceph_core.duration import duration
from ceph_core.inference.evaluate import table
from search import packing, pages, watching
from search.ask_ahead import AskAhead
from search.bookkeeping import Bookkeeping
from search.boundary import boundary_optima_of
from search.candidates import size_limit
from search.confirm import Confirmation
from search.cost import Timetable, in_turn_s
from search.film_tables import prediction_table
from search.live import LiveView
from search.promotion import FINAL, Job, Outcome, longest_epochs, promote
from search.records import BEST_SINGLE, Ledger, RunFolder, load, write_predictions
from search.retries import shares_device
from search.room import Room
from search.space import Space
from search.tune import cluster as ray_cluster
from search.tune.exporter import Exporter
from search.tune.trial import Order, Shared
from search.verdict import all_the_time, verdict

BUILD_VARIABLE = "CEPH_SEARCH_TRAINING"
"""`module:function` in the place of the real training: tests of the search run made-up curves through the real driver."""


class Interrupted(Exception):
    """Ctrl-C: everything is saved."""


class Execution:
    """One driver's part of a run; a resumed run has had others before."""

    def __init__(
        self,
        run: RunFolder,
        space: Space,
        seed: int,
        hours: float | None,
        data: TrainingData,
        cluster: ray_cluster.Cluster,
        workers: int,
        view: LiveView,
        spent_s: float,
        ledger: Ledger,
        room: Room,
    ) -> None:
        self.run, self.space, self.seed, self.data = run, space, seed, data
        self.cluster, self.workers, self.view, self.ledger = cluster, workers, view, ledger
        self._began, self._spent_s = time.monotonic(), spent_s
        final = space.promotion.final
        timetable = Timetable(
            math.inf if hours is None else hours * 3600, space.promotion.share, final.share if final.is_on else 0.0,
            longest_epochs(space, len(data.train_ids) + len(data.validation_ids)),
        )  # fmt: skip
        self._books = Bookkeeping(run, space, seed, workers, timetable, self.elapsed_s, ledger, view, room, Exporter())
        self.policy = self._books.policy
        self._asking = AskAhead(self.policy, space.sampler.ask_ahead)
        resources = space.resources
        self._shared = Shared(data, space.scheduler.rungs, resources.cpus_per_trial, resources.on_gpu, os.environ.get(BUILD_VARIABLE))

    def elapsed_s(self) -> float:
        """Seconds this run has lived, earlier drivers included."""
        return self._spent_s + time.monotonic() - self._began

    def go(self, searching: bool = True) -> Path:
        """Everything; every state on the way can be resumed."""
        view = self.view
        self.ledger.append_run(pid=os.getpid(), workers=self.workers, gpus_per_trial=float(self.space.resources.gpus_per_trial))
        view.elapsed_s = self.elapsed_s
        view.say("watch it, each in a terminal of its own (docs/watching.md says more):")
        for line in watching.lines(watching.ways(self.run, self.cluster.dashboard, self.cluster.prometheus_config)):
            view.say(line)
        view.hints = tuple(watching.lines(watching.ways(self.run, self.cluster.dashboard)[:-1]))
        view.say(f"{self.workers} trials at a time, {self.space.resources.cpus_per_trial} CPUs each; run folder {self.run.path}")
        try:
            if searching:
                self._search()
            else:
                self.policy.stop("the search was ended by `promote`")
            if not self.policy.ranking():
                return self._fail("every trial failed; the report and trials/*/error.txt say why")
            outcome = self._promote()
        finally:
            self._books.close()
        self.ledger.append_finished(seconds=self.elapsed_s())
        self._books.write_tables()
        page = pages.write(self.run.path)
        title = f"locked test, {self.data.dataset.name}: {len(self.data.test_ids)} films"
        scores = table(title, outcome.scores, view.console.width)
        if outcome.recipe is not None:
            at = [column.header for column in scores.columns].index("MRE [95 %]")
            row = [all_the_time(vars(outcome.recipe)), *[""] * (len(scores.columns) - 1)]
            row[at] = f"{outcome.recipe.predicted_mm:.2f} (predicted)"
            scores.add_row(*row)
        view.console.print(scores)
        view.say(verdict(outcome.paired))
        for optimum in boundary_optima_of(load(self.run.path)):
            view.say(str(optimum))
        view.say(f"ensemble: {self.run.ensemble_dir}\nreport:   {page}\ntook {self.elapsed_s() / 60:.1f} min")
        return page

    def _search(self) -> None:
        self.view.watch(self.policy)
        try:
            finished = self._run_orders(self._next_order, self, self._asking.tick)
        finally:
            self._asking.close()
            self.view.close()
        if not finished:
            raise Interrupted
        self.view.say(f"search over: {self.view.line(self.policy)}")

    def heard(self, trial: str, figures: dict[str, Any]) -> bool:
        """A report of a search trial."""
        self.policy.report(trial, figures)
        return self.policy.is_live(trial)

    def died(self, trial: str, text: str) -> None:
        """A search trial has failed; the search goes on."""
        self.policy.error(trial, text)

    def lost(self, trial: str, text: str) -> None:
        """A search trial's worker is gone."""
        self.policy.lost(trial, text)

    def _next_order(self) -> Order | None:
        assignment = self._asking.next()
        if assignment is None:
            return None
        config = assignment.config.model_dump(mode="json")
        folder, places = str(self.run.trial_dir(assignment.trial)), self._places(assignment.config, assignment.alone)
        return Order(assignment.trial, config, folder, assignment.reported, places=places)

    def _places(self, config: Config, alone: bool) -> int:
        """How many of the run's places a training takes: as many shares of a GPU as it may need, or all of one."""
        return packing.places_a_gpu(self.space.resources) if alone else packing.places(config, self.policy.room, self.space.resources)

    def _promote(self) -> Outcome:
        call_all = partial(ray_cluster.call_all, resources=self.space.resources, on_wait=self._waiting)
        outcome = promote(self.run, self.policy, self.data, self.ledger, self._run_jobs, call_all, self.view.say)
        write_predictions(self.run, prediction_table(self.data, outcome))
        self.ledger.append_promotion(
            candidates=[state.trial for state in self.policy.candidates()],
            members=[entry.name for entry in outcome.picked],
            weights=list(outcome.selection.weights),
            held_out_by=outcome.held_out_by,
            recipe=None if outcome.recipe is None else vars(outcome.recipe),
            final=None if outcome.final is None else {**vars(outcome.final), "networks": [entry.name for entry in outcome.exported]},
            best_single=outcome.single.name,
            combination=outcome.selection.combine,
            networks=len(outcome.members),
            size_limit=size_limit(self.space.promotion),
            validation_mre_mm=outcome.selection.score_mm,
            validation_films=len(outcome.judged),
            expected_mm={"ensemble": vars(outcome.selection.expected), BEST_SINGLE: vars(outcome.selection.expected_single)},
            confirmed=[vars(each) for each in outcome.confirmed],
            paired_mm={name: vars(paired) for name, paired in outcome.paired.items()},
            verdict=verdict(outcome.paired),
            onnx_difference_px=outcome.onnx_difference_px,
        )
        return outcome

    def _waiting(self) -> None:
        self.view.say(f"{self.elapsed_s() / 60:.1f} min: workers are still answering")
        self._books.export()

    def _run_jobs(self, jobs: Sequence[Job]) -> None:
        """Train promotion's jobs until done, or until only the time to finish is left."""
        pace = self.policy.pace
        limit = pace.timetable.jobs_end_s() if jobs[0].role == FINAL else pace.confirmation_end_s()
        crowded = shares_device(self.space.resources, self.workers)

        def seconds_left(job: Job, reported: int) -> float | None:
            measured = pace.cost.seconds(job.config, reported)
            films = len(self.data.for_fold(job.fold).train_ids) / len(self.data.train_ids)
            return None if measured is None else measured * films

        def has_time(job: Job, reported: int) -> bool:
            needed = seconds_left(job, reported)
            return math.isinf(limit) or needed is None or self.elapsed_s() + needed <= limit

        confirmation = Confirmation(jobs, self.ledger, lambda: self.elapsed_s() > limit, self._books.observers, has_time, crowded)

        def jobs_line() -> str:
            left = [seconds_left(job, confirmation.reported[job.trial] or job.from_epoch) for job in confirmation.unfinished()]
            known = [seconds for seconds in left if seconds is not None]
            time_left = f", about {duration(in_turn_s(known, self.workers))} left" if known else ""
            return f"{jobs[0].role} trainings: {len(jobs) - len(left)} of {len(jobs)} have ended{time_left}"

        self.view.jobs_line = jobs_line

        def next_order() -> Order | None:
            job = confirmation.next()
            if job is None:
                return None
            folder, candidate = (str(self.run.trial_dir(trial)) for trial in (job.trial, job.candidate))
            reported = confirmation.reported[job.trial] or job.from_epoch
            start_from = None if job.is_fresh else candidate
            places = self._places(job.config, confirmation.is_alone(job.trial))
            return Order(job.trial, job.config.model_dump(mode="json"), folder, reported, start_from, job.fold, places)

        if not self._run_orders(next_order, confirmation):
            raise Interrupted

    def _run_orders(self, next_order: Callable[[], Order | None], judge: Any, on_tick: Callable[[], None] = lambda: None) -> bool:
        def tick() -> None:
            on_tick()
            self._books.tick()

        def next_begun() -> Order | None:
            order = next_order()
            if order is not None:
                self._books.begun(order.trial, order.places)
            return order

        return ray_cluster.run_orders(next_begun, judge, self._shared, self.space.resources, self.workers, self.run.path, tick)

    def _fail(self, reason: str) -> Path:
        self.ledger.append_finished("failed", reason)
        self._books.write_tables()
        pages.write(self.run.path)
        raise RuntimeError(reason)
