"""The trained networks that promotion chooses from."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ceph_core.config import Config
from ceph_core.data.films import TrainingData
from ceph_core.inference.averaging import networks_of
from ceph_core.inference.device import device_for
from ceph_core.inference.member import save_member
from ceph_core.training import checkpoint
from ceph_core.training.progressive import stage_at
from ceph_core.training.snapshots import SNAPSHOT_FOLDER, Snapshots
from search.candidates import Training, trainings
from search.policy import Policy
from search.promotion.jobs import Job, trial_of
from search.records import RunFolder, history
from search.standings import TrialState

Say = Callable[[str], None]

MEMBER_FOLDER = "member"
ENOUGH = 0.9
"""Share of its epochs after which a final training that the clock cut off is a network all the same: its rate is close to zero by then."""


@dataclass(frozen=True)
class Network:
    """One trained network.

    A training that kept snapshots left several: its last weights (no `variant`), each snapshot, and their mean.

    Attributes:
        folder: a member folder.
        epoch: epochs trained.
        fold: of films it did not train on; OWN_SPLIT: the search's validation films; EVERY_FILM: there are none.
    """

    trial: str
    config: Config = field(compare=False)
    folder: Path
    epoch: int
    fold: int
    variant: str = ""


@dataclass(frozen=True)
class Entry:
    """What selection picks: a candidate's network of one seed, or with folds one of each, so that every film has an answer.

    Attributes:
        candidate: the search's trial.
        seed: 0: of the search; of a final network: its number among those of the candidate.
    """

    candidate: str
    seed: int
    is_baseline: bool
    networks: tuple[Network, ...]
    is_final: bool = False

    @property
    def config(self) -> Config:
        """Of its networks, but for the seed the same."""
        return self.networks[0].config

    @property
    def variant(self) -> str:
        """Of its networks."""
        return self.networks[0].variant

    @property
    def name(self) -> str:
        """What reports call it."""
        seed = f"{'final' if self.is_final else 'seed'} {self.seed}" if self.seed else ""
        return " ".join(part for part in (self.candidate, seed, self.variant) if part)


def entries(run: RunFolder, policy: Policy, data: TrainingData, say: Say) -> list[Entry]:
    """Everything the candidates' trainings left that has an answer for every film which decides."""
    ended = {told.trial["trial"]: told.end["status"] for told in history(run.path) if told.end is not None}
    failed = {trial for trial, status in ended.items() if status == "failed"}
    wanted = trainings(policy.space.promotion)
    found: list[Entry] = []
    for state in policy.candidates():
        for seed in dict.fromkeys(training.seed for training in wanted):
            parts = [training for training in wanted if training.seed == seed]
            if seed == 0:
                found += _grouped(state, 0, [_of_search(run, state, failed, data, say)])
                continue
            missing = [trial for part in parts if ended.get(trial := trial_of(state.trial, part)) != "completed"]
            if missing:
                say(f"promotion: {state.trial} seed {seed} is left out: {', '.join(missing)} did not reach the end")
            else:
                found += _grouped(state, seed, [_of_job(run, state, policy, part, data) for part in parts])
    return found


def final_entries(run: RunFolder, policy: Policy, jobs: Sequence[Job], data: TrainingData, say: Say) -> list[Entry]:
    """The final networks that reached their end, or so nearly that it makes no difference (`ENOUGH` of their epochs)."""
    ended = {past.trial["trial"]: past.end["status"] for past in history(run.path) if past.end is not None}
    counts: Counter[str] = Counter()
    found = []
    for job in jobs:
        counts[job.candidate] += 1
        folder = run.trial_dir(job.trial)
        is_whole = ended.get(job.trial) == "completed"
        if not is_whole and (ended.get(job.trial) != "stopped" or _epochs_in(folder) < ENOUGH * job.config.train.epochs):
            say(f"final: {job.trial} is left out: it did not reach its end")
            continue
        network = _saved(folder, job.trial, job.config, data.for_fold(job.fold), job.fold)[0]
        found.append(Entry(job.candidate, counts[job.candidate], policy.trials[job.candidate].is_baseline, (network,), is_final=True))
    return found


def _epochs_in(folder: Path) -> int:
    """Epochs of the state that a training has left; 0 without one."""
    return int(checkpoint.load(folder)["epoch"]) if (folder / checkpoint.STATE_FILE).exists() else 0


def _grouped(state: TrialState, seed: int, parts: Sequence[Sequence[Network]]) -> list[Entry]:
    """One entry for every variant that all parts have."""
    by_variant: dict[str, list[Network]] = defaultdict(list)
    for part in parts:
        for network in part:
            by_variant[network.variant].append(network)
    return [Entry(state.trial, seed, state.is_baseline, tuple(same)) for same in by_variant.values() if len(same) == len(parts)]


def _of_search(run: RunFolder, state: TrialState, failed: Collection[str], data: TrainingData, say: Say) -> list[Network]:
    """Of the training on to the end if that got anywhere and did not fail, else of the search's trial as it stands."""
    for trial in (trial_of(state.trial, Training(0, -1)), state.trial):
        folder = run.trial_dir(trial)
        if trial in failed or not (folder / checkpoint.STATE_FILE).exists():
            continue
        epoch = int(checkpoint.load(folder)["epoch"])
        if stage_at(state.config, max(epoch, 1)) != state.config.schedule.stages[-1]:
            say(f"promotion: {state.trial} did not reach the last stage of its schedule in time and is left out")
            return []
        return _saved(folder, trial, state.config, data, -1)
    say(f"promotion: {state.trial} left no checkpoint and is left out")
    return []


def _of_job(run: RunFolder, state: TrialState, policy: Policy, training: Training, data: TrainingData) -> list[Network]:
    """Of a fresh training."""
    trial = trial_of(state.trial, training)
    config = state.config.model_copy(update={"train": state.config.train.model_copy(update={"seed": policy.seed + training.seed})})
    return _saved(run.trial_dir(trial), trial, config, data.for_fold(training.fold), training.fold)


def _saved(folder: Path, trial: str, config: Config, data: TrainingData, fold: int) -> list[Network]:
    """Member folders of what a training left."""
    saved = checkpoint.load(folder)
    epoch = int(saved["epoch"])
    snapshots = Snapshots(folder / SNAPSHOT_FOLDER, config).kept()
    made = []
    for variant, (weights, trained) in networks_of(config, data, saved["ema"], epoch, snapshots, device_for("auto")).items():
        target = folder / (f"{MEMBER_FOLDER}-{variant.replace(' ', '-')}" if variant else MEMBER_FOLDER)
        canvas, close = data.canvas(config.data.image_size), data.close_canvas(config.data.image_size, config.data.zoom)
        save_member(target, config, canvas, weights, len(data.dataset.protocol), trial=trial, epoch=trained, close=close)
        made.append(Network(trial, config, target, trained, fold, variant))
    return made
