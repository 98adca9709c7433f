"""COCO keypoints (cocodataset.org, "Keypoint Detection"): images, annotations, one category whose keypoints name the landmarks.

*.json or annotations/*.json, a file a split (train, val and test in the file's name); films anywhere below the folder.
A keypoint with v = 0 is missing.  The standard knows no mm: `spacing` (one number, or [x, y]) of an image, or one value for all.
Beyond the standard, an image may carry `split`, `group` and `device`.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ceph_core.config.data import SourceConfig
from ceph_core.data.assemble import SPLITS, Entry, ImageFiles, assemble, number, spacing_problem, split_named
from ceph_core.data.records import CephDataset, Points
from ceph_core.errors import InputError
from ceph_core.landmarks import Protocol, canonical, protocol_of

KEYS = ("images", "annotations", "categories")
LOOKED_FOR = f"a .json with {', '.join(KEYS)}, there or in annotations/"
_WORDS = re.compile(r"test[12](?!\d)|[a-z]+")


def read(source: SourceConfig, cache_dir: Path) -> CephDataset:
    """The films of `source.root`, a folder or one file; nothing is decoded and nothing goes into the cache.

    Raises:
        InputError: everything that is wrong, one line each.
    """
    assert source.root is not None
    root = source.root.absolute()
    folder = root.parent if root.is_file() else root
    files = [root] if root.is_file() else annotation_files(root)
    if not files:
        raise InputError(f"--data {root}: no .json file with {', '.join(KEYS)}, here or in annotations/; name the folder that holds one")
    if folder.name == "annotations":
        folder = folder.parent
    problems: list[str] = []
    told = [(file, content) for file in files if (content := _content(file, problems)) is not None]
    keypoints = {file: names for file, content in told if (names := _keypoints(file, content, problems)) is not None}
    different = [file for file, names in keypoints.items() if names != next(iter(keypoints.values()))]
    problems += [f"{file}: its keypoints are not those of {next(iter(keypoints))}; give files of one protocol" for file in different]
    if not keypoints or different:
        raise InputError(problems)
    names = next(iter(keypoints.values()))
    try:
        protocol = protocol_of(names)
    except ValueError as error:
        raise InputError([*problems, f"{next(iter(keypoints))}: categories: keypoints: {error}"]) from error
    images = ImageFiles(folder)
    entries: list[Entry] = []
    for file, content in told:
        if file in keypoints:
            entries += _of_file(file, content, names, protocol, images, len(told) > 1, problems)
    notes = [] if problems else images.unused(entry.image for entry in entries)
    return assemble("coco", root, protocol, entries, source, problems, notes)


def known_by(root: Path) -> str | None:
    """A JSON file with its three lists."""
    if root.is_file():
        return f"the lists {', '.join(KEYS)}" if root.suffix.lower() == ".json" and _looks_so(root) else None
    found = annotation_files(root)
    return f"{found[0].relative_to(root)} with {', '.join(KEYS)}" if found else None


def annotation_files(folder: Path) -> list[Path]:
    """JSON files that look like COCO, in the folder and in its annotations/."""
    places = [folder, folder / "annotations"]
    files = [file for place in places if place.is_dir() for file in sorted(place.glob("[!.]*.json"))]
    return [file for file in files if _looks_so(file)]


def _looks_so(file: Path) -> bool:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and set(KEYS) <= content.keys()


def _content(file: Path, problems: list[str]) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        problems.append(f"{file}: cannot be read as JSON ({error}); restore it")
        return None
    lacking = [key for key in KEYS if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if lacking:
        problems.append(f"{file}: {', '.join(lacking)}: a list is needed; this is no COCO keypoint file")
        return None
    assert isinstance(content, dict)
    wrong = [
        f"{file}: {key}: item {place} is no object" for key in KEYS for place, each in enumerate(content[key]) if not isinstance(each, dict)
    ]
    problems += wrong
    return None if wrong else content


def _keypoints(file: Path, content: dict[str, Any], problems: list[str]) -> tuple[str, ...] | None:
    """Names of the landmarks: those of the one category that has any."""
    named = [category["keypoints"] for category in content["categories"] if category.get("keypoints")]
    if len(named) != 1 or not isinstance(named[0], list):
        problems.append(
            f"{file}: categories: {len(named)} of them have keypoints; exactly one is needed, whose keypoints name the landmarks"
        )
        return None
    return tuple(str(name) for name in named[0])


def _of_file(
    file: Path, content: dict[str, Any], names: Sequence[str], protocol: Protocol, images: ImageFiles, by_file: bool, problems: list[str]
) -> list[Entry]:
    places = {canonical(symbol): place for place, symbol in enumerate(protocol.symbols)}
    order = [places[canonical(name)] for name in names]
    marked: dict[Any, Points] = {}
    known = {image.get("id") for image in content["images"]}
    for annotation in content["annotations"]:
        image_id, where = annotation.get("image_id"), f"{file}: annotation {annotation.get('id')}"
        if image_id not in known:
            problems.append(f"{where}: image_id {image_id!r} is no image of this file; add the image or remove the annotation")
        elif image_id in marked:
            problems.append(f"{where}: image {image_id!r} has another annotation; keep one a film")
        else:
            marked[image_id] = _points(annotation.get("keypoints"), order, names, where, problems)
    entries = []
    for image in content["images"]:
        image_id, name = image.get("id"), image.get("file_name")
        where = f"{file}: image {image_id!r}"
        if not isinstance(name, str) or not name:
            problems.append(f"{where}: file_name: {name!r} must be the film's file")
            continue
        if image_id not in marked:
            problems.append(f"{where}: film without annotation; mark {name} or take it out")
            continue
        try:
            found = images.find(name)
        except InputError as error:
            problems += [f"{where}: {problem}" for problem in error.problems]
            continue
        entries.append(
            Entry(
                film_id=images.film_id(found),
                image=found,
                points=marked[image_id],
                where=where,
                spacing_mm=_spacing(image.get("spacing"), where, problems),
                size=_size(image),
                split=split_named(image.get("split"), where, problems) or (_split_of(file) if by_file else None),
                group=_text(image.get("group")),
                device=_text(image.get("device")),
            )
        )
    return entries


def _points(given: Any, order: Sequence[int], names: Sequence[str], where: str, problems: list[str]) -> Points:
    """(K, 2) original px in the protocol's order, of the flat list x, y, v, x, y, v, ..."""
    points = np.full((len(order), 2), np.nan)
    if not isinstance(given, list) or len(given) != 3 * len(order):
        count = f"{len(given)} numbers" if isinstance(given, list) else repr(given)
        problems.append(f"{where}: keypoints: {count}; {3 * len(order)} are needed, x, y, v for each of {len(order)} landmarks")
        return points
    for place, name, (x, y, v) in zip(order, names, zip(given[::3], given[1::3], given[2::3], strict=True), strict=True):
        if v not in (0, 1, 2):
            problems.append(f"{where}: {name}: v is {v!r}; allowed are 0 (missing), 1 and 2")
        elif v:
            point = number(x), number(y)
            if point[0] is None or point[1] is None or isinstance(x, str) or isinstance(y, str):
                problems.append(f"{where}: {name}: {x!r}, {y!r} must be two numbers in pixels")
            else:
                points[place] = point
    return points


def _spacing(given: Any, where: str, problems: list[str]) -> tuple[float, float] | None:
    if given is None:
        return None
    pair = given if isinstance(given, list) and len(given) == 2 else [given, given]
    wrong = [problem for each in dict.fromkeys(map(repr, pair)) if (problem := spacing_problem(where, "spacing", _of(each, pair)))]
    problems += wrong
    x, y = (number(each) or 1.0 for each in pair)  # what is wrong has been told
    return x, y


def _of(shown: str, pair: Sequence[Any]) -> Any:
    return next(each for each in pair if repr(each) == shown)


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _split_of(file: Path) -> str | None:
    """By the words of the file's name."""
    return next((SPLITS[word] for word in _WORDS.findall(file.stem.lower()) if word in SPLITS), None)


def _text(given: Any) -> str | None:
    return None if given is None else str(given)
