"""The film cache: building from full-size films against plain readers, decoders, opening, memory of two processes, growth.

`python benchmarks/cache.py` takes about three minutes on two cores and 300 MB of disk.
"""

import importlib
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import films
import measuring
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ceph_core.data import duplicates
from ceph_core.data.cache import open_cache, open_canvases
from ceph_core.data.fingerprint import digests
from ceph_core.data.imagefile import decode_grey
from ceph_core.data.records import CephRecord
from ceph_core.geometry import Canvas, canvas_for

SIZES = (256, 384, 512)
CANVASES = [canvas_for(films.SIZE[0] / films.SIZE[1], size) for size in SIZES]
KINDS = {"BMP, 8 bit": (".bmp", 1), "BMP, 24 bit": (".bmp", 3), "PNG, 8 bit": (".png", 1), "PNG, 24 bit": (".png", 3), "JPEG": (".jpg", 1)}


def records_of(files: Sequence[Path], size: tuple[int, int] = films.SIZE) -> list[CephRecord]:
    points = np.zeros((19, 2))
    return [CephRecord(file.stem, file, size, points, (films.SPACING_MM,) * 2) for file in files]


def plain_opencv(files: Sequence[Path], canvas: Canvas) -> None:
    """What a trainer's data set does with a film: read it, make it small."""
    for file in files:
        cv2.resize(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), (canvas.width, canvas.height), interpolation=cv2.INTER_AREA)


def plain_pillow(files: Sequence[Path], canvas: Canvas) -> None:
    for file in files:
        with Image.open(file) as image:
            np.asarray(image.convert("L").resize((canvas.width, canvas.height), Image.Resampling.BILINEAR))


def built(records: Sequence[CephRecord], canvases: Sequence[Canvas], cache_dir: Path) -> None:
    shutil.rmtree(cache_dir, ignore_errors=True)
    open_canvases(records, canvases, cache_dir, progress=lambda done, total: None)


def built_as_before(records: Sequence[CephRecord], canvases: Sequence[Canvas], cache_dir: Path) -> None:
    """All films read for their digests, then read, hashed and decoded again for each canvas."""
    shutil.rmtree(cache_dir, ignore_errors=True)
    digests([record.image for record in records], cache_dir)
    for canvas in canvases:
        open_canvases(records, [canvas], cache_dir, progress=lambda done, total: None)


def read(records: Sequence[CephRecord], canvas: Canvas, cache_dir: Path) -> None:
    """What every epoch after that costs: the films opened and copied out of the map, one after another."""
    for image in open_cache(records, canvas, cache_dir).images:
        np.array(image)


def building(folder: Path, num: int, rounds: int) -> list[dict[str, Any]]:
    rows = []
    for kind, (suffix, channels) in list(KINDS.items())[:4]:
        files = films.write(folder / kind, suffix, num, channels=channels)
        records, cache_dir = records_of(files), folder / "cache"
        works: dict[str, Callable[[], object]] = {
            "OpenCV loop": partial(plain_opencv, files, CANVASES[0]),
            "Pillow loop": partial(plain_pillow, files, CANVASES[0]),
            "as before": partial(built_as_before, records, CANVASES[:1], cache_dir),
            "cache": partial(built, records, CANVASES[:1], cache_dir),
            "as before, three sizes": partial(built_as_before, records, CANVASES, cache_dir),
            "cache, three sizes": partial(built, records, CANVASES, cache_dir),
            "read from the cache": partial(read, records, CANVASES[0], cache_dir),
        }
        figures = measuring.in_turn({name: partial(rate, work, num) for name, work in works.items()}, rounds)
        row: dict[str, Any] = {"films": kind} | {f"{name}, films/s": measuring.spread(each) for name, each in figures.items()}
        row["cache over OpenCV loop"] = measuring.ratio(figures["cache"], figures["OpenCV loop"])
        row["cache over before"] = measuring.ratio(figures["cache"], figures["as before"])
        row["three sizes over before"] = measuring.ratio(figures["cache, three sizes"], figures["as before, three sizes"])
        rows.append(row)
        shutil.rmtree(folder / kind)
    return rows


def rate(work: Callable[[], object], num: int) -> float:
    return num / measuring.seconds(work)


def decoders() -> dict[str, Callable[[bytes], NDArray[Any]]]:
    """Bytes of a file to its grey or colour pixels, by every library at hand."""
    found: dict[str, Callable[[bytes], NDArray[Any]]] = {
        "OpenCV": lambda data: decode_grey(data, Path("film")),
        "Pillow": lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("L")),
    }

    def at_hand(name: str) -> Any:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError):
            return None

    if vision := at_hand("torchvision.io"):
        grey = vision.ImageReadMode.GRAY
        found["torchvision"] = lambda data: vision.decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=grey)[0].numpy()
    if codecs := at_hand("imagecodecs"):
        found["imagecodecs"] = lambda data: grey_of(
            {b"BM": codecs.bmp_decode, b"\x89P": codecs.png_decode, b"\xff\xd8": codecs.jpeg8_decode}[data[:2]](data)
        )
    if jpeg := at_hand("simplejpeg"):
        found["simplejpeg"] = lambda data: jpeg.decode_jpeg(data, "GRAY")[..., 0]
    if vips := at_hand("pyvips"):
        found["pyvips"] = lambda data: grey_of(vips.Image.new_from_buffer(data, "", access="sequential").numpy())
    return found


def grey_of(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY))


def decoding(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """One film in one thread."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rows = []
    for kind, (suffix, channels) in KINDS.items():
        (file,) = films.write(folder / f"decode {kind}", suffix, 1, channels=channels)
        data = file.read_bytes()
        expected = decode_grey(data, file)
        works, row = {}, {"film": kind}
        for name, decode in decoders().items():
            try:
                if np.array_equal(decode(data), expected):
                    works[name] = partial(milliseconds, decode, data)
                else:
                    row[f"{name}, ms"] = "other pixels"
            except Exception:
                row[f"{name}, ms"] = "does not read it"
        figures = measuring.in_turn(works, 3 * rounds)
        rows.append({**row, **{f"{name}, ms": measuring.spread(each) for name, each in figures.items()}})
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])
    return rows


def milliseconds(decode: Callable[[bytes], object], data: bytes) -> float:
    return measuring.seconds(lambda: decode(data)) * 1e3


def small_films(folder: Path, num: int) -> list[CephRecord]:
    """Small films, all of them different."""
    folder.mkdir()
    grain = np.random.default_rng(0)
    files = [folder / f"{number:05d}.png" for number in range(num)]
    for file in files:
        cv2.imwrite(str(file), grain.integers(0, 256, (96, 80), dtype=np.uint8))
    return records_of(files, (96, 80))


def growth(folder: Path, nums: Sequence[int]) -> list[dict[str, Any]]:
    rows = []
    for num in nums:
        records, cache_dir, canvas = small_films(folder / str(num), num), folder / f"cache {num}", Canvas(96, 96)
        paths = {record.film_id: record.image for record in records}
        build_s = measuring.seconds(
            lambda records=records, canvas=canvas, cache_dir=cache_dir: open_canvases(
                records, [canvas], cache_dir, progress=lambda done, total: None, beside=[duplicates.SMALL]
            )
        )
        opens = [measuring.seconds(partial(open_cache, records, canvas, cache_dir)) for _ in range(5)]
        doubles = [measuring.seconds(partial(duplicates.find, paths, cache_dir)) for _ in range(3)]
        rows.append(
            {
                "films": num,
                "build, ms a film": build_s * 1e3 / num,
                "open, ms": measuring.spread([each * 1e3 for each in opens]),
                "open, µs a film": min(opens) * 1e6 / num,
                "search for doubles, ms a film": min(doubles) * 1e3 / num,
            }
        )
        shutil.rmtree(folder / str(num))
    return rows


READER = """
import sys
import numpy as np
images = np.load(sys.argv[1], mmap_mode="r")
print(int(images.sum(dtype=np.int64)), flush=True)
sys.stdin.readline()
"""


def shared(folder: Path, num: int) -> list[dict[str, Any]]:
    """Two processes that read every page of one cached file, by /proc/<pid>/smaps."""
    records, cache_dir = small_films(folder / "shared", num), folder / "shared cache"
    open_cache(records, Canvas(512, 416), cache_dir)
    (file,) = (cache_dir / "films").glob("*.npy")
    readers = [
        subprocess.Popen([sys.executable, "-c", READER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for reader in readers:
        assert reader.stdout is not None
        reader.stdout.readline()
    found = [mapped(reader.pid, file) for reader in readers]
    for reader in readers:
        reader.communicate("\n")
    row: dict[str, Any] = {"cached file, MB": file.stat().st_size / 1e6}
    row |= {f"process {number}, resident MB": each["Rss"] for number, each in enumerate(found, start=1)}
    row |= {f"process {number}, its share (PSS) MB": each["Pss"] for number, each in enumerate(found, start=1)}
    return [{**row, "both together (sum of PSS) MB": sum(each["Pss"] for each in found)}]


def mapped(pid: int, file: Path) -> dict[str, float]:
    """MB of a process's map of a file: resident, and its proportional share."""
    told: dict[str, float] = {}
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        first = line.split()[0]
        if not first.endswith(":"):
            inside = line.endswith(str(file))
        elif inside and first in ("Rss:", "Pss:"):
            told[first[:-1]] = told.get(first[:-1], 0) + int(line.split()[1]) * 1.024e-3
    return told


def main() -> None:
    args = measuring.arguments(__doc__).parse_args()
    num, rounds, nums = (6, 2, (100, 300)) if args.quick else (24, 7, (100, 1_000, 10_000))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = {
            f"Building from {num} films of 1935 x 2400, films/s": building(folder, num, rounds),
            "Decoding one film to grey, one thread": decoding(folder, rounds),
            "Growth, films of 96 x 80": growth(folder, nums),
            "Two processes, one cached file": shared(folder, 50 if args.quick else 500),
        }
    measuring.publish("cache", tables, args.quick)


if __name__ == "__main__":
    main()
