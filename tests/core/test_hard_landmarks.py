"""Hard landmarks: bounded weights and widths from a running error, off by default."""

import math

import numpy as np
import pytest
import torch
from drawn_films import tiny

from ceph_core.codec import HeatmapCodec
from ceph_core.config import Config
from ceph_core.training.feedback import Feedback, Seen, after, restored, saved
from ceph_core.training.hard_landmarks import running
from ceph_core.training.plan import plan
from ceph_core.training.watch import Watch

FILMS = ("000", "001", "002", "003")
ERRORS = (0.01, 0.02, 0.09)


def on(**changes: object) -> Config:
    return tiny(**{"train__epochs": 100, "hard_landmarks__weight": 1.0, "hard_landmarks__widen": 0.5, **changes})  # type: ignore[arg-type]


def test_off_by_default_whatever_is_known() -> None:
    todo = plan(tiny(train__epochs=100), 90, Feedback(FILMS, 3, landmark_error=ERRORS))
    assert todo.landmark_weights == (1.0, 1.0, 1.0) and len(set(todo.sigma_px)) == 1 and not todo.watches_landmarks


def test_the_worst_weighs_most_and_is_widest_within_bounds() -> None:
    todo = plan(on(), 90, Feedback(FILMS, 3, landmark_error=ERRORS))
    nominal = on().heatmap.sigma_rel * todo.size
    assert todo.landmark_weights[0] < todo.landmark_weights[1] < todo.landmark_weights[2]
    assert np.mean(todo.landmark_weights) == pytest.approx(1.0)
    assert max(todo.landmark_weights) / min(todo.landmark_weights) <= 9
    assert todo.sigma_px[:2] == (nominal, nominal), "never narrowed"
    assert todo.sigma_px[2] == pytest.approx(1.5 * nominal), "(0.09 / 0.04) ** 0.5, which is the bound too"


@pytest.mark.parametrize("most", [1.0, 2.0, 3.0])
def test_weights_stay_within_their_bounds(most: float) -> None:
    todo = plan(on(hard_landmarks__max_weight=most, hard_landmarks__weight=2.0), 90, Feedback(FILMS, 3, landmark_error=(1e-6, 0.02, 0.09)))
    assert max(todo.landmark_weights) / min(todo.landmark_weights) <= most**2 + 1e-9


def test_errors_count_from_their_start_on() -> None:
    known = Feedback(FILMS, 3, landmark_error=ERRORS)
    assert plan(on(), 20, known).landmark_weights == (1.0, 1.0, 1.0) != plan(on(), 21, known).landmark_weights
    assert plan(on(), 21, Feedback(FILMS, 3)).landmark_weights == (1.0, 1.0, 1.0)


def test_the_running_error_forgets_slowly_and_keeps_what_was_not_seen() -> None:
    nan = math.nan
    first = running(on(), None, (0.1, nan, 0.3))
    assert first[0] == 0.1 and math.isnan(first[1])
    second = running(on(), first, (0.2, 0.5, nan))
    assert second == pytest.approx((0.7 * 0.1 + 0.3 * 0.2, 0.5, 0.3))
    unknown = plan(on(), 90, Feedback(FILMS, 3, landmark_error=(nan, 0.02, 0.02)))
    assert unknown.landmark_weights == (1.0, 1.0, 1.0)


def test_feedback_goes_through_a_checkpoint() -> None:
    learned = after(on(), Feedback(FILMS, 3), Seen(landmark_error=ERRORS))
    assert learned.landmark_error == ERRORS and restored(Feedback(FILMS, 3), saved(learned)) == learned


def test_distances_are_measured_as_shares_of_the_long_side_over_visible_points() -> None:
    codec, size = HeatmapCodec(4, "mse", 6.0), (128, 96)
    points = torch.tensor([[[40.0, 60.0], [50.0, 30.0]], [[20.0, 90.0], [math.nan, math.nan]]])
    shifted = points + torch.tensor([[6.4, 0.0], [0.0, 12.8]])
    target = codec.encode(shifted, torch.tensor([6.0, 6.0]), size)
    watch = Watch(3, torch.device("cpu"))
    maps = torch.cat([target.maps(), torch.zeros(2, 1, 32, 24)], dim=1)
    truth = torch.cat([points, torch.full((2, 1, 2), math.nan)], dim=1)
    visible = torch.tensor([[True, True, False], [True, False, False]])
    for film in range(2):
        watch.add(*watch.distances(codec, maps[film : film + 1], truth[film : film + 1], visible[film : film + 1]))
    found = watch.errors()
    assert found[:2] == pytest.approx((0.05, 0.1), abs=2e-4) and math.isnan(found[2])
