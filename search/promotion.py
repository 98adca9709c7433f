"""From the search's best trials to the exported ensemble: confirm, select on validation, open the locked test once.

Knows neither Ray nor Tune: it is handed `run_jobs`, which trains, and `call`, which runs a function where the accelerators are.
"""

import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ceph_core.config import Config
from ceph_core.data.films import TrainingData
from ceph_core.data.fingerprint import dataset_fingerprint, digests
from ceph_core.data.imagefile import read_grey
from ceph_core.data.records import CephRecord
from ceph_core.geometry import data_aspect
from ceph_core.inference.averaging import networks_of
from ceph_core.inference.device import device_for
from ceph_core.inference.evaluate import Scores, mean_shape, readers, score
from ceph_core.inference.export import export_onnx
from ceph_core.inference.manifest import make_manifest, write_manifest
from ceph_core.inference.member import Member, load_member, save_member
from ceph_core.inference.outputs import MemberOutputs, member_outputs
from ceph_core.inference.predictor import Predictor
from ceph_core.inference.refine import write_shape
from ceph_core.inference.selection import Candidate, Selection, combined_points, greedy_select
from ceph_core.inference.tta import Tta, common_of
from ceph_core.metrics import Paired, paired_test
from ceph_core.training import checkpoint
from ceph_core.training.progressive import stage_at
from ceph_core.training.snapshots import SNAPSHOT_FOLDER, Snapshots
from search.policy import Policy, TrialState
from search.records import RunFolder, history

RunJobs = Callable[["Sequence[Job]"], None]
"""Trains jobs, as many at a time as there is room for, until done or out of time; failures are in the records."""
CallAll = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], list[Any]]
"""`call_all(function, calls)` runs the function on workers, once a tuple of arguments, and gives the results in order."""
Say = Callable[[str], None]

CONFIRM_SUFFIX = "-full"
MEMBER_FOLDER = "member"


@dataclass(frozen=True)
class Job:
    """A candidate's training to the full budget.

    Attributes:
        trial: id of the confirming trial.
        candidate: the search's trial it continues from its checkpoint: the plan is the same, so that is equal to never having stopped.
        values: the knobs' values.
        from_epoch: epochs the candidate has had.
    """

    trial: str
    candidate: str
    values: Mapping[str, Any]
    config: Config
    from_epoch: int


@dataclass(frozen=True)
class Promoted:
    """A network that can be a member: its trial, configuration, member folder and epochs trained.

    A candidate whose trial kept snapshots offers several: its last weights (no `variant`), each snapshot, and their mean.
    """

    trial: str
    candidate: str
    config: Config
    folder: Path
    epoch: int
    is_baseline: bool
    variant: str = ""

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{self.candidate} {self.variant}".strip()


@dataclass(frozen=True, eq=False)
class Outcome:
    """What promotion found: rows of the final table in order, and the ensemble against the baseline and the best single."""

    selection: Selection
    members: tuple[Promoted, ...]
    scores: tuple[Scores, ...]
    against_baseline: Paired | None
    against_single: Paired | None
    onnx_difference_px: float
    predictions: Mapping[tuple[str, str], tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]]
    """(model, role) -> film ids, (N, K, 2) original px, (N, K) confidence."""


def jobs_for(policy: Policy) -> list[Job]:
    """Trainings that the candidates still lack: the baseline's first, then by rank."""
    return [
        Job(state.trial + CONFIRM_SUFFIX, state.trial, state.values, state.config, state.epoch)
        for state in policy.candidates()
        if state.status != "completed"
    ]


def promote(run: RunFolder, policy: Policy, data: TrainingData, run_jobs: RunJobs, call_all: CallAll, say: Say) -> Outcome:
    """Train the candidates on, choose members on validation films, score them once on the locked test and export.

    Raises:
        RuntimeError: no trial left weights behind.
    """
    jobs = jobs_for(policy)
    if jobs:
        say(f"promotion: {len(jobs)} of {len(policy.candidates())} candidates train on to the full budget")
        run_jobs(jobs)
    failed = {told.trial["trial"] for told in history(run.path) if told.end is not None and told.end["status"] == "failed"}
    promoted = [found for state in policy.candidates() for found in _promoted(run, state, failed, data, say)]
    if not promoted:
        raise RuntimeError("no trial left a checkpoint that could become a member; see the failed trials in the report")
    say(f"promotion: {len(promoted)} networks of candidates answer for {len(data.validation_ids)} validation films")
    tta = common_of([found.config for found in promoted])
    if tta.views[1:]:
        say(f"promotion: points are averaged over views ({tta}); heatmaps are not, so that members are combined by their points")
    one_pass = not tta.views[1:]
    validation = call_all(answers, [(found.folder, data, data.validation_ids, one_pass, tta) for found in promoted])
    selection = _select(policy, data, promoted, validation, say)
    members = tuple(promoted[index] for index in selection.members)
    say(f"promotion: chosen {selection.combine} of {', '.join(m.name for m in members)}: {selection.score_mm:.3f} mm on validation")
    return _finish(run, data, promoted, validation, selection, members, call_all, say)


def answers(folder: Path, data: TrainingData, film_ids: tuple[str, ...], heatmaps: bool, tta: Tta) -> MemberOutputs:
    """A member's answers for films of the data set; runs on a worker."""
    member = load_member(folder, device_for("auto"))
    films = data.open(max(member.canvas.height, member.canvas.width))
    rows = films.rows(film_ids)
    return member_outputs(member, films.images[rows], films.affines[rows], heatmaps=heatmaps, tta=tta)


def _promoted(run: RunFolder, state: TrialState, failed: Collection[str], data: TrainingData, say: Say) -> list[Promoted]:
    """The networks of a candidate: of its confirmation if that got anywhere and did not fail, else of its search trial."""
    for trial in (state.trial + CONFIRM_SUFFIX, state.trial):
        folder = run.trial_dir(trial)
        if trial in failed or not (folder / checkpoint.STATE_FILE).exists():
            continue
        saved = checkpoint.load(folder)
        epoch = int(saved["epoch"])
        if stage_at(state.config, max(epoch, 1)) != state.config.schedule.stages[-1]:
            say(f"promotion: {state.trial} did not reach the last stage of its schedule in time and is left out")
            return []
        snapshots = Snapshots(folder / SNAPSHOT_FOLDER, state.config).kept()
        ways = networks_of(state.config, data, saved["ema"], epoch, snapshots, device_for("auto"))
        made = []
        for variant, (weights, trained) in ways.items():
            target = folder / MEMBER_FOLDER if not variant else folder / f"{MEMBER_FOLDER}-{variant.replace(' ', '-')}"
            canvas = data.canvas(state.config.data.image_size)
            save_member(target, state.config, canvas, weights, len(data.dataset.protocol), trial=trial, epoch=trained)
            made.append(Promoted(trial, state.trial, state.config, target, trained, state.is_baseline, variant))
        return made
    say(f"promotion: {state.trial} left no checkpoint and is left out")
    return []


def _select(policy: Policy, data: TrainingData, promoted: Sequence[Promoted], validation: Sequence[MemberOutputs], say: Say) -> Selection:
    records = _records(data, data.validation_ids)
    pool = []
    for found, outputs in zip(promoted, validation, strict=True):
        films = data.open(found.config.data.image_size)
        pool.append(Candidate.of(load_member(found.folder), outputs, films.affines[films.rows(data.validation_ids)]))
    reference = np.stack([record.landmarks_px for record in records])
    spacing = np.array([record.spacing_mm for record in records])
    return greedy_select(pool, reference, spacing, policy.space.promotion.max_members, progress=lambda line: say(f"promotion: {line}"))


def _finish(
    run: RunFolder,
    data: TrainingData,
    promoted: Sequence[Promoted],
    validation: Sequence[MemberOutputs],
    selection: Selection,
    members: tuple[Promoted, ...],
    call_all: CallAll,
    say: Say,
) -> Outcome:
    """Open the locked test, once, for ensemble, best single and baseline; export what was chosen."""
    single = promoted[selection.trace[0].picks[0]]
    baseline = next((found for found in promoted if found.is_baseline and not found.variant), None)
    wanted = {found.folder: found for found in (*members, single, *([baseline] if baseline else []))}
    say(f"promotion: the locked test is opened: {len(data.test_ids)} films, {len(wanted)} models")
    heatmaps, tta = selection.combine == "heatmap_mean", common_of([found.config for found in promoted])
    calls = [(found.folder, data, data.test_ids, heatmaps, tta) for found in wanted.values()]
    test = dict(zip(wanted, call_all(answers, calls), strict=True))
    loaded = [load_member(found.folder) for found in members]
    points = _combined(data, members, loaded, selection, [test[found.folder] for found in members])
    confidence = np.average([test[found.folder].confidence for found in members], axis=0, weights=selection.weights)
    predictions = {("ensemble", "test"): (data.test_ids, points, confidence)}
    for name, found in (("best single", single), ("baseline", baseline)):
        if found is not None:
            predictions[name, "test"] = (data.test_ids, test[found.folder].points_px, test[found.folder].confidence)
    for found, outputs in zip(promoted, validation, strict=True):
        predictions[found.name, "validation"] = (data.validation_ids, outputs.points_px, outputs.confidence)
    records = _records(data, data.test_ids)
    scores = {name: score(predicted, records, name) for (name, role), (_, predicted, _) in predictions.items() if role == "test"}
    against = {name: paired_test(scores["ensemble"].errors_mm, row.errors_mm) for name, row in scores.items() if name != "ensemble"}
    rows = (*scores.values(), mean_shape(_records(data, data.train_ids), records), *readers(records))
    say("promotion: the ensemble is exported, its ONNX file checked against PyTorch")
    sure = np.average([validation[index].confidence for index in selection.members], axis=0, weights=selection.weights)
    difference = _export(run, data, members, loaded, selection, rows, against, records, sure, tta, say)
    return Outcome(selection, members, rows, against.get("baseline"), against.get("best single"), difference, predictions)


def _combined(
    data: TrainingData, members: Sequence[Promoted], loaded: Sequence[Member], selection: Selection, outputs: Sequence[MemberOutputs]
) -> NDArray[np.float64]:
    """(N, K, 2) points of the chosen ensemble on the test films."""
    pool = {}
    for index, found, member, output in zip(selection.members, members, loaded, outputs, strict=True):
        films = data.open(found.config.data.image_size)
        pool[index] = Candidate.of(member, output, films.affines[films.rows(data.test_ids)])
    chosen = next(step for step in selection.trace if step.score_mm == selection.score_mm and set(step.picks) == set(selection.members))
    return combined_points([pool[pick] for pick in chosen.picks], selection.combine)


def _export(
    run: RunFolder,
    data: TrainingData,
    members: Sequence[Promoted],
    loaded: Sequence[Member],
    selection: Selection,
    rows: Sequence[Scores],
    against: Mapping[str, Paired],
    test: Sequence[CephRecord],
    sure: NDArray[np.float64],
    tta: Tta,
    say: Say,
) -> float:
    """Write ensemble/ whole or not at all; the largest difference between ONNX and PyTorch, px."""
    fresh = run.ensemble_dir.with_name(f".{run.ensemble_dir.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for number, found in enumerate(members):
        shutil.copytree(found.folder, fresh / f"member_{number}")
    figures: dict[str, Any] = {
        "validation_mre_mm": selection.score_mm,
        "test": {row.name: row.to_dict() for row in rows},
        "paired_mm": {f"ensemble against {name}": vars(paired) for name, paired in against.items()},
    }
    learned = (*data.train_ids, *data.validation_ids)
    by_id = data.dataset.by_id()
    manifest = make_manifest(
        loaded,
        selection.weights,
        selection.combine,
        data.dataset.protocol,
        data_aspect([record.size for record in data.dataset.records]),
        data_fingerprint=dataset_fingerprint(data.dataset, data.cache_dir),
        training_films=learned,
        training_digests=digests([by_id[film].image for film in learned], data.cache_dir),
        figures=figures,
        tta=tta,
    )
    write_manifest(fresh, manifest)
    if missing := write_shape(fresh, data, sure):
        say(f"promotion: {missing}")
    predictor = Predictor.load(fresh)
    difference = export_onnx(
        predictor, fresh / "ensemble.onnx", [read_grey(record.image) for record in test[:3]], lambda line: say(f"promotion: {line}")
    )
    figures["onnx_difference_px"] = difference
    write_manifest(fresh, manifest.model_copy(update={"figures": figures}))
    if run.ensemble_dir.exists():
        aside = run.ensemble_dir.with_name(f".ensemble.{int(time.time())}")
        run.ensemble_dir.rename(aside)
        shutil.rmtree(aside)
    fresh.rename(run.ensemble_dir)
    return difference


def _records(data: TrainingData, film_ids: Sequence[str]) -> list[CephRecord]:
    by_id = data.dataset.by_id()
    return [by_id[film] for film in film_ids]
