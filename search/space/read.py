"""YAML text to a plain tree that remembers the line of every entry, so that a message can point at it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ceph_core.errors import InputError

KeyPath = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema: `5e-4` is a number, `no`, `010` and `1:30` are text."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


@dataclass(frozen=True)
class Document:
    """A tree of plain values and the place that each of its entries came from.

    Attributes:
        source: the file, as the user named it.
        tree: dictionaries, lists and scalars.
        places: `FILE:LINE` or `--set KEY=VALUE` by key path; an entry without one lies where its parent does.
    """

    source: str
    tree: dict[str, Any]
    places: dict[KeyPath, str]

    def line(self, path: KeyPath, problem: str) -> str:
        """One line of an `InputError`: place, dotted key, problem."""
        known = next((path[:end] for end in range(len(path), -1, -1) if path[:end] in self.places), None)
        place = self.source if known is None else self.places[known]
        return f"{place}: {dotted(path)}: {problem}" if path else f"{place}: {problem}"


def dotted(path: Iterable[str | int]) -> str:
    """`search.train.lr.float[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def read_document(path: Path) -> Document:
    """The space file at `path`.

    Raises:
        InputError: no such file, not YAML (with line and column), no mapping, or a key given twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        beside = ", ".join(sorted(file.name for file in path.parent.glob("*.yaml"))) or "no .yaml file"
        raise InputError(f"{path}: no such space file; {path.parent} holds {beside}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from None
    places: dict[KeyPath, str] = {}
    tree = parse_yaml(text, str(path), places)
    if tree is None:
        raise InputError(f"{path}: is empty; a space file needs at least `search` and `start_from`")
    if not isinstance(tree, dict):
        raise InputError(f"{path}: is a {type(tree).__name__}; a space file is a mapping of sections (fixed, search, start_from, ...)")
    return Document(str(path), tree, places)


def parse_yaml(text: str, source: str, places: dict[KeyPath, str] | None = None) -> Any:
    """One YAML value; fills `places` with `source:line` by key path.

    Raises:
        InputError: not YAML, or a key given twice.
    """
    loader = _Loader(text)
    problems: list[str] = []
    try:
        node = loader.get_single_node()
        tree = None if node is None else _plain(loader, node, (), source, {} if places is None else places, problems)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise InputError(f"{source}{at}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{source}: not valid YAML: {error}") from None
    finally:
        loader.dispose()
    if problems:
        raise InputError(problems)
    return tree


def _plain(loader: _Loader, node: yaml.Node, path: KeyPath, source: str, places: dict[KeyPath, str], problems: list[str]) -> Any:
    if len(path) > 20:  # an alias inside its own anchor never ends
        raise yaml.constructor.ConstructorError(None, None, "nested more than 20 levels deep", node.start_mark)
    places.setdefault(path, f"{source}:{node.start_mark.line + 1}")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item, (*path, index), source, places, problems) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    tree: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
        key, line = key_node.value, key_node.start_mark.line + 1
        here = (*path, key)
        if key in tree:
            problems.append(f"{source}:{line}: {dotted(here)}: given twice, first at {places[here]}; keep one")
            continue
        places[here] = f"{source}:{line}"
        tree[key] = _plain(loader, value_node, here, source, places, problems)
    return tree
