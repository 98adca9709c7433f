"""A Ray cluster, started here or joined, and trials run on it."""

import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

# Before Ray is imported: no usage statistics, no loggers of Ray's beside our records, no state snapshots we do not read.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1000000")  # the searcher hands out no more than there are places: start them at once
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the old output keeps quiet at verbose=0
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import ray.exceptions
import torch
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ceph_core.data.films import TrainingData
from ceph_core.errors import InputError
from search.retries import MOST_LOSSES
from search.room import Gpu
from search.space.schema import AUTO, Resources
from search.tune.driverside import DriverSide
from search.tune.forget import Forget
from search.tune.scheduler import Judge, JudgeScheduler
from search.tune.searcher import NextOrder, OrderSearcher
from search.tune.trial import LandmarkTrial, Shared

Result = TypeVar("Result")

_ANSWER_S = 60.0


@dataclass(frozen=True)
class Cluster:
    """What trials run on.

    Attributes:
        cpus, gpus: of all nodes.
        dashboard: its address; empty if there is none.
        is_local: started by this process.
        prometheus_config: Ray's own file for Prometheus, which finds every node of this cluster; empty if it is not known here.
    """

    cpus: float
    gpus: float
    dashboard: str
    is_local: bool
    prometheus_config: str = ""

    def places(self, resources: Resources) -> int:
        """How many trials run at a time.

        Raises:
            InputError: not even one fits.
        """
        places = int(self.cpus / resources.cpus_per_trial + 1e-9)
        assert resources.gpus_per_trial != AUTO, "resolved by search.packing"
        if resources.gpus_per_trial:
            places = min(places, int(self.gpus / resources.gpus_per_trial + 1e-9))
        if places < 1:
            raise InputError(
                f"resources: a trial wants {resources.cpus_per_trial} CPUs and {resources.gpus_per_trial:g} GPUs, the cluster has "
                f"{self.cpus:g} and {self.gpus:g}; lower resources.cpus_per_trial / gpus_per_trial (--set), or choose --profile cpu"
            )
        return min(places, resources.max_concurrent or places)


def connect(address: str | None) -> Cluster:
    """Start Ray on this machine, or join a cluster ("auto" or HOST:PORT).

    The dashboard of a local cluster listens on loopback and asks for Ray's token.

    Raises:
        InputError: no cluster answers at the address.
    """
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # failed trials are told by our own records
    context: Any
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        context = ray.init(address="local", include_dashboard=True, dashboard_host="127.0.0.1", **options)
    else:
        try:
            context = ray.init(address=address, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(
                f"--address {address}: no Ray cluster answers ({str(error).splitlines()[0]}); start one with `ray start --head`"
            ) from error
    if threading.current_thread() is threading.main_thread():
        # Ray's own handler would end the driver on the spot; a scheduler's SIGTERM deserves what Ctrl-C gets.
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    total = ray.cluster_resources()  # type: ignore[no-untyped-call]
    # Not `session_latest`: that is whichever Ray was started last on this machine.  The file itself follows within seconds.
    session = Path(context.address_info["session_dir"])
    config = str(session / "metrics" / "prometheus" / "prometheus.yml") if session.is_dir() else ""
    return Cluster(total.get("CPU", 0.0), total.get("GPU", 0.0), context.dashboard_url or "", address is None, config)


def has_gpu(address: str) -> bool:
    """Whether the cluster at the address has a GPU."""
    connect(address)
    try:
        return bool(ray.cluster_resources().get("GPU", 0.0))  # type: ignore[no-untyped-call]
    finally:
        ray.shutdown()


def gpus(say: Callable[[str], None]) -> tuple[Gpu, ...]:
    """Every GPU of the cluster, as a process on its node sees it; those of a node that does not answer within a minute are left out, and
    `say` is told."""
    ask = ray.remote(num_cpus=0, num_gpus=0, max_calls=1, max_retries=0)(seen_gpus)  # its process ends, and with it what it took of a GPU
    asked = {
        ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            runtime_env={"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}},  # without a GPU of its own it would see none
        ).remote(): node["NodeManagerAddress"]
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"] and node["Resources"].get("GPU")
    }
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_S) if asked else ([], [])
    without = "the memory of its GPUs is not known, and what fits there is learned from failures"
    for answer in silent:
        say(f"node {asked[answer]} did not answer within {_ANSWER_S:.0f} s: {without}")
    found: tuple[Gpu, ...] = ()
    for answer in answered:
        try:
            found += ray.get(answer)
        except ray.exceptions.RayError as error:  # a node without a working torch, say: its trials will say more
            say(f"node {asked[answer]} could not be asked ({str(error).strip().splitlines()[-1]}): {without}")
    return found


def this_machine() -> Cluster:
    """What a cluster started here would have, without starting one."""
    return Cluster(float(os.cpu_count() or 1), float(torch.cuda.device_count()), "", is_local=True)


def seen_gpus() -> tuple[Gpu, ...]:
    """The GPUs that this process sees; it takes some memory of each."""
    found = []
    for place in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(place)
        found.append(Gpu(torch.cuda.get_device_name(place), total / 2**20, free / 2**20))
    return tuple(found)


def disconnect() -> None:
    """Leave the cluster; one started here ends."""
    ray.shutdown()


def run_orders(
    next_order: NextOrder, judge: Judge, shared: Shared, resources: Resources, workers: int, run_dir: Path, on_tick: Callable[[], None]
) -> bool:
    """Run trials until no order is left.

    Args:
        next_order: asked whenever a place is free; None ends the series once no trial runs.
        judge: told of every report, failure and loss.
        on_tick: called about ten times a second while trials run.

    Returns:
        False if Ctrl-C ended it early.
    """
    scratch = run_dir / ".ray"
    shutil.rmtree(scratch, ignore_errors=True)  # a killed driver's
    searcher = OrderSearcher(next_order, workers)
    trainable = tune.with_resources(tune.with_parameters(LandmarkTrial, shared=shared), partial(bundle, resources))
    trainable.__qualname__ = LandmarkTrial.__name__  # what the dashboard calls an actor; Tune's wrapper has its own
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=JudgeScheduler(judge),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_dirname,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            callbacks=[_Loop(on_tick, searcher), Forget()],
        ),
    )
    ours = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    try:
        tuner.fit()
        # Tune puts its own handler in the place of ours, and takes it away only when Ctrl-C calls it.
        interrupted = in_main and signal.getsignal(signal.SIGINT) is ours
    finally:
        if in_main:
            signal.signal(signal.SIGINT, ours)
        shutil.rmtree(scratch, ignore_errors=True)
    return searcher.is_exhausted and not interrupted


def call_all(
    function: Callable[..., Result], calls: Sequence[tuple[Any, ...]], resources: Resources, on_wait: Callable[[], None]
) -> list[Result]:
    """Run a function on workers, each call with a trial's resources, as many at a time as fit; `on_wait` is called every 15 s.

    A call whose worker was lost is made again, as often as a trial goes on.
    """
    share = float(resources.gpus_per_trial)
    remote = ray.remote(num_cpus=resources.cpus_per_trial, num_gpus=share, max_retries=MOST_LOSSES)(function)
    shared = [tuple(ray.put(part) if isinstance(part, TrainingData) else part for part in call) for call in calls]
    answers = [remote.remote(*call) for call in shared]
    while len(ray.wait(answers, num_returns=len(answers), timeout=15)[0]) < len(answers):
        on_wait()
    results: list[Result] = ray.get(answers)
    return results


class _Loop(DriverSide, tune.Callback):
    """Calls back from Ray's loop, so that no second thread looks at the policy."""

    def __init__(self, on_tick: Callable[[], None], searcher: OrderSearcher) -> None:
        self._on_tick, self._searcher = on_tick, searcher

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._on_tick()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._searcher.placed(trial.trial_id)


def bundle(resources: Resources, config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What a trial occupies."""
    wanted: dict[str, float] = {"CPU": resources.cpus_per_trial}
    if resources.gpus_per_trial:
        wanted["GPU"] = round(config["order"]["places"] * float(resources.gpus_per_trial), 4)
    return tune.PlacementGroupFactory([wanted])


def _name(trial: Any) -> str:
    return str(trial.config["order"]["trial"])


def _dirname(trial: Any) -> str:
    """One an attempt: Tune adds to the error file that it finds, and the trial may have died before."""
    return f"{_name(trial)}-{trial.trial_id}"
