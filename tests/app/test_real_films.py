"""A small search on real films, and the report that it leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from search import records
from tests.search.report_numbers import check_report

ROOT = Path(__file__).parents[2]
SPACE = {
    "fixed": {
        "model.name": "hrnet_w18_small",
        "train.epochs": 4,
        "train.lr": 4e-3,
        "data.image_size": 128,
        "heatmap.loss": "cross_entropy",
        "model.head_stride": 2,
    },
    "search": {"heatmap.sigma_rel": {"float": [0.006, 0.03], "log": True}, "train.batch_size": {"categorical": [2, 4, 8]}},
    "start_from": [{"heatmap.sigma_rel": 0.012, "train.batch_size": 4}],
    "scheduler": {"rungs": [0.5], "reduction_factor": 2},
    "budget": {"trials": 6},
    "promotion": {"candidates": 2, "seeds": 1, "final": {"networks": 2, "epochs": 5}},
    "resources": {"cpus_per_trial": 1, "gpus_per_trial": 0},
}


@pytest.mark.slow
@pytest.mark.real
def test_every_number_of_its_report_follows_from_its_tables(tmp_path: Path, real_films: Path) -> None:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    run = tmp_path / "run"
    command = [sys.executable, "run_search.py", "--space", tmp_path / "space.yaml", "--data", real_films / "isbi2015", "--out", run]
    env = {**os.environ, "CEPH_CACHE_DIR": str(tmp_path / "cache")}
    more = ["--spacing-mm", "0.3", "--profile", "cpu"]
    ran = subprocess.run([*map(str, command), *more], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = records.load(run)
    assert found.status == "finished" and (run / "ensemble" / "calibration.json").is_file()
    assert set(found.predictions["fold"]) == {-1}, "nothing was held out by folds"
    check_report(run)
