"""The schema: what a knob may be and what its error says."""

from typing import Any

import pytest
from pydantic import ValidationError

from ceph_core.config import AugmentConfig, Config, ScheduleConfig, Stage, TrainConfig, apply, field_at, get, knobs, sharing
from ceph_core.errors import InputError


def test_every_knob_has_a_description_and_can_be_read_by_its_key() -> None:
    config = Config()
    for key, field in knobs().items():
        assert field.description, key
        assert apply(config, {key: get(config, key)}) == config


def test_apply_changes_what_it_is_told_and_nothing_else() -> None:
    config = apply(Config(), {"heatmap.sigma_rel": 0.01, "model.name": "hrnet_w32"})
    assert (config.heatmap.sigma_rel, config.model.name) == (0.01, "hrnet_w32")
    assert config.train == Config().train


def test_all_problems_come_together_with_key_value_and_what_is_allowed() -> None:
    with pytest.raises(InputError) as caught:
        apply(Config(), {"train.lrr": 1, "train.batch_size": 0, "data.image_size": 500, "model.name": "unet"}, "spaces/x.yaml")
    text = str(caught.value)
    assert len(caught.value.problems) == 4 and all(line.startswith("spaces/x.yaml: ") for line in caught.value.problems)
    assert "did you mean train.lr?" in text
    assert "train.batch_size" in text and "got 0" in text
    assert "nearest are 480 and 512" in text
    assert "hrnet_w18_small" in text


@pytest.mark.parametrize(
    ("given", "offered"), [("sigma_rel", "heatmap.sigma_rel"), ("train.epoch", "train.epochs"), ("xyz", "allowed are data.")]
)
def test_an_unknown_key_offers_the_nearest(given: str, offered: str) -> None:
    with pytest.raises(InputError, match=offered):
        field_at(given, "--set")


def test_the_dial_fills_every_range_that_is_not_set() -> None:
    filled = AugmentConfig(strength=0.5, rotation_deg=3).resolved()
    assert (filled.rotation_deg, filled.shift, filled.scale, filled.brightness, filled.contrast) == (3, 0.05, 0.05, 0.1, 0.1)
    assert AugmentConfig(strength=0).resolved().rotation_deg == 0
    strongest = AugmentConfig(strength=4).resolved()
    assert AugmentConfig.model_validate(strongest.model_dump()) == strongest, "the dial never leaves a range's limits"


def test_warm_up_follows_the_guide_and_spares_short_runs() -> None:
    assert [TrainConfig(epochs=epochs).resolved_warmup() for epochs in (250, 301, 20)] == [5, 10, 2]
    assert TrainConfig(epochs=20, warmup_epochs=7).resolved_warmup() == 7


def test_stages_make_up_the_whole_run_and_end_at_full_size() -> None:
    ScheduleConfig(stages=(Stage(epochs=0.4, size=0.75, batch=2), Stage(epochs=0.6)))
    with pytest.raises(ValidationError, match=r"add up to 0\.9"):
        ScheduleConfig(stages=(Stage(epochs=0.9),))
    with pytest.raises(ValidationError, match="last stage must have size 1"):
        ScheduleConfig(stages=(Stage(epochs=1, size=0.5),))


def test_a_configuration_is_frozen_and_survives_json() -> None:
    config = apply(Config(), {"schedule.stages": [{"epochs": 0.5, "size": 0.5, "batch": 2}, {"epochs": 0.5}]})
    assert Config.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError, match="frozen"):
        config.train.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("views", "said"), [("flip", "augment.flip_p 0 rules out"), ("turn", "'turn' is not"), ("scale,scale", "each once")]
)
def test_views_that_a_network_cannot_read_are_refused(views: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        apply(Config(), {"inference.tta": views})
    assert apply(Config(), {"inference.tta": "flip, scale", "augment.flip_p": 0.5}).inference.tta == "flip, scale"


def test_configurations_that_share_sections_are_the_same_ones() -> None:
    met: dict[Any, Any] = {}
    plain = [apply(Config(), {"heatmap.sigma_rel": sigma, "train.seed": 3}) for sigma in (0.005, 0.01)]
    one, other = (sharing(config, met) for config in plain)
    assert [one, other] == plain and one.train is other.train and one.heatmap is not other.heatmap
    assert Config.model_validate(one.model_dump(mode="json")) == one and hash(one) == hash(plain[0])
    assert apply(one, {"train.seed": 4}).train.seed == 4 and other.train.seed == 3
