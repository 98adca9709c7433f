"""Pydantic's findings in the words of a space file, and the file without them, so that the rest can still be checked."""

import copy
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from search.space.read import KeyPath
from search.space.schema import Entry, Prior, Spec

WRITTEN_BY_US = ("profile", "source")
"""Fields of a resolved space that no space file holds."""


PLAIN_WORDS = {
    "dict_type": "must be a mapping, {key: value, ...}",
    "model_type": "must be a mapping, {key: value, ...}",
    "tuple_type": "must be a list, [value, ...]",
    "too_short": "must list at least one value",
}
"""For pydantic's messages that speak of Python's types."""


def in_our_words(message: str) -> str:
    """A message of pydantic's without its habits."""
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


def shape_problems(error: ValidationError) -> list[tuple[KeyPath, str]]:
    """(key path, problem) of each finding."""
    found = []
    for item in error.errors():
        path = item["loc"]
        if item["type"] == "extra_forbidden":
            found.append((path, unknown_key(str(path[-1]), _fields(path[:-1]))))
            continue
        given = item["input"]
        message = PLAIN_WORDS.get(item["type"]) or in_our_words(item["msg"])
        shown = "" if isinstance(given, dict | BaseModel) else f", got {given!r}"
        found.append((path, message + shown))
    return found


def unknown_key(key: str, allowed: Iterable[str]) -> str:
    """`unknown key; did you mean ...`."""
    names = list(allowed)
    near = difflib.get_close_matches(key, names, n=1)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; allowed are {', '.join(names)}"


def prune(tree: Mapping[str, Any], paths: Iterable[KeyPath]) -> tuple[dict[str, Any], set[KeyPath]]:
    """The tree without the smallest entries that hold these paths, and the paths of what was left out.

    A knob goes as a whole, a setting of a section gives way to its default, and `start_from` goes as a whole.
    """
    pruned, gone = copy.deepcopy(dict(tree)), set()
    for path in paths:
        cut = path[:1] if path[0] == "start_from" or not isinstance(tree[str(path[0])], dict) else path[:2]
        gone.add(cut)
        holder = pruned if len(cut) == 1 else pruned.get(str(cut[0]), {})
        holder.pop(str(cut[-1]), None)
    return pruned, gone


def _fields(path: KeyPath) -> list[str]:
    """Keys that the model at a path allows."""
    if not path:
        return [name for name in Spec.model_fields if name not in WRITTEN_BY_US]
    if path[0] == "search":
        model: Any = Prior if path[2:] == ("prior",) else Entry
    else:
        model = Spec.model_fields[str(path[0])].annotation
        for name in path[1:]:  # sections inside sections
            model = model.model_fields[str(name)].annotation
    return [field.alias or name for name, field in model.model_fields.items()]
