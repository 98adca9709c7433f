"""The guide's signs: each shows on its curve, none on a healthy one, at any length of a run; and the guide's collapse for real."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_films import make, tiny

from ceph_core import data as datasets
from ceph_core.codec import HeatmapCodec
from ceph_core.config import MIN_SIGMA_HEATMAP_PX, Config, SourceConfig, apply, knobs
from ceph_core.config.heatmap import MIN_SIGMA_OF_SHARES_PX
from ceph_core.data.films import TrainingData
from ceph_core.training.health import RULES, Health, changes, findings, hopeless, judge, names_in, trajectory
from ceph_core.training.health.monitor import Monitor, mean_shape_mre_mm
from ceph_core.training.health.trajectory import TABLE, expected_at
from ceph_core.training.plan import is_validated
from ceph_core.training.progressive import epoch_of_share
from ceph_core.training.result import scalars
from ceph_core.training.trainer import Training

MEAN_SHAPE_MM = 9.7
COLLAPSE = 1.0 / 512
"""The guide's collapse: sigma 1.0 at 512 px, a quarter of a heatmap pixel at stride 4."""
COLLAPSE_HEATMAP_PX = 0.25

Shape = Callable[[float], float]
Figures = list[dict[str, Any]]


def through(*marks: tuple[float, float]) -> Shape:
    """A curve through (share of the run, value), straight in logarithms."""
    shares, values = np.log(np.array(marks)).T
    return lambda share: float(np.exp(np.interp(np.log(share), shares, values)))


HEALTHY: dict[str, Shape] = {
    "val_mre_mm": through((0.002, 40), (0.02, 15), (0.06, 8), (0.2, 4), (0.6, 1.98), (1, 1.66)),
    "val_sdr_2mm": through((0.02, 8), (0.06, 30), (0.12, 53), (0.2, 62), (0.6, 71), (1, 76)),
    "val_sdr_4mm": through((0.02, 30), (0.06, 60), (0.2, 86), (0.6, 93), (1, 95.5)),
    "train_loss": through((0.004, 1), (1, 0.1)),
    "val_loss": through((0.004, 1), (1, 0.15)),
    "peak_width_rel": through((0.004, 4), (0.3, 1.3), (1, 1.1)),
}
GOOD = {"below-20-mm", "below-10-mm", "below-5-mm", "below-2-mm", "sdr-above-50", "sdr-above-70"}


def figures(config: Config, until: float = 1.0, **shapes: Shape) -> Figures:
    """Every epoch up to a share of the run; between validations there is nothing but the training loss, as in a live run."""
    made, total = [], config.train.epochs
    for epoch in range(1, epoch_of_share(until, total) + 1):
        values = {name: shape(epoch / total) for name, shape in (HEALTHY | shapes).items()}
        if not is_validated(config, epoch):
            values = {name: value if name == "train_loss" else math.nan for name, value in values.items()}
        made.append({"epoch": epoch, **values})
    return made


def with_epochs(config: Config, epochs: int) -> Config:
    return apply(config, {"train.epochs": epochs})


def later(start: float, before: Shape, after: Callable[[float], float]) -> Shape:
    return lambda share: before(share) if share <= start else after(share)


MRE, TRAIN, VAL = HEALTHY["val_mre_mm"], HEALTHY["train_loss"], HEALTHY["val_loss"]

SICK: dict[str, tuple[dict[str, Any], dict[str, Shape]]] = {
    "vanishing-target": ({"heatmap.sigma_rel": COLLAPSE}, {}),
    "collapse": ({"heatmap.sigma_rel": COLLAPSE}, {"val_mre_mm": lambda share: 51.0, "val_sdr_2mm": lambda share: 0.05}),
    "learnt-nothing": ({}, {"val_mre_mm": lambda share: 60 - 50 * share}),
    "flat": ({}, {"val_mre_mm": lambda share: 30 + math.sin(99 * share)}),
    "sdr-below-30": ({}, {"val_sdr_2mm": lambda share: 29 * share**0.1}),
    "above-5-mm": ({}, {"val_mre_mm": lambda share: max(MRE(share), 5.1)}),
    "above-2-mm": ({}, {"val_mre_mm": lambda share: 1.5 * MRE(share)}),
    "overfitting": ({}, {"val_loss": later(0.5, VAL, lambda share: VAL(0.5) * (1 + share - 0.5))}),
    "not-generalising": ({}, {"val_mre_mm": lambda share: max(MRE(share), 2.25 + 0.1 * share)}),
    "blurry": ({}, {"peak_width_rel": lambda share: 1.65}),
}
"""By rule: what is changed in the configuration, and in the healthy curve, so that it shows at the end."""


def sick(name: str, epochs: int = 250) -> tuple[Config, dict[str, Shape]]:
    config, shapes = SICK[name]
    return with_epochs(apply(Config(), config), epochs), shapes


def test_every_rule_has_its_curve() -> None:
    assert {rule.name for rule in RULES} == GOOD | SICK.keys()
    assert all(rule.level == "good" for rule in RULES if rule.name in GOOD)


@pytest.mark.parametrize("name", SICK)
def test_a_rule_shows_on_its_curve(name: str) -> None:
    config, shapes = sick(name)
    assert name in judge(config, figures(config, **shapes), MEAN_SHAPE_MM).names


@pytest.mark.parametrize("epochs", [15, 50, 250, 500])
@pytest.mark.parametrize("until", [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_a_healthy_run_has_no_problem_at_any_time(until: float, epochs: int) -> None:
    config = with_epochs(Config(), epochs)
    health = judge(config, figures(config, until), MEAN_SHAPE_MM)
    assert health.problems == ()
    assert health.trajectory == ("too early" if until < 0.2 else "on track")


def test_a_healthy_run_earns_every_good_sign_and_a_slow_one_none() -> None:
    config = Config()
    healthy = judge(config, figures(config), MEAN_SHAPE_MM)
    assert set(healthy.names) == GOOD
    assert (healthy.tier, healthy.trajectory) == ("excellent", "on track")
    slow = judge(config, figures(config, val_mre_mm=lambda share: 3 * MRE(share), val_sdr_2mm=lambda share: 45 * share), MEAN_SHAPE_MM)
    assert not GOOD & set(slow.names)
    assert (slow.tier, slow.trajectory) == ("below minimum", "behind")


@pytest.mark.parametrize("name", SICK)
def test_the_same_curve_of_a_longer_run_shows_the_same(name: str) -> None:
    """50, 250 and 500 epochs, each validated 50 times: at every validation the same names, and the same run is hopeless."""
    told = []
    for epochs in (50, 250, 500):
        config, shapes = sick(name, epochs)
        whole = figures(config, **shapes)
        step = epochs // 50
        names = [judge(config, whole[:epoch], MEAN_SHAPE_MM).names for epoch in range(step, epochs + 1, step)]
        told.append([(each, hopeless(each, (place + 1) * step, epochs)) for place, each in enumerate(names)])
    assert told[0] == told[1] == told[2]


@pytest.mark.parametrize("name", SICK)
def test_a_rule_waits_for_its_share_of_the_run(name: str) -> None:
    config, shapes = sick(name)
    rule = next(rule for rule in RULES if rule.name == name)
    if rule.when == 0:
        return
    early = figures(config, **shapes)[: epoch_of_share(rule.when, 250) - 1]
    assert name not in judge(config, early, MEAN_SHAPE_MM).names


def test_a_short_run_is_not_condemned_on_one_validation() -> None:
    config = with_epochs(Config(), 5)
    bad = figures(config, 0.4, val_mre_mm=lambda share: 60.0)
    assert len(bad) == 2
    names = judge(config, bad, MEAN_SHAPE_MM).names
    assert hopeless(names, 2, 5) is None and "learnt-nothing" not in names


def test_what_is_hopeless_and_when() -> None:
    names = {rule.name for rule in RULES if rule.hopeless_from is not None}
    assert names == {"collapse", "learnt-nothing"}
    assert [hopeless(["flat", "learnt-nothing"], epoch, 250) for epoch in (25, 49, 50)] == [None, None, "learnt-nothing"]
    assert [hopeless(["collapse"], epoch, 250) for epoch in (24, 25)] == [None, "collapse"]
    assert hopeless(["above-5-mm", "a-rule-of-tomorrow"], 250, 250) is None


def test_without_a_mean_shape_nothing_is_compared_with_it() -> None:
    config, shapes = sick("collapse")
    for unknown in (None, math.nan):
        names = judge(config, figures(config, **shapes), unknown).names
        assert "vanishing-target" in names and not {"collapse", "learnt-nothing"} & set(names)


def test_records_of_an_earlier_version_are_judged_by_what_they_hold() -> None:
    config = Config()
    told = [{"epoch": each["epoch"], "val_mre_mm": 6.0, "val_sdr_2mm": None, "val_loss": None} for each in figures(config)]
    assert judge(config, told).names == ("below-20-mm", "below-10-mm", "flat", "above-5-mm")
    assert judge(config, []) == Health()


@pytest.mark.parametrize("begins_at", [0.9, 0.99])
def test_losses_are_compared_within_a_stage(begins_at: float) -> None:
    """A stage of a larger size begins: its loss is another, and no trend."""
    staged = apply(Config(), {"schedule.stages": [{"epochs": begins_at, "size": 0.75}, {"epochs": 1 - begins_at}]})
    told = figures(staged, val_loss=later(begins_at, VAL, lambda share: 2 * VAL(share)))
    assert "overfitting" not in judge(staged, told, MEAN_SHAPE_MM).names
    assert "overfitting" in judge(Config(), told, MEAN_SHAPE_MM).names


def test_a_target_may_vanish_in_one_stage_only() -> None:
    config = apply(Config(), {"heatmap.sigma_rel": 0.006, "schedule.stages": [{"epochs": 0.4, "size": 0.5}, {"epochs": 0.6}]})
    assert "vanishing-target" in judge(config, figures(config, 0.4), MEAN_SHAPE_MM).names
    assert "vanishing-target" not in judge(config, figures(config, 0.5), MEAN_SHAPE_MM).names


# --- trajectory


def test_the_table_is_met_at_its_shares_and_between() -> None:
    for row in TABLE:
        middle = [sum(found) / 2 for found in (row.mre_mm, row.sdr_2mm, row.sdr_4mm)]
        assert expected_at(row.share) == row
        assert trajectory(row.share, *middle) == "on track"
    between = expected_at(0.2 * 3**0.5)  # half-way from 0.2 to 0.6 in the logarithm
    assert between is not None and between.mre_mm == pytest.approx((2.45, 3.6)) and between.sdr_2mm == pytest.approx((65, 68.5))
    assert expected_at(0.19) is None


def test_two_of_three_figures_decide() -> None:
    assert trajectory(0.6, 1.7, 74.0, 93.0) == "ahead"
    assert trajectory(0.6, 1.7, 71.0, 90.0) == "on track"
    assert trajectory(0.6, 2.6, 60.0, 93.0) == "behind"


def test_about_is_not_exactly() -> None:
    assert trajectory(1.0, 1.60, 76.8, 97.0) == trajectory(1.0, 1.75, 75.0, 90.0) == "on track"
    assert trajectory(1.0, 1.58, 77.0, 95.0) == "ahead" and trajectory(1.0, 1.76, 74.8, 95.0) == "behind"


# --- advice


def advice_of(name: str, **changes: Any) -> str:
    config = apply(Config(), {key.replace("__", "."): value for key, value in changes.items()})
    return findings(config, [name])[0].advice


def test_the_collapse_of_the_guide_is_told_what_to_set() -> None:
    said = advice_of("collapse", heatmap__sigma_rel=COLLAPSE)
    assert said == "heatmap.sigma_rel 0.0020 is 0.25 heatmap px where 0.7 is the least: set it to 0.0070 (3.6 px at 512)"


@pytest.mark.parametrize("name", ["collapse", "vanishing-target", "learnt-nothing", "flat", "sdr-below-30", "above-5-mm", "above-2-mm"])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("size", [96, 192, 256, 512, 1024])
def test_what_is_advised_for_a_vanishing_target_does_not_vanish(name: str, size: int, stride: int) -> None:
    sigma_rel = COLLAPSE_HEATMAP_PX * stride / size
    said = advice_of(name, heatmap__sigma_rel=sigma_rel, data__image_size=size, model__head_stride=stride)
    wanted = float(re.findall(r"(?:set it|set heatmap\.sigma_rel) to ([\d.]+) ", said)[0])
    assert wanted * size / stride >= MIN_SIGMA_HEATMAP_PX
    finer = re.search(r"or to ([\d.]+) .* with model\.head_stride (\d)", said)
    assert finer is None or float(finer[1]) * size / int(finer[2]) >= MIN_SIGMA_HEATMAP_PX


@pytest.mark.parametrize("sigma_px", [0.36, 0.5, 0.69])
def test_a_target_that_sums_to_one_does_not_vanish(sigma_px: float) -> None:
    """Networks of 0.38 to 0.6 px were the best of whole searches under cross_entropy (docs/health.md)."""
    sums = {"heatmap.loss": "cross_entropy", "heatmap.sigma_rel": sigma_px * 4 / 512}
    assert "vanishing-target" not in judge(apply(Config(), sums), figures(Config()), MEAN_SHAPE_MM).names
    assert "vanishing-target" in judge(apply(Config(), sums | {"heatmap.loss": "mse"}), figures(Config()), MEAN_SHAPE_MM).names


def test_what_a_sum_of_one_wants_at_least_is_told() -> None:
    sums = {"heatmap.loss": "cross_entropy", "heatmap.sigma_rel": 0.3 * 4 / 512}
    assert "vanishing-target" in judge(apply(Config(), sums), figures(Config()), MEAN_SHAPE_MM).names
    assert "0.30 heatmap px where 0.35 is the least" in findings(apply(Config(), sums), ["vanishing-target"])[0].advice


@pytest.mark.parametrize(("sigma_px", "holds"), [(MIN_SIGMA_OF_SHARES_PX, True), (0.3, False)])
def test_the_least_target_of_shares_still_says_where_it_lies(sigma_px: float, holds: bool) -> None:
    """Its centre of mass, the centre anywhere between two pixels: within 0.14 px."""
    cells = torch.arange(24.0)
    off = []
    for centre in np.linspace(11, 12, 41):
        point, sigma = torch.tensor([[[centre, 12.0]]]), torch.tensor([sigma_px])
        target = HeatmapCodec(1, "cross_entropy", sigma_px).encode(point, sigma, (24, 24)).columns[0, 0]
        off.append(abs(float((target * cells).sum() / target.sum()) - centre))
    assert (max(off) <= 0.14) == holds


def test_a_stage_at_a_smaller_size_counts() -> None:
    stages = [{"epochs": 0.5, "size": 0.5}, {"epochs": 0.5}]
    said = advice_of("vanishing-target", heatmap__sigma_rel=0.006, schedule__stages=stages)
    assert "0.38 heatmap px" in said and "set it to 0.0110" in said  # 0.7 * 4 / 256
    said = advice_of("vanishing-target", heatmap__sigma_rel=0.0055, schedule__scales=[0.75, 1.0])
    assert "set it to 0.0073" in said  # 0.7 * 4 / 384


def test_the_guide_s_own_values_are_advised() -> None:
    assert advice_of("above-2-mm").startswith("set heatmap.sigma_rel to 0.0078 (4.0 px at 512)")
    assert advice_of("above-5-mm").startswith("set heatmap.sigma_rel to 0.0078 (4.0 px at 512)")
    assert "labels" in advice_of("above-5-mm") and "pixel size" in advice_of("above-5-mm")
    assert advice_of("blurry").startswith("set heatmap.sigma_rel to 0.0059 (3.0 px at 512)")
    assert "not to blame" in advice_of("above-2-mm", heatmap__sigma_rel=0.012)
    assert "hrnet_w32 in the place of hrnet_w48" in advice_of("overfitting")
    assert "augment.strength (it is 1; try 1.5)" in advice_of("overfitting") and "model.dropout (it is 0; try 0.2)" in advice_of(
        "overfitting"
    )
    assert "in the place of" not in advice_of("overfitting", model__name="hrnet_w18_small")


def test_a_smaller_sigma_is_never_one_that_vanishes() -> None:
    assert advice_of("blurry", data__image_size=256, heatmap__sigma_rel=0.02).startswith("set heatmap.sigma_rel to 0.0110")  # 0.7 * 4 / 256
    assert advice_of("blurry", data__image_size=256, heatmap__sigma_rel=0.0105).startswith("heatmap.sigma_rel is 0.0105, not above 0.0110")


def test_advice_names_knobs_that_exist() -> None:
    for config in (Config(), tiny(), tiny(heatmap__sigma_rel=0.002)):
        for finding in findings(config, [rule.name for rule in RULES]):
            named = set(re.findall(r"\b(?:data|model|heatmap|augment|train|schedule)\.[a-z_]+", finding.advice))
            assert named <= knobs().keys(), finding
            assert bool(finding.advice) == (finding.level != "good")


def test_every_rule_stands_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "health.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (good|warning|serious) \|", page, re.MULTILINE))
    assert rows == {rule.name: rule.level for rule in RULES}


# --- a running training


def test_changes_are_told_once_and_clearing_too() -> None:
    config = Config()
    assert list(changes(config, [], ["blurry"])) == [f"health: {findings(config, ['blurry'])[0]}"]
    assert list(changes(config, ["blurry"], ["blurry"])) == []
    assert list(changes(config, ["blurry"], [])) == ["health: blurry has cleared"]


def test_names_survive_a_record() -> None:
    assert names_in("flat,blurry") == ("flat", "blurry")
    assert names_in("") == names_in(None) == names_in(math.nan) == ()


def test_the_mean_shape_s_error_is_that_of_the_training_films_mean(tmp_path: Path) -> None:
    data = make(tmp_path, train=6, validation=3)
    films = data.dataset.by_id()
    mean = np.mean([films[film].landmarks_px for film in data.train_ids], axis=0)
    expected = np.mean([np.linalg.norm(films[film].landmarks_px - mean, axis=-1) for film in data.validation_ids])
    assert mean_shape_mre_mm(data) == pytest.approx(expected)
    assert math.isfinite(mean_shape_mre_mm(make(tmp_path / "missing", train=6, validation=3, missing=True)))


def test_without_validation_films_there_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make(tmp_path, train=4, validation=2)
    monkeypatch.setattr(TrainingData, "validation_ids", ())
    assert math.isnan(mean_shape_mre_mm(data))
    training = Training(tiny(train__epochs=1), data)
    assert next(training).health == () and training.health == Health()


def test_a_landmark_that_no_training_film_marks_has_no_mean_shape(tmp_path: Path) -> None:
    data = make(tmp_path, train=6, validation=3)
    for film in data.train_ids:
        data.dataset.by_id()[film].landmarks_px[1] = np.nan
    assert math.isfinite(mean_shape_mre_mm(data))


def test_the_verdict_outlives_a_stop(tmp_path: Path) -> None:
    data = make(tmp_path, train=4, validation=2)
    config = tiny(heatmap__loss="mse", heatmap__sigma_rel=COLLAPSE_HEATMAP_PX * 4 / 64, train__epochs=5)
    training = Training(config, data)
    told = list(training)
    half = Training(config, data)
    for _ in range(3):
        next(half)
    half.save(tmp_path / "state")
    resumed = Training(config, data, resume=tmp_path / "state")
    assert resumed.health == half.health and resumed.health.names == told[2].health
    assert [result.health for result in resumed] == [result.health for result in told[3:]]
    assert resumed.health == training.health and "vanishing-target" in resumed.health.names


def test_a_verdict_stands_until_the_next_validation(tmp_path: Path) -> None:
    data = make(tmp_path, train=4, validation=2)
    results = list(Training(tiny(train__epochs=6, train__validations=3, heatmap__sigma_rel=0.005), data))
    assert [result.validated for result in results] == [False, True] * 3
    assert [bool(result.health) for result in results] == [False, *[True] * 5]
    assert results[2].health == results[1].health
    assert {result.mean_shape_mm for result in results} == {mean_shape_mre_mm(data)}
    assert ["val/peak_width_rel" in scalars(result.figures()) for result in results] == [False, True] * 3


def test_what_was_kept_for_a_checkpoint_does_not_change(tmp_path: Path) -> None:
    data = make(tmp_path, train=4, validation=2)
    training = Training(tiny(train__epochs=2), data)
    next(training)
    kept = training.state()["history"]
    next(training)
    assert len(kept) == 1 and len(training.state()["history"]) == 2
    monitor = Monitor(training.config, 9.0)
    monitor.load(training.state()["history"])
    assert monitor.health.last == training.health.last


# --- the guide's collapse


def collapsing(image_size: int, **changes: Any) -> Config:
    """The guide's collapse at another size: the same quarter of a heatmap pixel."""
    sigma_rel = COLLAPSE_HEATMAP_PX * 4 / image_size
    return tiny(data__image_size=image_size, heatmap__loss="mse", heatmap__sigma_rel=sigma_rel, train__ema_decay=0.9, **changes)


def as_advised(config: Config, training: Training) -> Config:
    """With the sigma that the finding says to set."""
    (collapse,) = (finding for finding in training.health.findings if finding.name == "collapse")
    return apply(config, {"heatmap.sigma_rel": float(re.findall(r"set it to ([\d.]+) ", collapse.advice)[0])})


def test_the_collapse_is_caught_early(tmp_path: Path) -> None:
    """On drawn films, at the third validation, with what to set."""
    data = make(tmp_path, train=6, validation=3)
    training = Training(collapsing(64, train__epochs=20, train__batch_size=2, train__lr=2e-3), data)
    for _ in range(3):
        result = next(training)
    assert result.val.mre_mm > mean_shape_mre_mm(data)
    assert {"vanishing-target", "collapse"} <= set(result.health)
    assert hopeless(result.health, 3, 20) == "collapse"
    assert as_advised(training.config, training).heatmap.sigma_rel == 0.0438  # 0.7 heatmap px: 0.7 * 4 / 64, rounded up


@pytest.mark.slow
def test_the_advised_sigma_learns_where_the_other_collapses(tmp_path: Path) -> None:
    data = make(tmp_path, train=8, validation=4)
    config = collapsing(96, train__epochs=12, train__batch_size=2, train__lr=2e-3, augment__strength=0.5)
    compare_with_advised(config, data)


@pytest.mark.slow
@pytest.mark.real
def test_real_films_collapse_and_recover_as_advised(real_films: Path, tmp_path: Path) -> None:
    """About a minute on one thread."""
    source = SourceConfig(root=real_films / "isbi2015", spacing_mm=0.3)
    data = TrainingData.of(datasets.read(source, tmp_path), source, tmp_path)
    compare_with_advised(collapsing(192, train__epochs=10, train__lr=1e-3), data)


def compare_with_advised(config: Config, data: TrainingData) -> None:
    """A run that collapses, and the same with the sigma that its finding advises."""
    training = Training(config, data)
    collapsed, shape_mm = list(training)[-1], mean_shape_mre_mm(data)
    advised = list(Training(as_advised(config, training), data))[-1]
    print(f"mean shape {shape_mm:.1f} mm; sigma 0.25 heatmap px: {collapsed.val.mre_mm:.1f} mm; as advised: {advised.val.mre_mm:.2f} mm")
    assert collapsed.val.mre_mm > shape_mm and {"vanishing-target", "collapse"} <= set(collapsed.health)
    assert advised.val.mre_mm < 0.5 * shape_mm and not {"vanishing-target", "collapse", "learnt-nothing"} & set(advised.health)
