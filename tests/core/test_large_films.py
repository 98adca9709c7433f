"""Films and stacks larger than the memory that is there for them."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from format_writers import write_mha

STACK = (60, 1200, 1440, 3)  # 311 MB
ROOM_MB = 128
"""What unpacking may take beside what the imports took: fewer bytes than the stack has."""

UNPACK = f"""
import resource, sys
from pathlib import Path
from ceph_core import data
from ceph_core.config import SourceConfig
import ceph_core.data.cldetection2023
source, cache = SourceConfig(root=Path(sys.argv[1])), Path(sys.argv[2])
taken = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (taken + {ROOM_MB} * 2**20,) * 2)
dataset = data.read(source, cache)
print(len(dataset.records), dataset.records[0].size)
"""

TRAIN = """
import resource, sys
from ceph_core.__main__ import main
code = main(sys.argv[1:])
peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print("peak", *peaks)
sys.exit(code)
"""


def truth(root, count):
    marks = ((film, k) for film in range(1, count + 1) for k in range(1, 39))
    points = ",".join(f'{{"name": {k}, "point": [{100 + 20 * k}, {100 + k}, {film}], "scale": "0.1"}}' for film, k in marks)
    (root / "train-gt.json").write_text(f'{{"points": [{points}]}}')


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [True, False])
def test_a_stack_larger_than_memory_is_unpacked(tmp_path, compressed):
    root = tmp_path / "set"
    root.mkdir()
    count, height, width, channels = STACK
    write_mha(root / "train_stack.mha", np.zeros((0, *STACK[1:]), np.uint8), compressed=False)
    head = (root / "train_stack.mha").read_bytes().replace(b"DimSize = 1440 1200 0", b"DimSize = 1440 1200 60")
    head = head.replace(b"CompressedData = False", b"CompressedData = " + str(compressed).encode())
    pack = zlib.compressobj(1)
    with (root / "train_stack.mha").open("wb") as file:
        file.write(head)
        for number in range(count):
            film = np.zeros((height, width, channels), np.uint8)
            cv2.circle(film, (600, 500), 300 + number, (200, 200, 200), -1)
            film[: height - 80, : width - 40] += 20
            file.write(pack.compress(film.tobytes()) if compressed else film.tobytes())
        if compressed:
            file.write(pack.flush())
    truth(root, count)
    ran = subprocess.run(
        [sys.executable, "-c", UNPACK, str(root), str(tmp_path / "cache")], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == f"60 ({height - 80}, {width - 40})"


@pytest.mark.slow
def test_a_95_megapixel_film_is_trained_on_within_2_gb(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    rows = ["image,spacing,S_x,S_y,N_x,N_y,A_x,A_y"]
    rng = np.random.default_rng(0)
    for number in range(12):
        times = 10 if number in (0, 11) else 1
        film = cv2.resize(rng.integers(0, 255, (137, 109), dtype=np.uint8), (872 * times, 1096 * times))
        cv2.imwrite(str(root / f"{number}.png"), film, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        points = [str(value * times) for value in (300, 400, 500, 300, 600, 700)]
        rows.append(",".join([f"{number}.png", str(0.25 / times), *points]))
    (root / "points.csv").write_text("\n".join(rows) + "\n")
    command = ["train", "--data", str(root), "--out", str(tmp_path / "run"), "--profile", "cpu", "--model", "hrnet_w18_small"]
    command += ["--image_size", "128", "128", "--epochs", "1", "--batch_size", "2"]
    ran = subprocess.run(
        [sys.executable, "-c", TRAIN, *command], capture_output=True, text=True, check=False, cwd=Path.cwd(),
        env={**os.environ, "CEPH_CACHE_DIR": str(tmp_path / "cache")},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    peak = max(float(value) for value in ran.stdout.split("peak")[-1].split())
    assert peak < 2000, f"{peak:.0f} MB"
