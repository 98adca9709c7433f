"""Knobs whose best trials lie at an end of the searched range: found, told, and only where a wider range is possible."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search import records
from search.__main__ import main
from search.boundary import best_trials, boundary_optima, boundary_optima_of
from search.cube import place_in, point_at
from search.history import Outcome, Point, Trial
from search.report import build
from search.space import Knob, Space, load
from search.space.widen import ends, is_ordered, overrides, widened
from tests.search.simulated import made_up_space, search

SPACES = Path(__file__).parents[2] / "spaces"
KNOBS = {
    "heatmap.sigma_rel": {"float": [0.003, 0.02], "log": True},
    "augment.strength": {"float": [0, 2]},
    "train.batch_size": {"int": [2, 8], "step": 2},
    "data.image_size": {"categorical": [160, 192, 224, 256]},
    "schedule": {"categorical": ["flat", "other"]},
}
START = {"heatmap.sigma_rel": 0.007, "augment.strength": 1.0, "train.batch_size": 4, "data.image_size": 192, "schedule": "flat"}
EPOCHS = 10

Final = Callable[[dict[str, Any]], float]


def space_of(knobs: dict[str, Any] = KNOBS, start: dict[str, Any] = START, **sections: Any) -> Space:
    fixed = {"model.name": "hrnet_w18_small", "model.head_stride": 2, "heatmap.loss": "cross_entropy", "train.epochs": EPOCHS}
    tree = {"fixed": fixed, "search": knobs, "schedules": {"flat": {}, "other": {}}, "start_from": [start], **sections}
    return Space.from_dict({**tree, "scheduler": {"rungs": [0.1, 0.3]}})


def trial_of(number: int, values: dict[str, Any], value_mm: float, epoch: int = EPOCHS) -> Trial:
    kind = "complete" if epoch == EPOCHS else "stopped"
    return Trial(number, values, {epoch: Point(value_mm, EPOCHS)}, Outcome(kind, value_mm), f"t{number:04d}", number == 0)


def uniform(space: Space, final_mm: Final, seed: int, number: int = 30) -> list[Trial]:
    """Trials drawn uniformly after the baseline, with noise."""
    random = np.random.default_rng(seed)
    points = [space.baseline, *(point_at(space.knobs, random.random(len(space.knobs)).tolist()) for _ in range(number - 1))]
    return [trial_of(place, point, final_mm(point) + random.normal(0, 0.03)) for place, point in enumerate(points)]


def climbing(space: Space, final_mm: Final, seed: int, number: int = 36) -> list[Trial]:
    """A third of the trials drawn uniformly, the others near the best four so far: as every sampler that learns does."""
    random = np.random.default_rng([seed, 1])
    trials = uniform(space, final_mm, seed, number // 3)
    while len(trials) < number:
        parents = sorted(trials, key=lambda trial: trial.outcome.value_mm)[:4]
        place = place_in(space.knobs, parents[random.integers(len(parents))].values)
        point = point_at(space.knobs, np.clip(place + random.normal(0, 0.15, len(place)), 0, 1 - 1e-9).tolist())
        trials.append(trial_of(len(trials), point, final_mm(point) + random.normal(0, 0.03)))
    return trials


def outside(values: dict[str, Any]) -> float:
    """Best far below the range of sigma and batch and above that of the image size, as in a search of half an hour on real films."""
    error = 1.5 + 0.5 * math.log(values["heatmap.sigma_rel"] / 0.001) ** 2 + 0.1 * values["train.batch_size"]
    return error - 0.008 * values["data.image_size"] + 0.3 * (values["augment.strength"] - 1) ** 2


def inside(values: dict[str, Any]) -> float:
    error = 1.5 + math.log(values["heatmap.sigma_rel"] / 0.0077) ** 2 + 0.1 * abs(values["train.batch_size"] - 5)
    return error + 0.01 * abs(values["data.image_size"] - 208) + 0.5 * (values["augment.strength"] - 1) ** 2


def test_ends_of_log_stepped_and_listed_knobs_are_found_with_wider_ranges():
    found = {optimum.knob: optimum for optimum in boundary_optima(climbing(space_of(), outside, seed=4), space_of())}
    assert {name: optimum.end for name, optimum in found.items()} == {
        "heatmap.sigma_rel": "low", "train.batch_size": "low", "data.image_size": "high",
    }  # fmt: skip
    assert found["heatmap.sigma_rel"].wider == (0.0015, 0.02)
    assert found["train.batch_size"].overrides == ("search.train.batch_size.int=[1, 8]", "search.train.batch_size.step=1")
    size = found["data.image_size"]
    assert size.wider == (160, 192, 224, 256, 288) and size.num_best == 12 and size.num_at_end >= 8
    assert str(size) == (
        f"data.image_size: {size.num_at_end} of the 12 best trials are at the high end of [160, 192, 224, 256]; widen to "
        "[160, 192, 224, 256, 288]: --set 'search.data.image_size.categorical=[160, 192, 224, 256, 288]'"
    )


def test_a_sigma_that_vanishes_between_heatmap_pixels_is_warned_of():
    (optimum,) = (each for each in boundary_optima(climbing(space_of(), outside, seed=4), space_of()) if "sigma" in each.knob)
    assert "at 256 px and stride 2, a target no longer says where between pixels it lies below 0.0027" in str(optimum)
    fine = space_of(fixed={"model.head_stride": 1, "heatmap.loss": "cross_entropy", "train.epochs": EPOCHS})
    (optimum,) = (each for each in boundary_optima(climbing(fine, outside, seed=4), fine) if "sigma" in each.knob)
    assert optimum.caveat == ""


def test_nothing_is_said_of_an_optimum_inside():
    assert [found for seed in range(10) for found in boundary_optima(climbing(space_of(), inside, seed), space_of())] == []


def test_uniform_draws_are_rarely_taken_for_an_end():
    """Of knobs without influence: a random subset of the trials is best."""
    space = space_of()
    assert sum(len(boundary_optima(uniform(space, lambda values: 2.0, seed), space)) for seed in range(300)) <= 3


def test_a_knob_without_influence_is_rarely_reported_though_a_sampler_stays_where_it_was_lucky():
    """Only sigma matters here; the others follow those of the best by chance."""
    space = space_of()
    found = [
        optimum.knob
        for seed in range(40)
        for optimum in boundary_optima(climbing(space, lambda values: 2 + 200 * values["heatmap.sigma_rel"], seed), space)
    ]
    assert found.count("heatmap.sigma_rel") >= 35
    assert len(found) - found.count("heatmap.sigma_rel") <= 0.05 * 40 * 3, "three knobs, one in twenty each"


def test_too_few_ended_trials_say_nothing():
    trials = climbing(space_of(), outside, seed=0)
    ranked = sorted(trials, key=lambda trial: trial.outcome.value_mm)
    few = [replace(trial, number=number + 1) for number, trial in enumerate(ranked[:5])]
    assert best_trials(few, space_of()) == [] and boundary_optima(few, space_of()) == ()
    assert len(best_trials([*few, trial_of(6, ranked[-1].values, 9.0)], space_of())) == 4
    assert best_trials([replace(trial, outcome=None) for trial in trials], space_of()) == [], "none has ended"


def test_the_best_are_distinct_and_came_to_the_last_rung():
    trials = [trial_of(number, {**START, "augment.strength": number / 20}, 2 + number / 10) for number in range(12)]
    again = trial_of(12, trials[1].values, 1.0)
    early = trial_of(13, {**START, "augment.strength": 1.9}, 0.5, epoch=1)
    at_rung = trial_of(14, {**START, "augment.strength": 1.8}, 0.9, epoch=3)
    failed = Trial(15, START | {"augment.strength": 1.7}, {EPOCHS: Point(0.1, EPOCHS)}, Outcome("failed"))
    assert [trial.number for trial in best_trials([*trials, again, early, at_rung, failed], space_of())] == [14, 12, 0, 2, 3]


def test_a_list_of_two_numbers_has_two_ends():
    space = space_of({**KNOBS, "data.image_size": {"categorical": [192, 256]}})

    def final_mm(values: dict[str, Any]) -> float:
        return inside({**values, "data.image_size": 208}) + (0.0 if values["data.image_size"] == 256 else 0.5)

    trials = climbing(space, final_mm, seed=0)
    assert [(each.knob, each.end, each.wider) for each in boundary_optima(trials, space)] == [("data.image_size", "high", (192, 256, 320))]


CONDITIONAL = {**KNOBS, "heatmap.decoder_window": {"float": [2, 4], "when": {"schedule": ["other"]}}}


def with_window(flat_mm: float) -> Final:
    """A narrow window is best where it exists; `flat_mm`: what a trial without it is worse by."""

    def final_mm(values: dict[str, Any]) -> float:
        window = values.get("heatmap.decoder_window")
        return inside(values) + (flat_mm if window is None else 2 * (window - 2))

    return final_mm


def test_a_conditional_knob_counts_only_where_it_exists():
    space = space_of(CONDITIONAL)
    found = boundary_optima(climbing(space, with_window(3.0), seed=2, number=60), space)
    assert [(each.knob, each.end, each.wider) for each in found] == [("heatmap.decoder_window", "low", (1.5, 4))]
    trials = climbing(space, with_window(-3.0), seed=2)
    assert not any("heatmap.decoder_window" in trial.values for trial in best_trials(trials, space))
    assert boundary_optima(trials, space) == ()


def test_an_end_that_the_field_allows_nothing_beyond_is_not_reported():
    knobs = {
        **KNOBS, "train.batch_size": {"int": [1, 8]}, "augment.bands_p": {"float": [0, 1]}, "model.head_stride": {"categorical": [2, 4]},
    }  # fmt: skip
    start = {**START, "augment.bands_p": 0.5, "model.head_stride": 2}
    fixed = {"heatmap.loss": "cross_entropy", "train.epochs": EPOCHS}

    def final_mm(values: dict[str, Any]) -> float:
        return 3 + 0.2 * values["train.batch_size"] + values["augment.strength"] - values["augment.bands_p"] - values["model.head_stride"]

    space = space_of(knobs, start, fixed=fixed)
    trials = climbing(space, final_mm, seed=0, number=48)
    best = [trial.values for trial in best_trials(trials, space)]
    assert np.mean([values["augment.strength"] < 0.2 for values in best]) > 0.6 and {values["model.head_stride"] for values in best} == {4}
    assert boundary_optima(trials, space) == ()


def test_no_batch_beyond_the_training_films_is_suggested():
    space = space_of()

    def final_mm(values: dict[str, Any]) -> float:
        return 5 - 0.3 * values["train.batch_size"]

    trials = climbing(space, final_mm, seed=0)
    assert [each.wider for each in boundary_optima(trials, space, 10)] == [(2, 10)]
    assert boundary_optima(trials, space, 9) == ()


@pytest.mark.parametrize(
    ("knob", "end", "wider", "settings"),
    [
        (Knob("train.lr", "float", 1e-4, 1e-3, log=True), "low", (5e-5, 1e-3), ("float=[5e-05, 0.001]",)),
        (Knob("train.lr", "float", 1e-3, 0.7, log=True), "high", (1e-3, 1.0), ("float=[0.001, 1]",)),
        (Knob("augment.strength", "float", 0.0, 2.0), "high", (0.0, 2.5), ("float=[0, 2.5]",)),
        (Knob("augment.strength", "float", 0.0, 2.0), "low", None, ()),
        (Knob("augment.flip_p", "float", 0.5, 1.0), "high", None, ()),
        (Knob("augment.flip_p", "float", 0.1, 0.7, step=0.2), "high", (0.1, 0.9), ("float=[0.1, 0.9]",)),
        (Knob("augment.flip_p", "float", 0.1, 0.9, step=0.2), "high", (0.1, 1.0), ("float=[0.1, 1]", "step=null")),
        (Knob("train.ema_decay", "float", 0.9, 0.999), "high", (0.9, 0.9995), ("float=[0.9, 0.9995]",)),
        (Knob("heatmap.sigma_rel", "float", 0.001, 0.02), "low", (0.0005, 0.02), ("float=[0.0005, 0.02]",)),
        (Knob("train.batch_size", "int", 4, 12, step=2), "low", (2, 12), ("int=[2, 12]",)),
        (Knob("train.batch_size", "int", 4, 12, step=2), "high", (4, 14), ("int=[4, 14]",)),
        (Knob("train.batch_size", "int", 2, 8, step=2), "low", (1, 8), ("int=[1, 8]", "step=1")),
        (Knob("train.batch_size", "int", 1, 8), "low", None, ()),
        (Knob("train.epochs", "int", 20, 200, log=True), "high", (20, 400), ("int=[20, 400]",)),
        (Knob("data.image_size", "categorical", choices=(512, 384)), "high", (384, 512, 640), ("categorical=[384, 512, 640]",)),
        (Knob("data.image_size", "categorical", choices=(1600, 1920)), "high", (1600, 1920, 2048), ("categorical=[1600, 1920, 2048]",)),
        (Knob("data.image_size", "categorical", choices=(64, 128)), "low", None, ()),
        (Knob("train.batch_size", "categorical", choices=(2, 4, 8)), "low", (1, 2, 4, 8), ("categorical=[1, 2, 4, 8]",)),
        (Knob("model.head_stride", "categorical", choices=(2, 4)), "low", (1, 2, 4), ("categorical=[1, 2, 4]",)),
        (Knob("model.head_stride", "categorical", choices=(2, 4)), "high", None, ()),
    ],
)  # fmt: skip
def test_a_range_grows_within_its_field(knob, end, wider, settings):
    found = widened(knob, end)
    assert (None if found is None else ends(found)) == wider
    if found is not None:
        assert tuple(f"{key}={text}" for key, text in overrides(knob, found).items()) == tuple(f"search.{knob.key}.{s}" for s in settings)


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_the_suggested_options_are_taken_by_a_space_file(profile):
    space = load(SPACES / "sigma_aug.yaml", profile)
    for knob in space.knobs:
        for end in ("low", "high"):
            wider = widened(knob, end) if is_ordered(knob) else None
            if wider is not None:
                given = [f"{key}={text}" for key, text in overrides(knob, wider).items()]
                (taken,) = (each for each in load(SPACES / "sigma_aug.yaml", profile, given).knobs if each.key == knob.key)
                assert (ends(taken), taken.log, taken.kind) == (ends(wider), knob.log, knob.kind)
                assert (taken.step or 1) == (wider.step or 1)


@pytest.fixture
def run(tmp_path: Path) -> records.RunFolder:
    """Of a search whose sigma is best at 0.04, below its range."""
    tree = made_up_space().to_dict()
    tree["search"]["heatmap.sigma_rel"]["float"], tree["start_from"][0]["heatmap.sigma_rel"] = [0.06, 0.095], 0.07
    space = Space.from_dict({**tree, "budget": {"trials": 40}, "sampler": {"name": "curve_gp"}})
    made = records.create(tmp_path / "run", {"space": space.to_dict()})
    search(made.path, space)
    return made


def test_report_and_list_say_it(run, capsys):
    told = {optimum.knob: optimum for optimum in boundary_optima_of(records.load(run.path))}
    assert told["heatmap.sigma_rel"].end == "low"
    page = build(run.path).read_text()
    shown = " ".join(re.sub(r"<[^>]*>", "", page[page.index('id="boundary"') : page.index('id="leaderboard-table"')]).split())
    assert f"heatmap.sigma_rel: {told['heatmap.sigma_rel'].finding}; widen to [0.03, 0.095]" in shown
    assert f"--warm-start {run.path} --set &#39;search.heatmap.sigma_rel.float=[0.03, 0.095]&#39;" in shown
    assert "what to widen to" in page[page.index('id="knobs"') :]
    assert main(["list", str(run.path.parent)]) == 0
    assert f"run: {told['heatmap.sigma_rel']}\n" in capsys.readouterr().out
    assert main(["list", str(run.path.parent), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert [(each["knob"], each["end"]) for each in row["boundary"]] == [(each.knob, each.end) for each in told.values()]


def test_a_run_whose_space_cannot_be_read_says_nothing(tmp_path):
    made = records.create(tmp_path / "run", {"space": {"search": {"no.such_knob": {"float": [0, 1]}}}})
    with records.Ledger(made.path) as ledger:
        ledger.append_run()
    assert boundary_optima_of(records.load(made.path)) == ()
