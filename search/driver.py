"""How a run begins, goes on after an interruption, or is only shown: the input is checked whole before anything is written."""

import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from ceph_core import __version__
from ceph_core import data as datasets
from ceph_core.config import SourceConfig, problems_of
from ceph_core.config.profiles import Profile
from ceph_core.data.films import TrainingData
from ceph_core.data.fingerprint import dataset_fingerprint
from ceph_core.errors import InputError
from ceph_core.geometry import data_aspect
from ceph_core.training import feedback
from search import dryrun, exactness, packing, pages, warm_start
from search.execution import Execution
from search.film_tables import write_split_table
from search.live import LiveView
from search.memory_model import MemoryModel
from search.records import (
    Ledger,
    Run,
    TrialHistory,
    create,
    histories,
    load,
    open_for_resume,
    read_events,
    refuse_if_in_use,
    write_earlier,
)  # fmt: skip
from search.room import Gpu, Room
from search.space import Space
from search.tune import cluster as ray_cluster

_PACKAGES = ("torch", "timm", "ray", "optuna", "albumentations", "numpy", "pandas")


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
        warm_start: earlier runs whose trials teach the sampler.
    """

    space: Space
    source: SourceConfig
    seed: int
    hours: float | None
    address: str | None
    command: list[str]
    notes: list[str] = field(default_factory=list)
    warm_start: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Extension:
    """More of a run: trials in all, and hours from its very beginning; None: as planned before."""

    trials: int | None = None
    hours: float | None = None


def open_data(source: SourceConfig, space: Space) -> TrainingData:
    """Read and split the films, check the space against them, and cache every film at each size a trial may train at.

    Caching decodes them all: a damaged film is found here, before anything is started or written.

    Raises:
        InputError: whatever is wrong with the data, or batches larger than it.
    """
    cache_dir = datasets.default_cache_dir()
    dataset = datasets.read(source, cache_dir)
    sizes, folds = space.grid_sizes(), space.promotion.folds
    if folds > 1:
        source = source.model_copy(update={"num_folds": folds})
    try:
        data = TrainingData.of(dataset, source, cache_dir, sizes)
    except InputError as error:
        where = f"{space.source}: promotion.folds, which is data.num_folds here: " if folds > 1 else ""
        raise InputError([(where if "num_folds" in problem else "") + problem for problem in error.problems]) from error
    fewest = min(len(each.train_ids) for each in (data, *(data.with_fold(fold) for fold in range(folds if folds > 1 else 0))))
    space.check_against(fewest)
    for point in space.start_from:  # a schedule's file or landmarks that do not fit would fail every trial
        feedback.begin(space.configure(point, 0), data.train_ids, dataset, ())
    if not data.validation_ids:
        raise InputError(f"{dataset.root}: no validation films; trials could not be compared")
    if not data.test_ids:
        raise InputError(f"{dataset.root}: no test films; the ensemble could not be judged")
    larger = [data.close_canvas(size, zoom) for size in sizes for zoom in space.zooms()]
    data.cache({*sizes, *(max(canvas.height, canvas.width) for canvas in larger if canvas is not None)})
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
    data = open_data(options.source, options.space)
    for line in warm_start.read(options.warm_start, options.space, dataset_fingerprint(data.dataset, data.cache_dir)).notes:
        view.say(line)
    settled, _ = _settled(options.space, data, ray_cluster.seen_gpus, (), view)
    here = None if options.address else partial(ray_cluster.this_machine().places, settled.resources)
    dryrun.show(options.space, data, view, here)


def start(options: RunOptions, run_dir: Path, view: LiveView) -> Path:
    """A new run.

    Raises:
        InputError: the input is wrong or the folder in use; then nothing is left behind.
    """
    began = time.monotonic()
    refuse_if_in_use(run_dir)
    for line in options.notes:
        view.say(line)
    view.say(f"reading the films of {options.source.root}" if options.source.root else "no --data: cephalograms are drawn")
    data = open_data(options.source, options.space)
    fingerprint = dataset_fingerprint(data.dataset, data.cache_dir)
    warm = warm_start.read(options.warm_start, options.space, fingerprint)
    for line in (*data.splits.notes, *warm.notes):
        view.say(line)
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
            "fingerprint": fingerprint,
            "films": {name: len(data.splits.ids(name)) for name in ("train", "validation", "test", "double")},
        },
        "space": options.space.to_dict(),
        "warm_start": [str(run) for run in options.warm_start],
        "versions": {"python": platform.python_version(), "ceph-search": __version__, **{name: version(name) for name in _PACKAGES}},
        "commit": _commit(),
    }
    view.say("starting Ray" if options.address is None else f"joining the Ray cluster at {options.address}")
    cluster = ray_cluster.connect(options.address)
    try:
        space, room = _settled(options.space, data, partial(ray_cluster.gpus, view.say), (), view)
        workers = cluster.places(space.resources)
        run = create(run_dir, plan)
        write_split_table(run, data)
        write_earlier(run, warm.trials)
        with Ledger(run.path) as ledger:
            spent_s = time.monotonic() - began
            return Execution(run, space, options.seed, options.hours, data, cluster, workers, view, spent_s, ledger, room).go()
    finally:
        ray_cluster.disconnect()


def resume(run_dir: Path, address: str | None, view: LiveView, searching: bool = True, extension: Extension | None = None) -> Path:
    """Go on with a run that was interrupted or killed; without `searching`, with its promotion at once.

    Args:
        extension: more trials or hours, also for a run that has finished: it searches on, promotes again and has a new ensemble.

    Raises:
        InputError: the folder is no run, its films, plan, ledger or states have changed so that going on would not be exact, another
            driver runs in it, or the extension extends nothing.
    """
    run = open_for_resume(run_dir)
    exactness.check_ledger(run, read_events(run_dir))
    before = load(run_dir)
    if before.status == "finished" and extension is None:
        view.say(f"{run_dir}: finished before; nothing is left to do but the report")
        return pages.write(run_dir)
    plan = before.plan
    missing = [key for key in ("space", "source", "seed", "data") if key not in plan]
    if missing:
        raise InputError(f"{run.plan_path}: {', '.join(missing)} missing; the plan was edited, restore it or start a new run")
    space = Space.from_dict(plan["space"], source=str(run.plan_path))
    try:
        source = SourceConfig.model_validate(plan["source"])
    except ValidationError as error:
        raise InputError(problems_of(error, f"{run.plan_path}: source")) from error
    if extension is not None:
        space, plan = _extended(space, before, extension)
    options = RunOptions(space, source, plan["seed"], plan.get("hours"), address or plan.get("address"), plan.get("command", []))
    with Ledger(run.path) as ledger:  # first of all: nothing is touched while another driver lives
        for line in exactness.check(run, space, options.seed, list(ledger.events())):
            view.say(line)
        data = open_data(options.source, space)
        found = dataset_fingerprint(data.dataset, data.cache_dir)
        if found != plan["data"]["fingerprint"]:
            raise InputError(
                f"--resume {run_dir}: the films in {data.dataset.root} are not those the run began with (fingerprint {found[:12]}, was "
                f"{plan['data']['fingerprint'][:12]}); restore them, or start a new run"
            )
        cluster = ray_cluster.connect(options.address)
        try:
            past = histories(list(ledger.events()))
            settled, room = _settled(
                space, data, partial(ray_cluster.gpus, view.say), past, view, None if extension else before.gpus_per_trial
            )
            workers = cluster.places(settled.resources)
            write_split_table(run, data)
            if extension is not None:
                ledger.append_extended(space.budget.trials, options.hours)
                run.write_plan(plan)
            execution = Execution(run, settled, options.seed, options.hours, data, cluster, workers, view, before.seconds, ledger, room)
            return execution.go(searching)
        finally:
            ray_cluster.disconnect()


def _settled(
    space: Space,
    data: TrainingData,
    gpus: Callable[[], Sequence[Gpu]],
    past: Sequence[TrialHistory],
    view: LiveView,
    gpus_per_trial: float | None = None,
) -> tuple[Space, Room]:
    """The space as these GPUs will have it, and what is known of their memory, from the records too.

    Args:
        gpus_per_trial: that an earlier driver settled on.

    Raises:
        InputError: a start point fits on no GPU.
    """
    aspect = data_aspect([record.size for record in data.dataset.records])
    room = Room(gpus() if space.resources.on_gpu else (), MemoryModel(aspect, len(data.dataset.protocol)))
    room.recall(past)
    settled, notes = packing.settled(space, room, gpus_per_trial)
    for line in notes:
        view.say(line)
    return settled, room


def _extended(space: Space, before: Run, extension: Extension) -> tuple[Space, dict[str, Any]]:
    """The space and plan with a larger budget.

    Raises:
        InputError: the run has had as much already.
    """
    run, plan = before.folder.path, before.plan
    searched = before.trials[before.trials["role"] == "search"] if len(before.trials) else before.trials
    trials = extension.trials if extension.trials is not None else max(space.budget.trials, 100_000 if extension.hours is not None else 0)
    hours = extension.hours if extension.hours is not None else plan.get("hours")
    problems = []
    if extension.trials is not None and extension.trials <= len(searched):
        problems.append(
            f"--resume {run}: --trials {extension.trials}: the run has {len(searched)} trials already; trials count from its beginning"
        )
    if hours is not None and hours * 3600 <= before.seconds:
        given = f"--hours {extension.hours:g}" if extension.hours is not None else f"its {hours:g} hours, which stay without --hours"
        problems.append(f"--resume {run}: {given}: the run has taken {before.seconds / 3600:.2f} h already; hours count from its beginning")
    if problems:
        raise InputError(problems)
    larger = space.model_copy(update={"budget": space.budget.model_copy(update={"trials": trials, "hours": hours})})
    return larger, {**plan, "hours": hours, "space": larger.to_dict()}


def _commit() -> str | None:
    """The commit this code stands at, with a + if files differ from it; None outside a git checkout."""
    try:
        asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty=+", "--match="]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
