import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ceph_core.commands import cache as command
from ceph_core.data import duplicates
from ceph_core.data.cache import open_cache, open_canvases, purge, usage
from ceph_core.data.fingerprint import dataset_fingerprint, digests
from ceph_core.data.imagefile import decode_grey, read_grey
from ceph_core.data.phantom import write
from ceph_core.data.records import CephDataset, CephRecord
from ceph_core.errors import InputError
from ceph_core.geometry import Canvas, fit_affine, resample
from ceph_core.landmarks import ISBI19

CANVAS = Canvas(64, 32)
SIZES = ((120, 90), (120, 90), (75, 100), (64, 32))


def _records(folder, sizes=SIZES):
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for row, size in enumerate(sizes):
        image = folder / f"{row:04d}.png"
        if not image.exists():
            cv2.imwrite(str(image), np.random.default_rng(row).integers(0, 256, size, dtype=np.uint8))
        records.append(CephRecord(f"{row:04d}", image, size, np.full((19, 2), row / 7), (0.3, 0.3)))
    return records


class Counter:
    """A progress callback that remembers."""

    def __init__(self):
        self.seen = []

    def __call__(self, done, total):
        self.seen.append((done, total))


def test_images_equal_the_one_resampling_bit_for_bit(tmp_path):
    records = _records(tmp_path / "films")
    cached = open_cache(records, CANVAS, tmp_path / "cache")
    for record, image, affine in zip(records, cached.images, cached.affines, strict=True):
        expected = resample(torch.from_numpy(read_grey(record.image))[None, None], CANVAS)[0, 0]
        np.testing.assert_array_equal(image, expected.numpy())
        np.testing.assert_array_equal(affine, fit_affine(record.size, CANVAS))
    assert isinstance(cached.images, np.memmap)
    assert cached.images.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        cached.images[0, 0, 0] = 1


def test_a_second_opening_reads_no_film_and_order_and_canvas_have_their_own_files(tmp_path):
    records, counter = _records(tmp_path / "films"), Counter()
    open_cache(records, CANVAS, tmp_path / "cache", progress=counter)
    assert counter.seen == [(done, 4) for done in range(1, 5)]  # each film once, for digest and pixels
    again = Counter()
    open_cache(records, CANVAS, tmp_path / "cache", progress=again)
    assert again.seen == []
    backwards = open_cache(records[::-1], CANVAS, tmp_path / "cache")
    np.testing.assert_array_equal(backwards.images[::-1], open_cache(records, CANVAS, tmp_path / "cache").images)
    assert open_cache(records, Canvas(32, 32), tmp_path / "cache").images.shape == (4, 32, 32)
    assert len(usage(tmp_path / "cache")) == 3


def test_one_decoding_feeds_every_size_and_the_search_for_doubles(tmp_path, monkeypatch):
    records, decoded = _records(tmp_path / "films"), []

    def counted(data, path):
        decoded.append(path)
        return decode_grey(data, path)

    monkeypatch.setattr("ceph_core.data.cache.decode_grey", counted)
    canvases = [Canvas(32, 32), CANVAS, Canvas(96, 64)]
    at_once = open_canvases(records, canvases[:2], tmp_path / "cache", beside=[duplicates.SMALL])
    assert sorted(decoded) == [record.image for record in records]
    assert duplicates.find({record.film_id: record.image for record in records}, tmp_path / "cache") == ()
    assert len(decoded) == len(records), "the doubles were looked for in what was kept"
    both = open_canvases(records, canvases[1:], tmp_path / "cache")
    assert len(decoded) == 2 * len(records), "only the canvas that was missing was built"
    for images, canvas in zip([*at_once, *both], [*canvases[:2], None, *canvases[1:]], strict=True):
        if canvas is not None:
            np.testing.assert_array_equal(images, open_cache(records, canvas, tmp_path / f"alone {canvas.height}").images)


def test_a_changed_film_is_seen_even_at_equal_size_and_age(tmp_path):
    records = _records(tmp_path / "films", SIZES[:2])
    before = open_cache(records, CANVAS, tmp_path / "cache").images.copy()
    stat = records[0].image.stat()
    film = cv2.imread(str(records[0].image), cv2.IMREAD_GRAYSCALE)
    whole = records[0].image.read_bytes()
    swapped = cv2.imencode(".png", film[::-1])[1].tobytes()
    records[0].image.write_bytes(swapped[: len(whole)].ljust(len(whole), b"\0"))
    os.utime(records[0].image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = open_cache(records, CANVAS, tmp_path / "cache").images
    assert (before[0] != after[0]).any()
    np.testing.assert_array_equal(before[1], after[1])


def test_touching_or_moving_films_rebuilds_nothing(tmp_path):
    records = _records(tmp_path / "films")
    open_cache(records, CANVAS, tmp_path / "cache")
    (tmp_path / "films").rename(tmp_path / "moved")
    moved = _records(tmp_path / "moved")
    os.utime(moved[0].image)
    open_cache(moved, CANVAS, tmp_path / "cache")
    assert len(usage(tmp_path / "cache")) == 1


def test_a_thousand_unchanged_films_open_in_50_ms(tmp_path):
    (first,) = _records(tmp_path / "films", ((64, 32),))
    records = []
    for row in range(1000):
        image = tmp_path / "films" / f"copy{row}.png"
        os.link(first.image, image)
        records.append(CephRecord(f"{row:04d}", image, (64, 32), first.landmarks_px, (0.3, 0.3)))
    open_cache(records, CANVAS, tmp_path / "cache")
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        open_cache(records, CANVAS, tmp_path / "cache")
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


def test_all_bad_films_are_named_and_nothing_is_left(tmp_path):
    records = _records(tmp_path / "films", SIZES * 6)
    for row in (1, 20):
        records[row].image.write_bytes(records[row].image.read_bytes()[:-300])
    with pytest.raises(InputError) as caught:
        open_cache(records, CANVAS, tmp_path / "cache")
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [str(records[row].image) for row in (1, 20)]
    assert not list((tmp_path / "cache" / "films").iterdir())
    records[3].image.unlink()
    with pytest.raises(InputError, match=r"0003\.png: cannot be read"):
        open_cache(records, CANVAS, tmp_path / "cache")


def test_a_film_of_another_size_than_its_record_is_refused(tmp_path):
    records = _records(tmp_path / "films", SIZES[:1])
    other = CephRecord("x", records[0].image, (90, 120), records[0].landmarks_px, (0.3, 0.3))
    with pytest.raises(InputError, match="changed while it was read"):
        open_cache([other], CANVAS, tmp_path / "cache")


def test_what_a_killed_builder_left_is_removed(tmp_path):
    records = _records(tmp_path / "films")
    (tmp_path / "cache" / "films").mkdir(parents=True)
    left = tmp_path / "cache" / "films" / "0123.partial"
    left.write_bytes(b"half")
    (tmp_path / "cache" / "digests").mkdir()
    open_cache(records, CANVAS, tmp_path / "cache")
    assert not left.exists()
    (index,) = (tmp_path / "cache" / "digests").iterdir()
    index.write_text('{"torn')
    assert open_cache(records, CANVAS, tmp_path / "cache").images.shape == (4, 64, 32)


def test_the_limit_evicts_what_was_used_longest_ago(tmp_path, capsys):
    records, cache_dir = _records(tmp_path / "films"), tmp_path / "cache"
    canvases = [Canvas(32, side) for side in (32, 64, 96)]
    limit = 4 * 32 * (32 + 96) + 1000
    kept = open_cache(records, canvases[0], cache_dir, max_bytes=limit).images
    open_cache(records, canvases[1], cache_dir, max_bytes=limit)
    before = list(usage(cache_dir))
    open_cache(records, canvases[0], cache_dir, max_bytes=limit)
    assert before == list(usage(cache_dir))[::-1]
    open_cache(records, canvases[2], cache_dir, max_bytes=limit)
    assert sorted(usage(cache_dir).values()) == [4 * 32 * side + 128 for side in (32, 96)]
    assert "used longest ago" in capsys.readouterr().err
    assert purge(cache_dir) > 4 * 32 * 128
    assert usage(cache_dir) == {}
    assert kept.any()  # still mapped
    with pytest.raises(InputError, match="raise CEPH_CACHE_GB"):
        open_cache(records, canvases[2], cache_dir, max_bytes=1000)


def test_purge_removes_drawn_films_and_nothing_of_others(tmp_path):
    open_cache(_records(tmp_path / "films"), CANVAS, tmp_path)
    write(tmp_path / "phantom-1-0", 0, 1, 1)
    assert purge(tmp_path) > 4 * 64 * 32 + 1e5
    assert not list((tmp_path / "phantom-1-0").iterdir())
    assert len(list((tmp_path / "films").iterdir())) == len(SIZES)


def test_limit_from_the_environment(tmp_path, monkeypatch):
    records = _records(tmp_path / "films")
    for given, match in (("many", "CEPH_CACHE_GB: 'many' must be a number of GB above 0"), ("-1", "above 0"), ("1e-6", "need 8.32e-06 GB")):
        monkeypatch.setenv("CEPH_CACHE_GB", given)
        with pytest.raises(InputError, match=match):
            open_cache(records, CANVAS, tmp_path / "cache")


@pytest.mark.parametrize("known", [True, False])
def test_two_at_once_build_once(tmp_path, known):
    records, cache_dir = _records(tmp_path / "films"), tmp_path / "cache"
    if known:
        digests([record.image for record in records], cache_dir)
    counters, images = [Counter(), Counter()], {}

    def work(which):
        images[which] = open_cache(records, CANVAS, cache_dir, progress=counters[which]).images

    threads = [threading.Thread(target=work, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(counter.seen) for counter in counters) == [0, 4]
    np.testing.assert_array_equal(images[0], images[1])


def test_command(tmp_path, capsys):
    open_cache(_records(tmp_path / "films"), CANVAS, tmp_path / "cache")
    parser = command.argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args(["--dir", str(tmp_path / "cache")])) == 0
    assert "1 files" in capsys.readouterr().out
    assert command.run(parser.parse_args(["--dir", str(tmp_path / "cache"), "--purge"])) == 0
    assert "0.0 MB freed" in capsys.readouterr().out
    assert usage(tmp_path / "cache") == {}
    for folder in ("none", "films"):
        with pytest.raises(InputError, match="no film cache"):
            command.run(parser.parse_args(["--dir", str(tmp_path / folder), "--purge"]))


def test_fingerprint_follows_content_points_and_spacing_and_not_the_place(tmp_path):
    def fingerprint(folder, cache_dir=None, **changes):
        records = [CephRecord(**{**vars(record), **changes}) for record in _records(tmp_path / folder, SIZES[:2])]
        return dataset_fingerprint(CephDataset("drawn", tmp_path, ISBI19, tuple(records)), cache_dir)

    base = fingerprint("one")
    assert base == fingerprint("two") == fingerprint("one", tmp_path / "cache") == fingerprint("one", tmp_path / "cache")
    assert base != fingerprint("one", spacing_mm=(0.3, 0.31))
    assert base != fingerprint("one", landmarks_px=np.full((19, 2), 0.25))
    (tmp_path / "two" / "0000.png").write_bytes((tmp_path / "two" / "0001.png").read_bytes())
    assert base != fingerprint("two")


BUILDER = """
import sys, time
from pathlib import Path
from tests.core.test_cache import SIZES, _records
from ceph_core.data.cache import open_cache
from ceph_core.geometry import Canvas
folder, delay = Path(sys.argv[1]), float(sys.argv[2])
def slow(done, total):
    print("film", flush=True)
    time.sleep(delay)
print("images", open_cache(_records(folder / "films", SIZES * 10), Canvas(64, 32), folder / "cache", progress=slow).images.sum())
"""


def _builder(folder, delay_s):
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(folder), str(delay_s)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


@pytest.mark.slow
def test_a_killed_builder_and_two_processes_after_it(tmp_path):
    records = _records(tmp_path / "films", SIZES * 10)
    digests([record.image for record in records], tmp_path / "cache")
    victim = _builder(tmp_path, 0.2)
    for _ in range(10):
        assert victim.stdout.readline() == "film\n"
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    (left,) = (tmp_path / "cache" / "films").iterdir()
    assert left.suffix == ".partial"
    outputs = [builder.communicate(timeout=60)[0].splitlines() for builder in [_builder(tmp_path, 0.05) for _ in range(2)]]
    assert sorted(map(len, outputs)) == [1, 41]
    assert outputs[0][-1] == outputs[1][-1]
    (built,) = (tmp_path / "cache" / "films").iterdir()
    assert built.suffix == ".npy"
