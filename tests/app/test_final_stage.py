"""The final stage of a real run with real networks: planned once, continued exactly after kill -9, exported, and redone by an extension."""

import signal
from pathlib import Path

import pytest
import yaml

from ceph_core.inference import read_manifest
from search import records
from search.promotion.final import PLANNED
from tests.app.driving import assert_sound, driver

pytestmark = pytest.mark.slow

SPACE = {
    "fixed": {
        "model.name": "hrnet_w18_small", "data.image_size": 64, "train.epochs": 2, "heatmap.loss": "cross_entropy", "train.lr": 4e-3,
        "data.zoom": 1.5,
    },
    "search": {"heatmap.sigma_rel": {"float": [0.02, 0.09], "log": True}},
    "start_from": [{"heatmap.sigma_rel": 0.05}],
    "sampler": {"startup_trials": 2},
    "scheduler": {"rungs": []},
    "resources": {"cpus_per_trial": 1, "gpus_per_trial": 0, "max_concurrent": 1},
    "budget": {"trials": 2},
    "promotion": {"candidates": 1, "seeds": 0, "final": {"networks": 2, "epochs": 4}},
}  # fmt: skip


def _final_epochs(events: list[records.Event]) -> int:
    return sum(event["event"] == "report" and "-final" in event["trial"] for event in events)


def _weights(run: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted((run / "ensemble").glob("member_*/weights.safetensors"))]


def test_final_networks_survive_a_kill_bit_for_bit(tmp_path: Path, films: Path):
    space = tmp_path / "space.yaml"
    space.write_text(yaml.safe_dump(SPACE, sort_keys=False))
    runs = {name: tmp_path / name for name in ("whole", "killed")}
    commands = {
        name: ["run_search.py", "--space", space, "--data", films, "--profile", "cpu", "--out", run, "--seed", "3"]
        for name, run in runs.items()
    }
    with driver(*commands["whole"], log=tmp_path / "whole.log", training="") as whole:
        assert whole.wait() == 0, whole.said()
    log = tmp_path / "killed.log"
    with driver(*commands["killed"], log=log, training="") as killed:
        killed.wait_for(runs["killed"], lambda events: _final_epochs(events) == 2)
        killed.signal(signal.SIGKILL)
        killed.process.wait()
    with driver("run_search.py", "--resume", runs["killed"], log=log, training="") as resumed:
        assert resumed.wait() == 0, resumed.said()
    assert "final: 2 networks x 4 epochs on 12 films" in resumed.said()
    assert len(_weights(runs["whole"])) == 2
    assert _weights(runs["whole"]) == _weights(runs["killed"]), "the same networks, bit for bit"
    assert_sound(runs["killed"])
    events = records.read_events(runs["killed"])
    assert sum(event["event"] == PLANNED for event in events) == 1, "the plan of the killed driver stands"

    manifest = read_manifest(runs["killed"] / "ensemble")
    loaded = records.load(runs["killed"])
    unlocked = set(loaded.splits.loc[loaded.splits["split"].isin(["train", "validation"]), "film"])
    assert len(unlocked) == 12
    for member in manifest.members:
        assert "-final" in member.trial and member.epoch == 4
        assert set(member.training_films) == unlocked, "every film that is not locked"
    assert "did not learn from" in manifest.figures["held_out_by"]
    assert manifest.figures["held_out_by"] in (runs["killed"] / "report.html").read_text()
    finals = loaded.trials[loaded.trials["role"] == "final"]
    assert (finals["status"] == "completed").all() and finals["last_mre_mm"].isna().all(), "nothing was held out from them"

    with driver("run_search.py", "--resume", runs["killed"], "--trials", "3", log=log, training="") as extended:
        assert extended.wait() == 0, extended.said()
    assert sum(event["event"] == PLANNED for event in records.read_events(runs["killed"])) == 2, "an extension plans again"
    assert_sound(runs["killed"])
