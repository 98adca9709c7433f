"""TensorBoard's files as another process finds them while a run lives; read by their format, for TensorBoard is an extra."""

import math
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from tensorboardX.proto.event_pb2 import Event as Record
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
from tensorboardX.proto.summary_pb2 import Summary

from ceph_core.inference import overlay
from ceph_core.training.examples import Example
from search import overlays, tensorboard
from search.records import Event, RunFolder
from search.tensorboard import BEST_TAG, TensorBoard
from tests.core.drawn_films import make, tiny
from tests.search.made_up import result_of
from tests.search.simulated import made_up_space
from tests.search.test_trial import actor_on

SPACE = made_up_space()
VALUES = SPACE.baseline


def values_of(folder: Path) -> Iterator[tuple[int, Summary.Value]]:
    """(step, value) of all event files right in a folder, as far as they are written."""
    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at + 12 <= len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            record = Record.FromString(data[at + 12 : at + 12 + length])
            yield from ((record.step, value) for value in record.summary.value)
            at += 16 + length


def scalars_of(folder: Path) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for step, value in values_of(folder):
        if value.WhichOneof("value") == "simple_value":
            found.setdefault(value.tag, {})[step] = value.simple_value
    return found


def hparams_of(folder: Path) -> dict[str, HParamsPluginData]:
    return {
        value.tag.rpartition("/")[2]: HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for _, value in values_of(folder)
        if value.metadata.plugin_data.plugin_name == "hparams"
    }


def began(trial: str) -> Event:
    return {"event": "trial", "trial": trial, "values": VALUES, "time": 1000.0}


def reported(trial: str, epoch: int, value_mm: float) -> Event:
    figures = result_of(SPACE.configure(VALUES, seed=0), epoch, value_mm).figures()
    return {"event": "report", "trial": trial, "validated": not math.isnan(value_mm), **figures}


def test_a_trial_is_there_while_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "_FLUSH_S", 0.05)
    run = RunFolder(tmp_path)
    board = TensorBoard(run, SPACE.knobs)
    board.on_event(began("t0000"))
    for epoch, value in enumerate((4.0, 3.0, math.nan, 3.5), start=1):
        board.on_event(reported("t0000", epoch, value))
    deadline = time.monotonic() + 10
    while 4 not in scalars_of(run.tensorboard_dir("t0000")).get(BEST_TAG, {}):
        assert time.monotonic() < deadline, "not flushed while the trial runs"
        time.sleep(0.02)
    found = scalars_of(run.tensorboard_dir("t0000"))
    assert found["val/MRE_mm"] == {1: 4.0, 2: 3.0, 4: 3.5}
    assert found[BEST_TAG] == {1: 4.0, 2: 3.0, 3: 3.0, 4: 3.0}
    board.close()


def test_the_knobs_are_columns_of_the_hparams_page(tmp_path):
    run = RunFolder(tmp_path)
    board = TensorBoard(run, SPACE.knobs)
    for trial, status in (("t0000", "completed"), ("t0001", "failed")):
        board.on_event(began(trial))
        board.on_event(reported(trial, 1, 4.0))
        board.on_event({"event": "end", "trial": trial, "status": status, "time": 1060.0})
    (experiment,) = (data.experiment for data in hparams_of(run.tensorboard_dir("")).values())
    assert {info.name for info in experiment.hparam_infos} == {knob.key for knob in SPACE.knobs}
    assert {info.name.tag for info in experiment.metric_infos} <= scalars_of(run.tensorboard_dir("t0000")).keys()
    first, second = (hparams_of(run.tensorboard_dir(trial)) for trial in ("t0000", "t0001"))
    assert {key: value.number_value for key, value in first["session_start_info"].session_start_info.hparams.items()} == VALUES
    assert first["session_end_info"].session_end_info.status != second["session_end_info"].session_end_info.status


def test_a_resumed_run_goes_on(tmp_path):
    """One experiment, and the best of before the resume counts."""
    run = RunFolder(tmp_path)
    past = [began("t0000"), reported("t0000", 1, 3.0)]
    board = TensorBoard(run, SPACE.knobs)
    for event in past:
        board.on_event(event)
    board.close()
    again = TensorBoard(run, SPACE.knobs, past)
    again.on_event(reported("t0000", 2, 5.0))
    again.close()
    assert scalars_of(run.tensorboard_dir("t0000"))[BEST_TAG] == {1: 3.0, 2: 3.0}
    assert len(list(run.tensorboard_dir("").glob("events.*"))) == 1


def test_films_pass_from_trial_to_tensorboard_and_leave_nothing_behind(tmp_path):
    run, points = RunFolder(tmp_path), np.array([[20.0, 30.0], [50.0, 60.0]])
    film = np.full((96, 64), 90, np.uint8)
    missing = np.array([[22.0, 30.0], [np.nan, np.nan]])
    run.trial_dir("t0000").mkdir(parents=True)
    overlays.put(run.trial_dir("t0000"), 3, [Example("a/b-7", film, points, missing), Example("c", film, points, points)])
    board = TensorBoard(run, SPACE.knobs)
    board.on_event(began("t0000"))
    board.on_event(reported("t0000", 2, 4.0))
    board.on_event(reported("t0000", 3, 4.0))
    board.close()
    images = {(value.tag, step): value.image for step, value in values_of(run.tensorboard_dir("t0000")) if value.HasField("image")}
    assert images.keys() == {("validation film a/b-7", 3), ("validation film c", 3)}
    picture = images["validation film a/b-7", 3]
    shown = cv2.imdecode(np.frombuffer(picture.encoded_image_string, np.uint8), cv2.IMREAD_COLOR).astype(int)
    assert shown.shape[:2] == (picture.height, picture.width) == (overlays.LONG_SIDE, round(overlays.LONG_SIDE * 2 / 3))
    scale = overlays.LONG_SIDE / 96
    x, y = ((points[1] + 0.5) * scale - 0.5).round().astype(int)
    assert np.abs(shown[y, x] - overlay.PREDICTED).max() < 40, "an amber dot where the network saw the point"
    assert not (run.trial_dir("t0000") / overlays.FOLDER).exists()


def test_a_real_trial_draws_at_rungs_and_at_its_end(tmp_path):
    data = make(tmp_path / "films", train=6, validation=3)
    actor, folder = actor_on(tmp_path / "run" / "trials" / "t0000", tiny(train__epochs=3), data, rungs=(0.33,))
    drawn = {}
    for epoch in range(1, 4):
        actor.step()
        drawn[epoch] = list(overlays.take(folder, epoch))
    actor.cleanup()
    films = list(data.validation_ids[:2])
    assert [[film for film, _ in drawn[epoch]] for epoch in drawn] == [films, [], films]
    assert max(len(picture) for shown in drawn.values() for _, picture in shown) < 80_000
