"""Every knob reaches training: changing it changes what it names.  A knob without a row here fails the first test."""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_films import TINY, make, tiny

from ceph_core.codec import codec_for
from ceph_core.config import Config, apply, get, knobs
from ceph_core.data.films import TrainingData
from ceph_core.data.loader import Batch
from ceph_core.inference.tta import common_of
from ceph_core.models import build, recomputed_parts
from ceph_core.training import feedback
from ceph_core.training.device import num_workers, picks_compile, picks_graphs
from ceph_core.training.hard_landmarks import running
from ceph_core.training.health import stops_for
from ceph_core.training.plan import EpochPlan, learning_rate, plan
from ceph_core.training.snapshots import Snapshots
from ceph_core.training.trainer import Training
from ceph_core.transforms import Augment
from search.space import Space

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    """A knob's other value, what must be set beside it to see it, and what then changes.

    `observe` gives something comparable; `given` is set before and after.
    """

    value: Any
    observe: Callable[[Config, TrainingData], Any]
    given: Mapping[str, Any] | None = None


def planned(what: Callable[[EpochPlan], Any], epoch: int = 4, **known: Any) -> Callable[[Config, TrainingData], Any]:
    """Something of an epoch's plan, with feedback of these values."""

    def observe(config: Config, data: TrainingData) -> Any:
        begun = feedback.begin(config, data.train_ids, data.dataset, ())
        return what(plan(config, epoch, replace(begun, **known)))

    return observe


def over_epochs(what: Callable[[EpochPlan], Any]) -> Callable[[Config, TrainingData], list[Any]]:
    """Something of the plans of four epochs."""
    return lambda config, data: [planned(what, epoch)(config, data) for epoch in range(1, 5)]


def rates(config: Config, _: TrainingData) -> list[float]:
    return [learning_rate(config, epoch / 4) for epoch in range(1, 4 * config.train.epochs)]


def training(what: Callable[[Training], Any]) -> Callable[[Config, TrainingData], Any]:
    """Something of a training that has not begun."""

    def observe(config: Config, data: TrainingData) -> Any:
        made = Training(config, data, device=CPU)
        return what(made)

    return observe


def stepped(what: Callable[[Training], Any]) -> Callable[[Config, TrainingData], Any]:
    """Something of a training after its first optimizer steps on one fixed batch."""

    def observe(config: Config, data: TrainingData) -> Any:
        made = Training(config, data, device=CPU)
        films = made._films.at(config.data.image_size)
        rows = films.rows(data.train_ids[:4])
        batch = Batch(torch.from_numpy(films.images[rows])[:, None], torch.from_numpy(films.landmarks_input[rows].astype(np.float32)))
        codec = made._codec(config.data.image_size)
        made.learner.set_mode(False, False)
        sigma = torch.full((3,), codec.sigma_px)
        for _ in range(2):
            made.learner.step(batch, codec, sigma, torch.ones(3), 4, config.train.lr)
        return what(made)

    return observe


def weights(made: Training) -> float:
    return float(sum(weight.double().abs().sum() for weight in made.learner.net.parameters()))


def averaged(made: Training) -> float:
    return float(sum(weight.double().abs().sum() for weight in made.learner.ema.net.parameters()))


def outputs(made: Training) -> float:
    """Of the network in training mode, on a fixed film."""
    torch.manual_seed(5)
    random = torch.Generator().manual_seed(1)
    made.learner.net.train()
    return float(made.learner._forward(torch.rand(2, 1, 64, 64, generator=random) * 255).double().abs().sum())


def shown(config: Config, data: TrainingData) -> list[float]:
    """Twenty augmented films, summed up."""
    films = data.open(config.data.image_size)
    drawn = [Augment(config.augment)(films.images[0], films.landmarks_input[0], config.train.seed, epoch, 0) for epoch in range(20)]
    return [float(image.astype(np.float64).sum()) for image, _ in drawn] + [float(points.sum()) for _, points in drawn]


def snapshots(config: Config, _: TrainingData) -> int:
    return Snapshots(Path("nowhere"), config)._keep


def kinds(made: Training) -> tuple[Any, ...]:
    return type(made.learner.net.backbone).__name__, sum(weight.numel() for weight in made.learner.net.parameters())


def decoded(config: Config, _: TrainingData) -> list[float]:
    """Points of one map that is no Gaussian."""
    maps = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3)) ** 4
    found, _ = codec_for(config, config.data.image_size).decode(maps)
    return list(found.flatten().tolist())


def remembered(config: Config, _: TrainingData) -> tuple[float, ...]:
    return running(config, (0.1, 0.2, 0.3), (0.3, 0.2, 0.1))


def films_shown_by_csv(config: Config, data: TrainingData) -> Any:
    return planned(lambda each: each.film_ids, epoch=1)(config, data) if config.curriculum.csv else None


STAGES = ({"epochs": 0.5, "size": 0.75, "batch": 2}, {"epochs": 0.5})
ERRORS = {"landmark_error": (0.01, 0.02, 0.09)}
HARD = {"hard_landmarks.weight": 1.0, "hard_landmarks.widen": 1.0}
EASY = {"curriculum.difficulty": "image"}
KNOWN = {"difficulty": tuple(float(number) for number in range(8))}

films_shown = planned(lambda each: each.film_ids, epoch=1, **KNOWN)
sizes_shown = planned(lambda each: each.step_sizes)
weights_of = planned(lambda each: each.landmark_weights, **ERRORS)
sigma_of = planned(lambda each: each.sigma_px, **ERRORS)

ROWS: dict[str, Row] = {
    "data.image_size": Row(96, sizes_shown),
    "data.zoom": Row(1.5, lambda config, data: data.close_canvas(config.data.image_size, config.data.zoom)),
    "model.name": Row("hrnet_w18", training(kinds)),
    "model.head_stride": Row(2, training(lambda made: tuple(made.learner.net.eval()(torch.zeros(1, 1, 64, 64)).shape))),
    "model.pretrained": Row("PATH", training(weights)),
    "model.dropout": Row(0.5, training(outputs)),
    "model.drop_path": Row(0.5, training(outputs)),
    "model.norm": Row("group", training(lambda made: sum(type(part).__name__ == "GroupNorm" for part in made.learner.net.modules()))),
    "model.norm_frozen_after": Row(0.9, planned(lambda each: each.frozen_norm, epoch=3), {"model.norm": "frozen"}),
    "heatmap.sigma_rel": Row(0.02, sigma_of),
    "heatmap.loss": Row("mse", stepped(weights)),
    "heatmap.decoder": Row("argmax", decoded),
    "heatmap.decoder_window": Row(6.0, decoded, {"heatmap.decoder": "soft_argmax"}),
    "heatmap.landmark_sigma": Row("D=2 C=0.5", sigma_of),
    "heatmap.learned_sigma": Row(0.1, stepped(lambda made: made.learner.sigmas is not None and made.learner.sigmas.factors().tolist())),
    "augment.flip_p": Row(0.5, shown),
    "augment.strength": Row(0.5, shown),
    "augment.recipe": Row("challenge", shown),
    "augment.anisotropic_p": Row(0.1, shown),
    "train.epochs": Row(9, rates),
    "train.batch_size": Row(2, planned(lambda each: (each.batch, each.num_steps))),
    "train.micro_batch": Row(2, planned(lambda each: each.micro_batch)),
    "train.checkpoint_activations": Row(True, planned(lambda each: each.checkpoints)),
    "train.lr": Row(1e-3, rates),
    "train.weight_decay": Row(0.5, stepped(weights)),
    "train.warmup_epochs": Row(2.0, rates),
    "train.clip_norm": Row(1e-6, stepped(weights), {"train.lr": 1e-3}),
    "train.ema_decay": Row(0.0, stepped(averaged)),
    "train.precision": Row("bf16", training(lambda made: made.precision)),
    "train.channels_last": Row(
        False, training(lambda made: made.learner.net.backbone.conv2.weight.is_contiguous())
    ),
    "train.compile": Row(True, lambda config, data: picks_compile(config, len(data.train_ids), CPU)),
    "train.cuda_graphs": Row(False, lambda config, _: picks_graphs(config.train, torch.device("cuda"), "bf16")),
    "train.validations": Row(1, over_epochs(lambda each: each.validates)),
    "train.snapshots": Row(3, snapshots),
    "train.workers": Row(2, lambda config, _: num_workers(config.train, CPU)),
    "train.stop_hopeless": Row(True, lambda config, _: stops_for(config, ("collapse",), 3)),
    "train.seed": Row(7, planned(lambda each: each.film_ids)),
    "schedule.stages": Row(STAGES, planned(lambda each: (each.size, each.batch), epoch=1), {"data.image_size": 96}),
    "schedule.scales": Row((1.0, 1.5), over_epochs(lambda each: each.step_sizes)),
    "schedule.draw": Row("batch", over_epochs(lambda each: each.step_sizes), {"schedule.scales": (1.0, 1.5), "train.batch_size": 1}),
    "curriculum.difficulty": Row("image", films_shown),
    "curriculum.csv": Row("CSV", films_shown_by_csv, {"curriculum.difficulty": "csv"}),
    "curriculum.column": Row("second", films_shown_by_csv, {"curriculum.difficulty": "csv", "curriculum.csv": "CSV"}),
    "curriculum.warmup": Row(0.49, over_epochs(lambda each: each.watches_films), {"curriculum.difficulty": "loss"}),
    "curriculum.easy_until": Row(0.0, films_shown, {**EASY, "curriculum.easy_until": 0.4}),
    "curriculum.medium_until": Row(0.2, planned(lambda each: each.film_ids, epoch=2, **KNOWN), EASY),
    "curriculum.easy_films": Row(0.5, films_shown, {**EASY, "curriculum.easy_until": 0.5}),
    "curriculum.medium_films": Row(0.9, planned(lambda each: each.film_ids, epoch=2, **KNOWN), EASY),
    "inference.tta": Row("shift,scale", lambda config, _: len(common_of([config]).views)),
    "hard_landmarks.weight": Row(1.0, weights_of),
    "hard_landmarks.widen": Row(1.0, sigma_of),
    "hard_landmarks.max_weight": Row(1.2, weights_of, HARD),
    "hard_landmarks.max_widen": Row(1.1, sigma_of, HARD),
    "hard_landmarks.start": Row(0.9, planned(lambda each: each.landmark_weights, epoch=2, **ERRORS), HARD),
    "hard_landmarks.memory": Row(0.1, remembered, HARD),
}  # fmt: skip
ALONE = {name: Row(value, shown, {"augment.strength": 0}) for name, value in {
    "augment.rotation_deg": 20.0, "augment.shift": 0.2, "augment.scale": 0.2, "augment.brightness": 0.3, "augment.contrast": 0.3,
    "augment.elastic": 0.02, "augment.gain": 0.5, "augment.gamma": 1.0, "augment.blur_p": 1.0, "augment.bands_p": 1.0,
    "augment.invert_p": 1.0, "augment.cutout_p": 1.0,
}.items()}  # fmt: skip
ROWS |= ALONE


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return make(tmp_path_factory.mktemp("films"), train=8, validation=2)


def filled(values: Mapping[str, Any], data: TrainingData, folder: Path) -> dict[str, Any]:
    """With files in the place of their names."""
    out = dict(values)
    if "CSV" in out.values():
        path = folder / "films.csv"
        lines = [f"{film},{number},{-number}" for number, film in enumerate(data.train_ids)]
        path.write_text("\n".join(["film_id,difficulty,second", *lines]) + "\n", encoding="utf-8")
        out = {key: path if value == "CSV" else value for key, value in out.items()}
    if "PATH" in out.values():
        torch.manual_seed(9)
        torch.save(build(tiny().model, 3).backbone.state_dict(), folder / "weights.pth")
        out = {key: str(folder / "weights.pth") if value == "PATH" else value for key, value in out.items()}
    return out


def test_every_knob_has_a_row() -> None:
    assert set(knobs()) == set(ROWS), "a knob that is proven to do nothing does not exist"


@pytest.mark.parametrize("key", ROWS)
def test_changing_it_changes_what_it_names(key: str, data: TrainingData, tmp_path: Path) -> None:
    row = ROWS[key]
    base = apply(Config(), {**TINY, **filled(row.given or {}, data, tmp_path)}) if key != "curriculum.csv" else apply(Config(), TINY)
    beside = filled({**(row.given or {}), key: row.value}, data, tmp_path)
    changed = apply(Config(), {**TINY, **beside})
    assert get(changed, key) != get(base, key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, again, after = row.observe(base, data), row.observe(base, data), row.observe(changed, data)
    assert _equal(before, again), "the same twice, or a difference says nothing"
    assert not _equal(before, after)


@pytest.mark.parametrize("key", [key for key in ROWS if key != "train.seed"])
def test_it_is_searchable(key: str, data: TrainingData, tmp_path: Path) -> None:
    """From a space file: by itself where its values are numbers or words, in a named schedule where they are lists."""
    row = ROWS[key]
    own = filled({**(row.given or {}), key: row.value}, data, tmp_path)
    value = own.pop(key)
    value = _plain(value)
    fixed = {**{name: other for name, other in TINY.items() if name != key}, **{name: _plain(other) for name, other in own.items()}}
    default = get(apply(Config(), {}), key)
    if isinstance(value, list):
        tree = {"schedules": {"other": {key.removeprefix("schedule.") if key == "schedule.stages" else key: value}, "plain": {}},
                "search": {"schedule": {"categorical": ["plain", "other"]}}, "start_from": [{"schedule": "plain"}]}  # fmt: skip
        point: dict[str, Any] = {"schedule": "other"}
    else:
        if isinstance(value, float) and not isinstance(default, bool) and isinstance(default, float | int):
            low, high = sorted((float(default), float(value)))
            entry: dict[str, Any] = {"float": [low, high]}
        elif isinstance(value, int) and not isinstance(value, bool) and isinstance(default, int) and not isinstance(default, bool):
            low, high = sorted((default, value))
            entry = {"int": [low, high], "step": high - low}
        else:
            entry = {"categorical": [value]}
        tree, point = {"search": {key: entry}, "start_from": [{key: value}]}, {key: value}
    space = Space.from_dict({"fixed": fixed, **tree})
    found = get(space.configure(point, seed=0), key)
    assert _plain(found) == _plain(get(apply(Config(), {**fixed, key: value}), key))


def _plain(value: Any) -> Any:
    return [*value] if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def test_the_codec_of_a_member_is_the_one_it_was_trained_with() -> None:
    config = tiny(heatmap__sigma_rel=0.03, heatmap__loss="mse", model__head_stride=2)
    codec = codec_for(config, config.data.image_size)
    assert (codec.stride, codec.loss, codec.sigma_px) == (2, "mse", pytest.approx(0.03 * 64))


def test_activations_are_computed_again_when_asked(data: TrainingData) -> None:
    made = Training(tiny(train__epochs=1, train__checkpoint_activations=True), data, device=CPU)
    next(made)
    assert all(part.recomputes for part in recomputed_parts(made.learner.net))
