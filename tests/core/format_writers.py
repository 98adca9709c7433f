"""Films written to disk in each format that can be read, so that one contract holds for every reader."""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from ceph_core.landmarks import AARIZ29, ISBI19, Protocol, numbered

HEIGHT, WIDTH = 48, 40
SPACING_MM = 0.25


@dataclass
class Film:
    """A film to be written: id, pixels, points (K, 2) px, split."""

    name: str
    pixels: np.ndarray
    points: np.ndarray
    split: str = "train"
    spacing_mm: float = SPACING_MM
    suffix: str = ".png"
    device: str = "Carestream"
    encoded: bytes | None = field(default=None, repr=False)

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.name}{self.suffix}"
        file.write_bytes(self.encoded or cv2.imencode(self.suffix, self.pixels)[1].tobytes())
        return file


def films(protocol: Protocol, count: int = 6) -> list[Film]:
    """Drawn from noise that reaches every edge; the last third is test."""
    made = []
    for number in range(1, count + 1):
        rng = np.random.default_rng(number)
        pixels = rng.integers(1, 255, (HEIGHT, WIDTH), dtype=np.uint8)
        points = rng.uniform((1, 1), (WIDTH - 2, HEIGHT - 2), (len(protocol), 2)).round(2)
        made.append(Film(f"{number:03d}", pixels, points, "test" if number > count * 2 // 3 else "train"))
    return made


def isbi2015(root: Path, drawn: Sequence[Film]) -> None:
    folders = {"train": ("TrainingData", 0), "test": ("Test1Data", 150)}
    for film in drawn:
        folder, _ = folders[film.split]
        film.write(root / "RawImage" / folder)
        for reader, shift in (("senior", 0.5), ("junior", -0.5)):
            file = root / "AnnotationsByMD" / f"400_{reader}" / f"{film.name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{x + shift},{y}\n" for x, y in film.points) + "1\n" * 8)


def aariz(root: Path, drawn: Sequence[Film], capital: bool = False) -> None:
    rows = ["\ufeffcephalogram_id,machine,pixel_size,image_format,mode"]
    for place, film in enumerate(drawn):
        folder = root / (film.split.capitalize() if capital else film.split)
        film.write(folder / "Cephalograms")
        rows.append(f"{film.name},{film.device},{film.spacing_mm},png,L")
        for reader, shift in (("Junior", 0.5), ("Senior", -0.5)):
            told = [
                {
                    "landmark_id": str(k), "title": name, "symbol": symbol.replace("'", "`"),
                    "value": None if np.isnan(point).any() else {"x": point[0] + shift, "y": point[1]},
                }
                for k, (symbol, name, point) in enumerate(zip(AARIZ29.symbols, AARIZ29.names, film.points, strict=True))
            ]  # fmt: skip
            order = np.random.default_rng([place, reader == "Junior"]).permutation(len(told))
            file = folder / "Annotations" / "Cephalometric Landmarks" / f"{reader} Orthodontists" / f"{film.name}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"ceph_id": film.name, "landmarks": [told[k] for k in order], "dataset_name": "Aariz"}))
    (root / "cephalogram_machine_mappings.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def cldetection2023(root: Path, drawn: Sequence[Film], compressed: bool = True, channels: int = 3) -> None:
    """A stack padded at the right and below, and its points."""
    height, width = HEIGHT + 7, WIDTH + 5
    stack = np.zeros((len(drawn), height, width, channels), np.uint8)
    points = []
    for place, film in enumerate(drawn):
        h, w = film.pixels.shape[:2]
        stack[place, :h, :w] = film.pixels[..., None] if film.pixels.ndim == 2 else film.pixels
        points += [
            {"name": k, "point": [*map(float, point), place + 1], "scale": str(film.spacing_mm)}
            for k, point in enumerate(film.points, start=1)
            if not np.isnan(point).any()
        ]
    write_mha(root / "train_stack.mha", stack, compressed)
    (root / "train-gt.json").write_text(json.dumps({"name": "Orthodontic landmarks", "type": "Multiple points", "points": points}))


def write_mha(file: Path, stack: np.ndarray, compressed: bool) -> None:
    count, height, width, channels = stack.shape
    data = stack.tobytes()
    packed = zlib.compress(data) if compressed else data
    head = {
        "ObjectType": "Image", "NDims": 3, "BinaryData": True, "BinaryDataByteOrderMSB": False, "CompressedData": compressed,
        **({"CompressedDataSize": len(packed)} if compressed else {}), "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0",
        "ElementSpacing": "1 1 1", "DimSize": f"{width} {height} {count}", "ElementNumberOfChannels": channels,
        "ElementType": {"uint8": "MET_UCHAR", "uint16": "MET_USHORT"}[str(stack.dtype)], "ElementDataFile": "LOCAL",
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes("".join(f"{name} = {value}\n" for name, value in head.items()).encode() + packed)


def cldetection2024(root: Path, drawn: Sequence[Film]) -> None:
    rows = []
    for film in drawn:
        file = film.write(root / "images")
        row = {"image file": file.name, "spacing(mm)": film.spacing_mm}
        for k, (x, y) in enumerate(film.points, start=1):
            row |= {f"p{k}x": x, f"p{k}y": y}
        rows.append(row)
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)


def coco(root: Path, drawn: Sequence[Film], protocol: Protocol = ISBI19) -> None:
    for split, word in (("train", "train"), ("test", "test")):
        mine = [film for film in drawn if film.split == split]
        images, annotations = [], []
        for number, film in enumerate(mine, start=1):
            file = film.write(root / "images" / split)
            height, width = film.pixels.shape[:2]
            image = {"id": number, "file_name": file.name, "height": height, "width": width, "spacing": film.spacing_mm}
            images.append({**image, "device": film.device})
            shown = [[0, 0, 0] if np.isnan(point).any() else [*map(float, point), 2] for point in film.points]
            keypoints = [value for triple in shown for value in triple]
            annotations.append({"id": number, "image_id": number, "category_id": 1, "keypoints": keypoints})
        category = {"id": 1, "name": "head", "keypoints": list(protocol.symbols), "skeleton": []}
        file = root / "annotations" / f"person_keypoints_{word}2024.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [category]}))


def wide_rows(root: Path, drawn: Sequence[Film], protocol: Protocol = ISBI19) -> pd.DataFrame:
    rows = []
    for film in drawn:
        file = film.write(root / "films")
        row = {"image": file.name, "split": film.split, "spacing_x": film.spacing_mm, "spacing_y": film.spacing_mm, "device": film.device}
        for symbol, (x, y) in zip(protocol.symbols, film.points, strict=True):
            row |= {f"{symbol}_x": x, f"{symbol}_y": y}
        rows.append(row)
    return pd.DataFrame(rows)


def table(root: Path, drawn: Sequence[Film]) -> None:
    wide_rows(root, drawn).to_csv(root / "points.csv", index=False)


def parquet(root: Path, drawn: Sequence[Film]) -> None:
    wide_rows(root, drawn).to_parquet(root / "points.parquet", index=False)


def long_table(root: Path, drawn: Sequence[Film]) -> None:
    rows = []
    for film in drawn:
        file = film.write(root)
        for symbol, (x, y) in zip(ISBI19.symbols, film.points, strict=True):
            rows.append({"image": file.name, "split": film.split, "spacing": film.spacing_mm, "landmark": symbol, "x": x, "y": y})
    shuffled = pd.DataFrame(rows).sample(frac=1, random_state=0)
    shuffled.to_csv(root / "points.tsv", index=False, sep="\t")


@dataclass(frozen=True)
class Format:
    """How films of a format are written, and what it can say.

    Attributes:
        misses: whether a single point may be missing.
        says_split: whether it says which films are test films.
        ids: whether film ids are the names given (else they hold the folder, or are numbers).
    """

    name: str
    write: Callable[[Path, Sequence[Film]], None]
    protocol: Protocol
    misses: bool = True
    says_split: bool = True
    says_device: bool = False
    carries_spacing: bool = True
    free_names: bool = True


FORMATS = {
    "isbi2015": Format("isbi2015", isbi2015, ISBI19, misses=False, carries_spacing=False, free_names=False),
    "aariz": Format("aariz", aariz, AARIZ29, says_device=True),
    "cldetection2023": Format("cldetection2023", cldetection2023, numbered(38), says_split=False, free_names=False),
    "cldetection2024": Format("cldetection2024", cldetection2024, numbered(53), says_split=False),
    "coco": Format("coco", coco, ISBI19, says_device=True),
    "table": Format("table", table, ISBI19, says_device=True),
    "parquet": Format("table", parquet, ISBI19, says_device=True),
    "long": Format("table", long_table, ISBI19),
}
