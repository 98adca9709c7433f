# ruff: noqa: E501  (a message stands on one line)
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ceph_core.config import get
from ceph_core.config.profiles import profile_changes
from ceph_core.errors import InputError
from search.space import SCHEDULE, Knob, Space, load
from search.space.schema import Prior

SHIPPED = sorted((Path(__file__).parents[2] / "spaces").glob("*.yaml"))
SIGMA_AUG = next(path for path in SHIPPED if path.name == "sigma_aug.yaml")
PROFILES = ("gpu", "cpu")
GOOD = """\
fixed: {train.epochs: 30}
search:
  heatmap.sigma_rel: {float: [0.003, 0.02], log: true}
  train.batch_size: {int: [4, 12], step: 2}
  schedule: {categorical: [flat, steps]}
  train.lr: {float: [1e-4, 1e-3], log: true, when: {schedule: [flat]}}
schedules:
  flat: {model.name: hrnet_w32}
  steps: {model.name: hrnet_w48, stages: [{epochs: 0.4, size: 0.75, batch: 2}, {epochs: 0.6}]}
start_from:
  - {heatmap.sigma_rel: 0.007, train.batch_size: 6, schedule: flat, train.lr: 5e-4}
scheduler: {rungs: [0.1, 0.3]}
profiles:
  cpu:
    search: {train.batch_size: {int: [2, 8], step: 2}}
    resources: {gpus_per_trial: 0}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "s.yaml"
    path.write_text(text)
    return path


def space(folder: Path, profile: Any = "gpu", *overrides: str) -> Space:
    return load(write(folder, GOOD), profile, overrides)


shipped = cache(load)  # hypothesis calls a test often


def points(space: Space) -> st.SearchStrategy[dict[str, Any]]:
    @st.composite
    def point(draw: st.DrawFn) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for knob in space.knobs:
            if knob.key in space.active(values | {knob.key: None}):
                values[knob.key] = draw(one_value(knob))
        return values

    return point()


def one_value(knob: Knob) -> st.SearchStrategy[Any]:
    grid = knob.grid()
    if grid is not None:
        return st.sampled_from(grid)
    assert knob.low is not None and knob.high is not None
    return st.floats(knob.low, knob.high)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_spaces_load_without_a_warning_and_survive_plan_yaml(path: Path, profile: Any, tmp_path: Path) -> None:
    loaded = load(path, profile)
    assert not loaded.warnings
    loaded.dump(tmp_path / "plan.yaml")
    assert Space.from_dict(yaml.safe_load((tmp_path / "plan.yaml").read_text())) == loaded


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_every_searched_knob_reaches_the_configuration(path: Path, profile: Any, data: st.DataObject) -> None:
    loaded = shipped(path, profile)
    values = data.draw(points(loaded))
    assert loaded.contains(values)
    config = loaded.configure(values, seed=7)
    for key in values.keys() - {SCHEDULE}:
        assert get(config, key) == values[key]
    for key, value in loaded.schedules.get(values.get(SCHEDULE, ""), {}).items():
        if key != "stages":
            assert get(config, key) == value
    assert config.train.seed == 7
    for key in loaded.fixed.keys() - values.keys():
        assert get(config, key) == loaded.fixed[key]


def test_sigma_aug_is_the_space_that_was_promised() -> None:
    full, small = (load(SIGMA_AUG, profile) for profile in PROFILES)
    assert full.baseline == {
        "heatmap.sigma_rel": 0.007, "augment.strength": 1.0, "augment.recipe": "guide", "train.batch_size": 6, "data.image_size": 512,
        "schedule": "w48-flat",
    }  # fmt: skip
    assert full.grid_sizes() == {288, 384, 480, 512, 640}
    assert small.grid_sizes() == {128, 160, 192, 224, 256, 288, 320}
    assert [knob.key for knob in full.knobs] == [knob.key for knob in small.knobs]
    assert all(len(space.start_from) > 1 and not space.warnings for space in (full, small)), "good points beside the baseline"
    assert all(small.baseline[key] == full.baseline[key] for key in ("heatmap.sigma_rel", "augment.strength", "augment.recipe"))
    config = small.configure(small.baseline, seed=0)
    assert config.heatmap.sigma_rel * config.data.image_size / config.model.head_stride >= 0.8


def test_the_small_space_searches_around_the_cpu_profile() -> None:
    """What both hold is the same; a trial is shorter, and what is searched has its own range."""
    small = load(SIGMA_AUG, "cpu")
    measured = {key: value for key, value in profile_changes("cpu").items() if key in small.fixed and key != "train.epochs"}
    assert measured.keys() > {"heatmap.loss", "heatmap.decoder", "inference.tta", "model.head_stride", "train.lr"}
    assert {key: small.fixed[key] for key in measured} == measured


def test_numbers_are_numbers_and_words_are_words(tmp_path: Path) -> None:
    loaded = space(tmp_path, "gpu", "fixed.train.weight_decay=5e-4", "description=no")
    assert loaded.fixed["train.weight_decay"] == 5e-4
    assert loaded.description == "no"
    assert loaded.knobs[-1] == Knob("train.lr", "float", 1e-4, 1e-3, log=True, when={"schedule": ("flat",)})


def test_a_conditional_knob_exists_only_under_its_condition(tmp_path: Path) -> None:
    loaded = space(tmp_path, "gpu", "fixed.train.lr=2e-4")
    steps = {"heatmap.sigma_rel": 0.01, "train.batch_size": 4, "schedule": "steps"}
    assert "train.lr" in loaded.active(loaded.baseline)
    assert "train.lr" not in loaded.active(steps)
    assert loaded.contains(steps) and not loaded.contains({**steps, "train.lr": 5e-4})
    config = loaded.configure(steps, seed=0)
    assert config.train.lr == 2e-4
    assert [stage.batch for stage in config.schedule.stages] == [2, 1]


def test_knobs_stand_after_what_they_depend_on(tmp_path: Path) -> None:
    text = GOOD.replace("search:\n", "search:\n  augment.strength: {float: [0, 2], when: {train.batch_size: [4]}}\n")
    keys = [knob.key for knob in load(write(tmp_path, text), "gpu").knobs]
    assert keys == ["heatmap.sigma_rel", "train.batch_size", "augment.strength", "schedule", "train.lr"]


def test_a_conditional_range_also_counts_its_default(tmp_path: Path) -> None:
    loaded = space(tmp_path, "gpu", "search.data.image_size={categorical: [640], when: {schedule: [steps]}}")
    assert loaded.grid_sizes() == {512, 480, 640}


def test_profiles_replace_whole_entries_and_null_removes_one(tmp_path: Path) -> None:
    cpu = space(tmp_path, "cpu")
    assert cpu.knobs[1] == Knob("train.batch_size", "int", 2, 8, step=2)
    assert cpu.resources.gpus_per_trial == 0 and cpu.fixed == {"train.epochs": 30}
    removed = space(tmp_path, "gpu", "search.train.lr=null", "start_from.0={heatmap.sigma_rel: 0.01, train.batch_size: 4, schedule: flat}")
    assert "train.lr" not in removed.search


def test_overrides_reach_into_keys_that_hold_dots(tmp_path: Path) -> None:
    loaded = space(
        tmp_path, "gpu", "budget.trials=8", "fixed.train.epochs=40", "search.heatmap.sigma_rel.float=[0.005, 0.01]",
        "start_from.0.train.batch_size=8", "schedules.flat.model.name=hrnet_w18", "resources.gpus_per_trial=1/3",
    )  # fmt: skip
    assert (loaded.budget.trials, loaded.fixed["train.epochs"], loaded.knobs[0].low) == (8, 40, 0.005)
    assert loaded.configure(loaded.baseline, seed=0).model.name == "hrnet_w18"
    assert (loaded.baseline["train.batch_size"], loaded.resources.gpus_per_trial) == (8, 1 / 3)


# name: (text of the good file, what stands there instead, the whole message)
# fmt: off
BAD: dict[str, tuple[str, str, str]] = {
    "unknown_section": ("scheduler:", "schedular:",
        "s.yaml:12: schedular: unknown key; did you mean scheduler?"),
    "unknown_setting": ("{rungs:", "{rung:",
        "s.yaml:12: scheduler.rung: unknown key; did you mean rungs?"),
    "unknown_key": ("train.lr:", "train.lrr:",
        "s.yaml:6: search.train.lrr: unknown key train.lrr; did you mean train.lr?\ns.yaml:11: start_from[0].train.lr: is not searched; searched are heatmap.sigma_rel, train.batch_size, schedule, train.lrr; remove it here or add it to search"),
    "section_as_key": ("{train.epochs: 30}", "{train: {epochs: 30}}",
        "s.yaml:1: fixed.train: is a section; write its keys with a dot, such as train.epochs"),
    "unknown_kind": ("{float: [0.003", "{flaot: [0.003",
        "s.yaml:3: search.heatmap.sigma_rel.flaot: unknown key; did you mean float?"),
    "two_kinds": ("{int: [4, 12], step: 2}", "{int: [4, 12], categorical: [4]}",
        "s.yaml:4: search.train.batch_size: needs exactly one of float: [low, high], int: [low, high], categorical: [...]; has int and categorical"),
    "low_above_high": ("[1e-4, 1e-3]", "[1e-2, 1e-3]",
        "s.yaml:6: search.train.lr.float: low 0.01 must be below high 0.001; a value that does not vary belongs under fixed"),
    "log_of_zero": ("[0.003, 0.02]", "[0, 0.02]",
        "s.yaml:3: search.heatmap.sigma_rel.float: a log scale needs low above 0, got low 0; raise it or drop log"),
    "not_a_pair": ("[0.003, 0.02]", "0.01",
        "s.yaml:3: search.heatmap.sigma_rel.float: must be [low, high], got 0.01"),
    "text_in_range": ("[0.003, 0.02]", "[low, 0.02]",
        "s.yaml:3: search.heatmap.sigma_rel.float[0]: must be a valid number, got 'low'"),
    "step_does_not_divide": ("step: 2}", "step: 3}",
        "s.yaml:4: search.train.batch_size.step: 3 does not divide 4 to 12; the last step ends at 10"),
    "step_and_log": ("step: 2}", "step: 2, log: true}",
        "s.yaml:4: search.train.batch_size.step: cannot go with log: steps are even, a log scale is not; drop one"),
    "empty_choices": ("[flat, steps]", "[]",
        "s.yaml:5: search.schedule.categorical: must list at least one value, got []"),
    "double_choice": ("[flat, steps]", "[flat, steps, flat]",
        "s.yaml:5: search.schedule.categorical: lists 'flat' twice; keep one"),
    "choice_refused": ("schedule: {cat", "data.image_size: {categorical: [500]}\n  schedule: {cat",
        "s.yaml:5: search.data.image_size: must be a multiple of 32 (HRNet's coarsest stride); nearest are 480 and 512, got 500"),
    "range_refused": ("[0.003, 0.02]", "[0.003, 0.5]",
        "s.yaml:3: search.heatmap.sigma_rel: must be less than or equal to 0.1, got 0.5"),
    "grid_refused": ("schedule: {cat", "data.image_size: {int: [256, 512], step: 16}\n  schedule: {cat",
        "s.yaml:5: search.data.image_size: must be a multiple of 32 (HRNet's coarsest stride); nearest are 256 and 288, got 272"),
    "float_for_int": ("train.batch_size: {int: [4, 12], step: 2}", "train.batch_size: {float: [4, 12]}",
        "s.yaml:4: search.train.batch_size: takes whole numbers only; write int: instead of float:"),
    "quoted_number": ("{train.epochs: 30}", "{train.epochs: \"30\"}",
        "s.yaml:1: fixed.train.epochs: would be read as 30, got '30'; write 30"),
    "condition_on_nothing": ("when: {schedule:", "when: {model.nam:",
        "s.yaml:6: search.train.lr.when.model.nam: is not searched, so the condition can never change; searched are heatmap.sigma_rel, train.batch_size, schedule"),
    "condition_impossible": ("when: {schedule: [flat]", "when: {schedule: [flatt]",
        "s.yaml:6: search.train.lr.when.schedule: never has this value, got 'flatt'; allowed flat, steps"),
    "condition_on_float": ("when: {schedule: [flat]", "when: {heatmap.sigma_rel: [0.01]",
        "s.yaml:6: search.train.lr.when.heatmap.sigma_rel: is a float range; a condition needs a categorical or an int"),
    "circle": ("step: 2}", "step: 2, when: {train.batch_size: [4]}}",
        "s.yaml:4: search.train.batch_size.when: conditions go in a circle among train.batch_size; remove one"),
    "no_such_schedule": ("[flat, steps]", "[flat, stepps]",
        "s.yaml:5: search.schedule: no schedule of this name, got 'stepps'; allowed flat, steps"),
    "stages_short": ("epochs: 0.6", "epochs: 0.5",
        "s.yaml:9: schedules.steps.stages: the stages' shares of epochs add up to 0.9; they must add up to 1"),
    "stage_key": ("size: 0.75", "sise: 0.75",
        "s.yaml:9: schedules.steps.stages: [0].sise: unknown key; allowed are epochs, size, batch, got 0.75"),
    "fixed_and_searched": ("{train.epochs: 30}", "{train.epochs: 30, train.batch_size: 6}",
        "s.yaml:1: fixed.train.batch_size: is also searched, so 6 is never used; remove it here or set search.train.batch_size to null"),
    "schedule_and_searched": ("flat: {model.name: hrnet_w32}", "flat: {model.name: hrnet_w32, train.lr: 1e-3}",
        "s.yaml:8: schedules.flat.train.lr: is also searched in trials that follow flat; remove it here, or give search.train.lr a `when` without flat"),
    "seed": ("{train.epochs: 30}", "{train.epochs: 30, train.seed: 1}",
        "s.yaml:1: fixed.train.seed: is set by the search for each trial; use sampler.seed"),
    "point_outside": ("train.batch_size: 6,", "train.batch_size: 5,",
        "s.yaml:11: start_from[0].train.batch_size: lies outside the space, got 5; allowed 4 to 12 in steps of 2"),
    "point_lacks": ("train.batch_size: 6, ", "",
        "s.yaml:11: start_from[0]: train.batch_size has no value; allowed 4 to 12 in steps of 2"),
    "point_extra": ("train.batch_size: 6,", "train.batch_size: 6, augment.strength: 1,",
        "s.yaml:11: start_from[0].augment.strength: is not searched; searched are heatmap.sigma_rel, train.batch_size, schedule, train.lr; remove it here or add it to search"),
    "point_inactive": ("schedule: flat,", "schedule: steps,",
        "s.yaml:11: start_from[0].train.lr: exists only when schedule is flat; remove it from this point"),
    "rungs_fall": ("rungs: [0.1, 0.3]", "rungs: [0.3, 0.1]",
        "s.yaml:12: scheduler.rungs: must rise strictly, got [0.3, 0.1]"),
    "rung_range": ("rungs: [0.1, 0.3]", "rungs: [0.1, 1.3]",
        "s.yaml:12: scheduler.rungs[1]: must be less than 1, got 1.3"),
    "rungs_together": ("{train.epochs: 30}", "{train.epochs: 3}",
        "s.yaml:12: scheduler.rungs: [0.1, 0.3] of 3 epochs are epochs 1, 1; these must differ and lie before the last; change them or train.epochs"),
    "gpu_share": ("scheduler:", "resources: {gpus_per_trial: 0.4}\nscheduler:",
        "s.yaml:12: resources.gpus_per_trial: must be auto, 0, 1/4, 1/3, 1/2 or 1: a trial uses one GPU or an even share of it, got 0.4"),
    "sampler": ("scheduler:", "sampler: {name: tep}\nscheduler:",
        "s.yaml:12: sampler.name: must be 'curve_gp', 'tpe', 'gp', 'random' or 'qmc', got 'tep'"),
    "gp_pruned": ("scheduler:", "sampler: {name: gp, stopped_as: pruned}\nscheduler:",
        "s.yaml:12: sampler.stopped_as: a GP does not look at pruned trials, got 'pruned'; "
        "allowed with gp are complete, predicted, failed or null"),
    "stopped_as": ("scheduler:", "sampler: {name: tpe, stopped_as: lost}\nscheduler:",
        "s.yaml:12: sampler.stopped_as: must be 'complete', 'pruned', 'failed' or 'predicted', got 'lost'"),
    "folds_without_seeds": ("scheduler:", "promotion: {folds: 3, seeds: 0}\nscheduler:",
        "s.yaml:12: promotion.seeds: must be at least 1 with promotion.folds 3, got 0: a search trains no fold"),
    "fewer_members_than_folds": ("scheduler:", "promotion: {folds: 5, max_members: 4}\nscheduler:",
        "s.yaml:12: promotion.max_members: must be at least promotion.folds, 5, got 4: one pick is as many networks"),
    "final_networks_beyond_members": ("scheduler:", "promotion: {max_members: 4, final: {networks: 9}}\nscheduler:",
        "s.yaml:12: promotion.final.networks: must be at most promotion.max_members, 4, got 9; raise that, or lower this"),
    "final_epochs": ("scheduler:", "promotion: {final: {epochs: many}}\nscheduler:",
        "s.yaml:12: promotion.final.epochs: must be auto or a whole number from 1 to 10,000, got 'many'"),
    "final_unknown_key": ("scheduler:", "promotion: {final: {network: 2}}\nscheduler:",
        "s.yaml:12: promotion.final.network: unknown key; did you mean networks?"),
    "trials_zero": ("scheduler:", "budget: {trials: 0}\nscheduler:",
        "s.yaml:12: budget.trials: must be greater than or equal to 1, got 0"),
    "cpu_with_gpu": ("gpus_per_trial: 0", "max_concurrent: 1",
        "s.yaml:16: resources.gpus_per_trial: must be 0 under the cpu profile; set profiles.cpu.resources.gpus_per_trial: 0 (profile cpu)"),
    "profile_name": ("  cpu:", "  cpus:",
        "s.yaml:14: profiles.cpus: unknown profile; allowed are gpu and cpu"),
    "profile_removes": ("{train.batch_size: {int: [2, 8], step: 2}}", "{augment.strength: null}",
        "s.yaml:15: profiles.cpu.search.augment.strength: null removes an entry, but the file has none; drop this line (profile cpu)"),
    "yaml_syntax": ("[0.1, 0.3]}", "[0.1, 0.3",
        "s.yaml:13:9: not valid YAML: expected ',' or ']', but got ':'"),
    "key_twice": ("schedules:\n", "schedules:\n  flat: {}\n",
        "s.yaml:9: schedules.flat: given twice, first at s.yaml:8; keep one"),
    "tag": ("{train.epochs: 30}", "!!python/name:os.system x",
        "s.yaml:1:8: not valid YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/name:os.system'"),
    "no_baseline": ("start_from:\n  - {heatmap.sigma_rel: 0.007, train.batch_size: 6, schedule: flat, train.lr: 5e-4}\n", "",
        "s.yaml:1: start_from: needs at least one point; the first is the baseline, the trial that every other is compared with"),
    "section_scalar": ("{rungs: [0.1, 0.3]}", "3",
        "s.yaml:12: scheduler: must be a mapping, {key: value, ...}, got 3"),
    "search_list": ("fixed: {train.epochs: 30}", "fixed: [1]",
        "s.yaml:1: fixed: must be a mapping, {key: value, ...}, got [1]"),
    "int_fraction": ("[4, 12]", "[4.5, 12]",
        "s.yaml:4: search.train.batch_size.int[0]: must be a valid integer, got 4.5"),
    "point_scalar": ("start_from:\n", "start_from:\n  - 3\n",
        "s.yaml:11: start_from[0]: must be a mapping, {key: value, ...}, got 3"),
    "prior_of_nothing": ("log: true}\n", "log: true, prior: {}}\n",
        "s.yaml:3: search.heatmap.sigma_rel.prior: needs mode and width (float, int), or prefer (categorical); has none"),
    "prior_without_width": ("log: true}\n", "log: true, prior: {mode: 0.005}}\n",
        "s.yaml:3: search.heatmap.sigma_rel.prior: needs mode and width (float, int), or prefer (categorical); has mode"),
    "prior_scalar": ("log: true}\n", "log: true, prior: 0.005}\n",
        "s.yaml:3: search.heatmap.sigma_rel.prior: must be a mapping, {key: value, ...}, got 0.005"),
    "prior_key": ("log: true}\n", "log: true, prior: {mode: 0.005, widht: 0.3}}\n",
        "s.yaml:3: search.heatmap.sigma_rel.prior.widht: unknown key; did you mean width?"),
    "prior_mode_outside": ("log: true}\n", "log: true, prior: {mode: 0.03, width: 0.3}}\n",
        "s.yaml:3: search.heatmap.sigma_rel.prior.mode: lies outside the range, got 0.03; allowed 0.003 to 0.02"),
    "prior_mode_text": ("log: true}\n", "log: true, prior: {mode: low, width: 0.3}}\n",
        "s.yaml:3: search.heatmap.sigma_rel.prior.mode: must be a valid number, got 'low'"),
    "prior_width_zero": ("step: 2}\n", "step: 2, prior: {mode: 6, width: 0}}\n",
        "s.yaml:4: search.train.batch_size.prior.width: must be greater than 0, got 0"),
    "prior_width_above_one": ("step: 2}\n", "step: 2, prior: {mode: 6, width: 2}}\n",
        "s.yaml:4: search.train.batch_size.prior.width: must be less than or equal to 1, got 2"),
    "prior_prefers_in_a_range": ("step: 2}\n", "step: 2, prior: {prefer: [6]}}\n",
        "s.yaml:4: search.train.batch_size.prior: prefer is for categoricals; a float or int range needs mode and width"),
    "prior_mode_of_choices": ("[flat, steps]}", "[flat, steps], prior: {mode: 1, width: 0.3}}",
        "s.yaml:5: search.schedule.prior: mode and width are for float and int ranges; a categorical needs prefer: [...]"),
    "prior_prefers_unknown": ("[flat, steps]}", "[flat, steps], prior: {prefer: [flatt]}}",
        "s.yaml:5: search.schedule.prior.prefer[0]: is no choice of this knob, got 'flatt'; allowed flat, steps"),
    "prior_prefers_twice": ("[flat, steps]}", "[flat, steps], prior: {prefer: [flat, flat]}}",
        "s.yaml:5: search.schedule.prior.prefer[1]: lists 'flat' twice; keep one"),
    "prior_prefers_all": ("[flat, steps]}", "[flat, steps], prior: {prefer: [steps, flat]}}",
        "s.yaml:5: search.schedule.prior.prefer: lists every choice, which prefers none; leave some out, or remove the prior"),
    "prior_prefers_none": ("[flat, steps]}", "[flat, steps], prior: {prefer: []}}",
        "s.yaml:5: search.schedule.prior.prefer: must list at least one value, got []"),
    "when_scalar": ("[flat]}", "flat}",
        "s.yaml:6: search.train.lr.when.schedule: must be a list, [value, ...], got 'flat'"),
}
# fmt: on


@pytest.mark.parametrize(("old", "new", "expected"), BAD.values(), ids=BAD)
def test_a_bad_file_is_told_exactly(old: str, new: str, expected: str, tmp_path: Path) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        load(path, "gpu")
    assert str(caught.value).replace(str(path), "s.yaml") == expected


def problems_of(path: Path, profile: Any = "gpu", *overrides: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        load(path, profile, overrides)
    return [problem.replace(str(path), "s.yaml") for problem in caught.value.problems]


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    text = GOOD.replace("[0.003, 0.02]", "[0.02, 0.003]").replace("{train.epochs: 30}", "{train.epoch: 30}").replace("{rungs:", "{rung:")
    text = text.replace("train.batch_size: 6", "train.batch_size: 7").replace("epochs: 0.6", "epochs: 0.7")
    found = problems_of(write(tmp_path, text))
    assert [problem.split(": ")[1] for problem in found] == [
        "scheduler.rung", "fixed.train.epoch", "schedules.steps.stages", "search.heatmap.sigma_rel.float", "start_from[0].train.batch_size",
    ]  # fmt: skip


PRIORS = (
    GOOD.replace("log: true}\n", "log: true, prior: {mode: 0.005, width: 0.3}}\n", 1)
    .replace("when: {schedule: [flat]}}", "when: {schedule: [flat]}, prior: {mode: 5e-4, width: 0.2}}")
    .replace("[flat, steps]}", "[flat, steps], prior: {prefer: [flat]}}")
    .replace("step: 2}\n", "step: 2, prior: {mode: 8, width: 1}}\n", 1)
)


def test_priors_survive_plan_yaml_and_reach_the_knobs(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, PRIORS), "gpu")
    loaded.dump(tmp_path / "plan.yaml")
    again = Space.from_dict(yaml.safe_load((tmp_path / "plan.yaml").read_text()), loaded.source)
    assert again == loaded and again.to_dict() == loaded.to_dict()
    written = loaded.to_dict()["search"]
    assert written["heatmap.sigma_rel"]["prior"] == {"mode": 0.005, "width": 0.3}
    assert written["schedule"]["prior"] == {"prefer": ["flat"]}
    by_key = {knob.key: knob.prior for knob in again.knobs}
    assert by_key["train.lr"] == Prior(mode=5e-4, width=0.2) and by_key["train.batch_size"] == Prior(mode=8, width=1)


@pytest.mark.parametrize("name", ["tpe", "gp", "random", "qmc"])
def test_priors_are_for_curve_gp(name: str, tmp_path: Path) -> None:
    assert problems_of(write(tmp_path, PRIORS), "gpu", f"sampler.name={name}") == [
        f"--set sampler.name={name}: sampler.name: {name} uses no priors, given for heatmap.sigma_rel, train.batch_size, schedule, train.lr; "
        "choose curve_gp, or remove them"
    ]


def test_a_file_without_priors_is_written_as_before(tmp_path: Path) -> None:
    assert space(tmp_path).to_dict()["search"] == {
        "heatmap.sigma_rel": {"float": [0.003, 0.02], "log": True, "step": None},
        "train.batch_size": {"int": [4, 12], "log": False, "step": 2},
        "schedule": {"categorical": ["flat", "steps"]},
        "train.lr": {"float": [1e-4, 1e-3], "log": True, "step": None, "when": {"schedule": ["flat"]}},
    }


def test_the_other_profile_is_checked_too_and_named(tmp_path: Path) -> None:
    text = GOOD.replace("{int: [2, 8], step: 2}", "{int: [8, 2]}")
    assert problems_of(write(tmp_path, text)) == [
        "s.yaml:15: search.train.batch_size.int: low 8 must be below high 2; a value that does not vary belongs under fixed (profile cpu)"
    ]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("budget.trials", "--set budget.trials: must be KEY=VALUE, such as budget.trials=8"),
        ("budgets.trials=8", "--set budgets.trials=8: unknown key; did you mean budget?"),
        ("budget.trials=0", "--set budget.trials=0: budget.trials: must be greater than or equal to 1, got 0"),
        ("budget.trials=[", "--set budget.trials=[:1:2: not valid YAML: expected the node content, but found '<stream end>'"),
        ("start_from.1.schedule=flat", "--set start_from.1.schedule=flat: start_from is a list of 1; name an entry by its number from 0"),
        ("search.train.wd=null", "--set search.train.wd=null: search.train.wd is not there, so null cannot remove it"),
    ],
)
def test_a_bad_override_is_told_by_its_own_text(override: str, expected: str, tmp_path: Path) -> None:
    assert problems_of(write(tmp_path, GOOD), "gpu", override) == [expected]


def test_files_that_are_no_spaces(tmp_path: Path) -> None:
    assert problems_of(write(tmp_path, "# nothing\n")) == ["s.yaml: is empty; a space file needs at least `search` and `start_from`"]
    assert problems_of(write(tmp_path, "[1]"))[0].startswith("s.yaml: is a list; a space file is a mapping")
    assert problems_of(tmp_path / "t.yaml")[0].endswith(f"no such space file; {tmp_path} holds s.yaml")
    assert problems_of(write(tmp_path, "fixed: &a {x: *a}")) == ["s.yaml:1:8: not valid YAML: nested more than 20 levels deep"]


def test_a_batch_larger_than_the_training_set_is_refused(tmp_path: Path) -> None:
    loaded = space(tmp_path)
    loaded.check_against(24)
    with pytest.raises(InputError) as caught:
        loaded.check_against(11)
    assert [problem.removeprefix(f"{tmp_path}/") for problem in caught.value.problems] == [
        "s.yaml: search.train.batch_size: a batch of 12 exceeds the 11 training films, got 12; allowed at most 11; lower it or give more films",
        "s.yaml: search.train.batch_size: a batch of 12 x 2 (schedule steps) = 24 exceeds the 11 training films, got 12; allowed at most 5; lower it or give more films",
    ]


def test_a_baseline_too_sharp_for_its_heatmap_is_warned_of(tmp_path: Path) -> None:
    (warning,) = space(tmp_path, "gpu", "fixed.data.image_size=256").warnings
    assert warning.endswith(
        "heatmap.sigma_rel 0.007 is 0.45 heatmap px at 256 px and stride 4; below 0.7 a target nearly vanishes between pixels; "
        "set model.head_stride: 2, or raise data.image_size to 416"
    )


junk = (
    st.none()
    | st.booleans()
    | st.integers(-1, 3)
    | st.sampled_from(["flat", "x", [], [1], {}, {"a": 1}, {"float": [1, 2]}, {"mode": 1, "width": 0.5}])
)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_damaged_tree_is_an_input_error_or_a_space_never_a_crash(data: st.DataObject) -> None:
    tree = yaml.safe_load(PRIORS.replace("e-4", ".0e-4").replace("e-3", ".0e-3"))
    del tree["profiles"]
    holder, key = tree, data.draw(st.sampled_from(sorted(tree)))
    while isinstance(holder[key], dict | list) and holder[key] and data.draw(st.booleans()):
        holder = holder[key]
        key = data.draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder))))
    holder[key] = data.draw(junk)
    try:
        loaded = Space.from_dict(tree)
    except InputError:
        return
    assert loaded.contains(loaded.baseline)
    assert Space.from_dict(loaded.to_dict()) == loaded
