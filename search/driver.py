"""A run from its command to its report: data, trials, promotion, records."""

import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError

from ceph_core import __version__
from ceph_core import data as datasets
from ceph_core.config import SourceConfig, problems_of
from ceph_core.data import splits as splitting
from ceph_core.data.films import TrainingData
from ceph_core.data.fingerprint import dataset_fingerprint
from ceph_core.errors import InputError
from ceph_core.inference.evaluate import table
from ceph_core.metrics import mean_shape_mm
from search import dryrun, report
from search.confirm import Confirmation
from search.cost import Timetable
from search.disk import Disk
from search.live import LiveView
from search.policy import Policy
from search.promotion import Job, Outcome, promote
from search.records import (
    MEAN_SHAPE,
    READER_PREFIX,
    REFERENCE,
    Event,
    Ledger,
    RunFolder,
    create,
    load,
    open_for_resume,
    refuse_if_in_use,
    write_predictions,
    write_splits,
    write_tables,
)
from search.space import Space
from search.space.load import Profile
from search.study import StudyMirror
from search.tensorboard import Scalars
from search.tune import cluster as ray_cluster
from search.tune.trial import Order, Shared

BUILD_VARIABLE = "CEPH_SEARCH_TRAINING"
"""`module:function` in the place of the real training: tests of the search run made-up curves through the real driver."""

_PACKAGES = ("torch", "timm", "ray", "optuna", "albumentations", "numpy", "pandas")
_TABLES_EVERY_S = 30.0


class Interrupted(Exception):
    """Ctrl-C: everything is saved."""


@dataclass
class RunOptions:
    """What the command line asks for, checked.

    Attributes:
        space: under its profile.
        source: the films.
        seed: of the run: sampler, weights, order, augmentation.
        hours: wall time of everything up to the exported ensemble; None: no limit.
        address: of a Ray cluster; None: start one here.
        command: that repeats the run.
        notes: said at the start.
    """

    space: Space
    source: SourceConfig
    seed: int
    hours: float | None
    address: str | None
    command: list[str]
    notes: list[str] = field(default_factory=list)


def open_data(source: SourceConfig, space: Space) -> TrainingData:
    """Read and split the films, check the space against them, and cache every film at each size a trial may train at.

    Caching decodes them all: a damaged film is found here, before anything is started or written.

    Raises:
        InputError: whatever is wrong with the data, or batches larger than it.
    """
    cache_dir = datasets.default_cache_dir()
    dataset = datasets.read(source, cache_dir)
    data = TrainingData(dataset, splitting.assign(dataset, source), cache_dir)
    space.check_against(len(data.train_ids))
    if not data.test_ids:
        raise InputError(f"{dataset.root}: no test films; the ensemble could not be judged")
    for size in sorted(space.grid_sizes()):
        data.open(size)
    return data


def profile_for(address: str | None) -> Profile:
    """gpu if this machine, or the cluster at the address, has one; else cpu."""
    if address is None:
        return "gpu" if torch.cuda.is_available() else "cpu"
    return "gpu" if ray_cluster.has_gpu(address) else "cpu"


def dry_run(options: RunOptions, view: LiveView) -> None:
    """Check everything a start would, show the plan and the estimates, and leave nothing behind."""
    for line in options.notes:
        view.say(line)
    dryrun.show(options.space, open_data(options.source, options.space), view)


def start(options: RunOptions, run_dir: Path, view: LiveView) -> Path:
    """A new run.

    Raises:
        InputError: the input is wrong or the folder in use; then nothing is left behind.
    """
    began = time.monotonic()
    refuse_if_in_use(run_dir)
    data = open_data(options.source, options.space)
    plan = {
        "command": options.command,
        "seed": options.seed,
        "hours": options.hours,
        "address": options.address,
        "source": options.source.model_dump(mode="json"),
        "data": {
            "name": data.dataset.name,
            "root": str(data.dataset.root),
            "protocol": data.dataset.protocol.name,
            "fingerprint": dataset_fingerprint(data.dataset, data.cache_dir),
            "films": {name: len(data.splits.ids(name)) for name in ("train", "validation", "test", "double")},
        },
        "space": options.space.to_dict(),
        "versions": {"python": platform.python_version(), "ceph-search": __version__, **{name: version(name) for name in _PACKAGES}},
    }
    cluster = ray_cluster.connect(options.address)
    try:
        workers = cluster.places(options.space.resources)
        run = create(run_dir, plan)
        _write_splits(run, data)
        for line in (*options.notes, *data.splits.notes):
            view.say(line)
        with Ledger(run.path) as ledger:
            return _Run(run, options, data, cluster, workers, view, time.monotonic() - began, ledger).go()
    finally:
        ray_cluster.disconnect()


def resume(run_dir: Path, address: str | None, view: LiveView, searching: bool = True) -> Path:
    """Go on with a run that was interrupted or killed; without `searching`, with its promotion at once.

    Raises:
        InputError: the folder is no run, its films have changed, or another driver runs in it.
    """
    run = open_for_resume(run_dir)
    before = load(run_dir)
    if before.status == "finished":
        view.say(f"{run_dir}: finished before; nothing is left to do but the report")
        return report.build(run_dir)
    plan = before.plan
    missing = [key for key in ("space", "source", "seed", "data") if key not in plan]
    if missing:
        raise InputError(f"{run.plan_path}: {', '.join(missing)} missing; the plan was edited, restore it or start a new run")
    space = Space.from_dict(plan["space"], source=str(run.plan_path))
    try:
        source = SourceConfig.model_validate(plan["source"])
    except ValidationError as error:
        raise InputError(problems_of(error, f"{run.plan_path}: source")) from error
    options = RunOptions(space, source, plan["seed"], plan.get("hours"), address or plan.get("address"), plan.get("command", []))
    with Ledger(run.path) as ledger:  # first of all: nothing is touched while another driver lives
        data = open_data(options.source, space)
        found = dataset_fingerprint(data.dataset, data.cache_dir)
        if found != plan["data"]["fingerprint"]:
            raise InputError(
                f"--resume {run_dir}: the films in {data.dataset.root} are not those the run began with (fingerprint {found[:12]}, was "
                f"{plan['data']['fingerprint'][:12]}); restore them, or start a new run"
            )
        cluster = ray_cluster.connect(options.address)
        try:
            workers = cluster.places(space.resources)
            _write_splits(run, data)
            return _Run(run, options, data, cluster, workers, view, before.seconds, ledger).go(searching)
        finally:
            ray_cluster.disconnect()


class _Run:
    """One driver's life."""

    def __init__(
        self,
        run: RunFolder,
        options: RunOptions,
        data: TrainingData,
        cluster: ray_cluster.Cluster,
        workers: int,
        view: LiveView,
        spent_s: float,
        ledger: Ledger,
    ) -> None:
        self.run, self.options, self.data, self.cluster, self.workers, self.view, self.ledger = (
            run,
            options,
            data,
            cluster,
            workers,
            view,
            ledger,
        )
        self._began, self._spent_s = time.monotonic(), spent_s
        self._tables_at = time.monotonic()
        space = options.space
        total_s = math.inf if options.hours is None else options.hours * 3600
        self._scalars = Scalars(run)
        self._observers = (view.on_event, self._scalars.on_event, self._keep_error, self._mirror_event)
        self._mirror: StudyMirror | None = None
        self.policy = Policy(
            space, ledger, options.seed, workers, Timetable(total_s, space.promotion.share), self.elapsed_s, self._observers
        )
        self._mirror = StudyMirror(run.study_path, run.path.name, space.knobs, self.policy.sampler.trials)
        self._disk = Disk(run, self.policy, space.budget.disk_gb, view.say)
        self._shared = Shared(data, space.scheduler.rungs, space.resources.cpus_per_trial, os.environ.get(BUILD_VARIABLE))

    def elapsed_s(self) -> float:
        """Seconds this run has lived, earlier drivers included."""
        return self._spent_s + time.monotonic() - self._began

    def go(self, searching: bool = True) -> Path:
        """Everything; every state on the way can be resumed."""
        view = self.view
        self.ledger.append_run(pid=os.getpid(), workers=self.workers)
        view.dashboard, view.elapsed_s = self.cluster.dashboard, self.elapsed_s
        if self.cluster.dashboard:
            view.say(f"Ray dashboard: http://{self.cluster.dashboard} (asks for the token in ~/.ray/auth_token)")
        view.say(f"{self.workers} trials at a time, {self.options.space.resources.cpus_per_trial} CPUs each; run folder {self.run.path}")
        try:
            if searching:
                self._search()
            else:
                self.policy.stop("the search was ended by `promote`")
            if not self.policy.ranking():
                return self._fail("every trial failed; the report and trials/*/error.txt say why")
            outcome = self._promote()
        finally:
            self._scalars.close()
            write_tables(self.run)
        self.ledger.append_finished(seconds=self.elapsed_s())
        write_tables(self.run)
        page = report.build(self.run.path)
        title = f"locked test, {self.data.dataset.name}: {len(self.data.test_ids)} films"
        view.console.print(table(title, outcome.scores, view.console.width))
        if outcome.against_baseline is not None:
            paired = outcome.against_baseline
            view.say(
                f"ensemble - baseline: {paired.difference_mm:+.3f} mm a film, 95 % interval [{paired.low_mm:+.3f}, {paired.high_mm:+.3f}], "
                f"Wilcoxon p = {paired.p_value:.2g}"
            )
        view.say(f"ensemble: {self.run.ensemble_dir}\nreport:   {page}\ntook {self.elapsed_s() / 60:.1f} min")
        return page

    def _search(self) -> None:
        self.view.watch(self.policy)
        try:
            finished = self._run_orders(self._next_order, self)
        finally:
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

    def _next_order(self) -> Order | None:
        assignment = self.policy.next()
        if assignment is None:
            return None
        config = assignment.config.model_dump(mode="json")
        return Order(assignment.trial, config, str(self.run.trial_dir(assignment.trial)), assignment.reported)

    def _promote(self) -> Outcome:
        call_all = partial(ray_cluster.call_all, resources=self.options.space.resources, on_wait=self._waiting)
        outcome = promote(self.run, self.policy, self.data, self._run_jobs, call_all, self.view.say)
        write_predictions(self.run, _prediction_table(self.data, outcome))
        against = {"baseline": outcome.against_baseline, "best single": outcome.against_single}
        self.ledger.append_promotion(
            candidates=[state.trial for state in self.policy.candidates()],
            members=[member.candidate for member in outcome.members],
            weights=list(outcome.selection.weights),
            combination=outcome.selection.combine,
            validation_mre_mm=outcome.selection.score_mm,
            paired_mm={name: vars(paired) for name, paired in against.items() if paired is not None},
            onnx_difference_px=outcome.onnx_difference_px,
        )
        return outcome

    def _waiting(self) -> None:
        self.view.say(f"{self.elapsed_s() / 60:.1f} min: workers are still answering")

    def _run_jobs(self, jobs: Sequence[Job]) -> None:
        """Train promotion's jobs until done, or until only the time to finish is left."""
        limit = self.policy.timetable.jobs_end_s()
        confirmation = Confirmation(jobs, self.ledger, self.options.seed, lambda: self.elapsed_s() > limit, self._observers)

        def next_order() -> Order | None:
            job = confirmation.next()
            if job is None:
                return None
            folder, candidate = (str(self.run.trial_dir(trial)) for trial in (job.trial, job.candidate))
            return Order(
                job.trial, job.config.model_dump(mode="json"), folder, confirmation.reported[job.trial] or job.from_epoch, candidate
            )

        if not self._run_orders(next_order, confirmation):
            raise Interrupted

    def _run_orders(self, next_order: Callable[[], Order | None], judge: Any) -> bool:
        return ray_cluster.run_orders(
            next_order, judge, self._shared, self.options.space.resources, self.workers, self.run.path, self._tick
        )

    def _tick(self) -> None:
        self.view.tick()
        if time.monotonic() - self._tables_at > _TABLES_EVERY_S:
            write_tables(self.run)
            self._tables_at = time.monotonic()

    def _mirror_event(self, event: Event) -> None:
        if self._mirror is None or event["trial"] not in self.policy.trials:
            return
        trial = self.policy.sampler.trials[self.policy.trials[event["trial"]].number]
        trial.name = event["trial"]
        self._mirror.update(trial)
        if event["event"] == "end":
            self._disk.tidy()

    def _keep_error(self, event: Event) -> None:
        """A failed trial's traceback, or the reason where none was raised, lies beside its checkpoint."""
        if event["event"] == "end" and event["status"] == "failed":
            path = self.run.error_path(event["trial"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(event["error"] or event["reason"] + "\n", encoding="utf-8")

    def _fail(self, reason: str) -> Path:
        self.ledger.append_finished("failed", reason)
        write_tables(self.run)
        report.build(self.run.path)
        raise RuntimeError(reason)


def _write_splits(run: RunFolder, data: TrainingData) -> None:
    records = data.dataset.by_id()
    rows = [
        (row.film_id, row.split, row.fold, row.group, *records[row.film_id].spacing_mm, str(records[row.film_id].image))
        for row in data.splits.rows
    ]
    write_splits(run, pd.DataFrame(rows, columns=["film", "split", "fold", "group", "spacing_x_mm", "spacing_y_mm", "image"]))


def _prediction_table(data: TrainingData, outcome: Outcome) -> pd.DataFrame:
    """Every model's points, and beside them the reference, the human readers and the mean shape."""
    records = data.dataset.by_id()
    tables = [_points_table(data, model, role, *given) for (model, role), given in outcome.predictions.items()]
    for role, ids in (("validation", data.validation_ids), ("test", data.test_ids)):
        films = [records[film] for film in ids]
        unmarked = np.full((len(data.dataset.protocol), 2), np.nan)
        truths = {REFERENCE: np.stack([film.landmarks_px for film in films])}
        for name in sorted({name for film in films for name in film.annotators}):
            truths[READER_PREFIX + name] = np.stack([film.annotators.get(name, unmarked) for film in films])
        train = [records[film] for film in data.train_ids]
        shape = mean_shape_mm(np.stack([film.landmarks_px for film in train]), np.array([film.spacing_mm for film in train]))
        truths[MEAN_SHAPE] = shape / np.array([film.spacing_mm for film in films])[:, None, :]
        for model, points in truths.items():
            tables.append(_points_table(data, model, role, ids, points, np.full(points.shape[:2], np.nan)))
    return pd.concat(tables, ignore_index=True)


def _points_table(
    data: TrainingData, model: str, role: str, ids: Sequence[str], points_px: np.ndarray, confidence: np.ndarray
) -> pd.DataFrame:
    symbols = data.dataset.protocol.symbols
    return pd.DataFrame(
        {
            "model": model,
            "role": role,
            "fold": -1,
            "film": np.repeat(np.asarray(ids, dtype=object), len(symbols)),
            "landmark": np.tile(np.asarray(symbols, dtype=object), len(ids)),
            "x_px": points_px[..., 0].ravel(),
            "y_px": points_px[..., 1].ravel(),
            "confidence": confidence.ravel(),
        }
    )
