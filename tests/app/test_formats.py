"""A search over films of other formats runs to an exported ensemble by its one command, and the ensemble is used."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from ceph_core.data.phantom import draw
from ceph_core.landmarks import AARIZ29, ISBI19, Protocol, canonical
from search import records
from tests.core import format_writers
from tests.search.report_numbers import check_report

ROOT = Path(__file__).parents[2]
BETWEEN = {
    "Pn": ("Sn", "N", -0.25), "R": ("Ar", "Go", 0.5), "Co": ("Ar", "Po", 0.5), "LPM": ("LIT", "Go", 0.3), "LMT": ("LIT", "Go", 0.45),
    "UPM": ("UIT", "PNS", 0.3), "UMT": ("UIT", "PNS", 0.45), "UIA": ("ANS", "UIT", 0.3), "LIA": ("LIT", "Me", 0.5), "N'": ("N", "Or", -0.3),
}  # fmt: skip
"""Points that drawn films do not have, on lines through two that they have: (from, to, how far)."""
SPACE = {
    "fixed": {
        "model.name": "hrnet_w18_small",
        "train.epochs": 3,
        "data.image_size": 96,
        "heatmap.loss": "cross_entropy",
        "model.head_stride": 2,
    },
    "search": {"heatmap.sigma_rel": {"float": [0.01, 0.03], "log": True}, "train.batch_size": {"int": [2, 4], "step": 2}},
    "start_from": [{"heatmap.sigma_rel": 0.015, "train.batch_size": 4}],
    "scheduler": {"rungs": [0.4], "reduction_factor": 2},
    "budget": {"trials": 3},
    "promotion": {"candidates": 1, "seeds": 0, "final": {"networks": 0}},
    "resources": {"cpus_per_trial": 1, "gpus_per_trial": 0},
}


def films(protocol: Protocol, count: int = 40) -> list[format_writers.Film]:
    """Drawn heads at a sixth of their size, the last ten for test."""
    made = []
    for number in range(count):
        pixels, points, spacing = draw(0, number)
        step = 6
        small = pixels[: pixels.shape[0] // step * step, : pixels.shape[1] // step * step]
        small = small.reshape(small.shape[0] // step, step, -1, step).mean((1, 3)).astype(np.uint8)
        at = {canonical(symbol): (point + 0.5) / step - 0.5 for symbol, point in zip(ISBI19.symbols, points, strict=True)}
        for symbol, (start, end, share) in BETWEEN.items():
            at[symbol] = at[start] + share * (at[end] - at[start])
        inside = np.clip([at[canonical(symbol)] for symbol in protocol.symbols], 0, np.array(small.shape[::-1]) - 1.0)
        split = "test" if number >= count - 10 else "train"
        made.append(format_writers.Film(f"{number:03d}", small, inside, split, spacing * step, device="drawn"))
    return made


@pytest.mark.slow
@pytest.mark.parametrize(("name", "protocol"), [("aariz", AARIZ29), ("coco", ISBI19)])
def test_from_films_to_measurements(tmp_path: Path, name: str, protocol: Protocol) -> None:
    format_writers.FORMATS[name].write(tmp_path / "set", films(protocol))
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    run = tmp_path / "run"
    env = {**os.environ, "CEPH_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "run_search.py", "--space", tmp_path / "space.yaml", "--data", tmp_path / "set", "--out", run]
    ran = subprocess.run([*map(str, command), "--profile", "cpu"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert f"read as {name}, for it has " in ran.stderr
    found = records.load(run)
    assert found.status == "finished" and found.plan["data"]["protocol"] == protocol.name
    assert set(found.predictions["landmark"]) == set(protocol.symbols)
    assert (run / "ensemble" / "ensemble.onnx").is_file() and "no calibration.json: 4 films" in ran.stderr
    check_report(run)
    model, out = str(run / "ensemble"), str(tmp_path / "out")
    images = sorted((tmp_path / "set").rglob("03?.png"))
    predict = [sys.executable, "-m", "ceph_core", "predict", *map(str, images), "--model", model, "--spacing-mm", "1", "--out", out]
    assert subprocess.run(predict, cwd=ROOT, env=env, check=False, capture_output=True).returncode == 0
    points = json.loads((tmp_path / "out" / "points.json").read_text())
    assert len(points["films"]) == 10 and len(points["films"][0]["landmarks"]) == len(protocol)
    with (tmp_path / "out" / "measurements.csv").open(newline="", encoding="utf-8") as file:
        values = {row["measurement"] for row in csv.DictReader(file) if row["value"]}
    assert {"SNA", "ANB", "FHI"} <= values and ("Wits" in values) == (protocol is AARIZ29)
