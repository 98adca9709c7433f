"""From a space file to a `Space`: read, take a profile, override from the command line, check."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ceph_core.config.profiles import PROFILES, Profile
from ceph_core.errors import InputError
from search.space.read import Document, KeyPath, parse_yaml, read_document
from search.space.schema import Spec
from search.space.shape import WRITTEN_BY_US, unknown_key
from search.space.space import Space

ENTRIES = ("search", "schedules")
"""Sections whose entries a profile replaces whole, and removes with null."""


def load(path: Path | str, profile: Profile, overrides: Sequence[str] = ()) -> Space:
    """The space that a file describes under a profile.

    Args:
        path: the space file.
        profile: whose overrides are merged over the file; a file without it is taken as it stands.
        overrides: `KEY=VALUE` by the file's own tree after merging (`budget.trials=8`, `fixed.train.epochs=30`,
            `search.train.lr=null`); values are YAML.

    Raises:
        InputError: every problem of the file and of the overrides, one line each; the other profile is checked too.
    """
    document = read_document(Path(path))
    lines = _profile_problems(document)
    if lines:
        raise InputError(lines)
    space: Space | None = None
    try:
        space = Space.from_document(override(merge(document, profile), overrides))
    except InputError as error:
        lines += error.problems
    for other in (document.tree.get("profiles") or {}).keys() - {profile}:
        try:
            Space.from_document(merge(document, other))
        except InputError as error:
            said = {_place_and_key(line) for line in lines}
            lines += [f"{line} (profile {other})" for line in error.problems if _place_and_key(line) not in said]
    if lines or space is None:
        raise InputError(lines)
    return space


def _place_and_key(line: str) -> tuple[str, ...]:
    return tuple(line.split(": ", 2)[:2])


def _profile_problems(document: Document) -> list[str]:
    lines = [document.line((key,), unknown_key(key, _sections())) for key in WRITTEN_BY_US if key in document.tree]
    profiles = document.tree.get("profiles")
    if profiles is None:
        return lines
    if not isinstance(profiles, dict):
        return [*lines, document.line(("profiles",), f"must be a mapping with the keys gpu and cpu, got {profiles!r}")]
    for name, changes in profiles.items():
        if name not in PROFILES:
            lines.append(document.line(("profiles", name), "unknown profile; allowed are gpu and cpu"))
        elif changes is not None and not isinstance(changes, dict):
            lines.append(document.line(("profiles", name), f"must be a mapping of sections, got {changes!r}"))
        else:
            own = [name for name in _sections() if name != "profiles"]
            lines += [document.line(("profiles", name, key), unknown_key(key, own)) for key in changes or {} if key not in own]
    return lines


def _sections() -> list[str]:
    return [*(name for name in Spec.model_fields if name not in WRITTEN_BY_US), "profiles"]


def merge(document: Document, profile: Profile) -> Document:
    """The file with a profile's changes over it, section by section and key by key.

    Raises:
        InputError: the profile removes what is not there.
    """
    tree = {key: copy.deepcopy(value) for key, value in document.tree.items() if key != "profiles" and value is not None}
    changes = (document.tree.get("profiles") or {}).get(profile) or {}
    lines = []
    for section, change in changes.items():
        if change is None:
            continue
        held = tree.setdefault(section, {}) if isinstance(change, dict) else None
        if not isinstance(held, dict):
            tree[section] = change
            continue
        for key, value in change.items():
            if value is None and section in ENTRIES:
                if held.pop(key, None) is None:
                    lines.append(
                        document.line(("profiles", profile, section, key), "null removes an entry, but the file has none; drop this line")
                    )
            else:
                held[key] = value
    if lines:
        raise InputError(lines)
    places = {path: place for path, place in document.places.items() if path[:1] != ("profiles",)}
    at: KeyPath = ("profiles", profile)
    # A section keeps the place of the file's own, if it has one: the profile only changes entries of it.
    places |= {path[2:]: place for path, place in document.places.items() if path[:2] == at and (len(path) > 3 or path[2:] not in places)}
    return Document(document.source, {**tree, "profile": profile, "source": document.source}, places)


def override(document: Document, overrides: Sequence[str]) -> Document:
    """The document with `KEY=VALUE`s set.

    Raises:
        InputError: not of this form, or a key that leads through something that is no mapping.
    """
    tree, places, lines = copy.deepcopy(document.tree), dict(document.places), []
    for text in overrides:
        label = f"--set {text}"
        key, equals, raw = text.partition("=")
        if not equals or not key:
            lines.append(f"{label}: must be KEY=VALUE, such as budget.trials=8")
            continue
        section = key.split(".")[0]
        if section not in _sections() or section == "profiles":
            lines.append(f"{label}: {unknown_key(section, [name for name in _sections() if name != 'profiles'])}")
            continue
        try:
            path = _set(tree, key, parse_yaml(raw, label))
        except InputError as error:
            lines += error.problems
            continue
        except LookupError as error:
            lines.append(f"{label}: {error.args[0]}")
            continue
        places = {known: place for known, place in places.items() if known[: len(path)] != path} | {path: label}
    if lines:
        raise InputError(lines)
    return Document(document.source, tree, places)


def _set(tree: dict[str, Any], key: str, value: Any) -> KeyPath:
    """Set a dotted key; where keys hold dots themselves, the longest that exists is meant.  Returns its path.

    Raises:
        LookupError: the key leads through something that is neither mapping nor list, or beyond a list's end.
    """
    first, *parts = key.split(".")
    if parts and tree.get(first) is None:
        tree[first] = {}
    holder: Any = tree
    path: list[str | int] = [first]
    while parts:
        holder = holder[path[-1]]
        if isinstance(holder, list):
            if not parts[0].isdigit() or int(parts[0]) >= len(holder):
                raise LookupError(f"{'.'.join(map(str, path))} is a list of {len(holder)}; name an entry by its number from 0")
            path.append(int(parts.pop(0)))
        elif isinstance(holder, Mapping):
            joined = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
            name = next((name for name in joined if name in holder), joined[0])
            path.append(name)
            parts = parts[name.count(".") + 1 :]
        else:
            raise LookupError(f"{'.'.join(map(str, path))} is {holder!r}, so nothing can be set inside it")
    if value is None and path[0] in ENTRIES and len(path) == 2:
        if holder.pop(path[-1], None) is None:
            raise LookupError(f"{key} is not there, so null cannot remove it")
    else:
        holder[path[-1]] = value
    return tuple(path)
