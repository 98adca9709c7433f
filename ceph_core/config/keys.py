"""Dotted keys (`heatmap.sigma_rel`) into the configuration: the names that space files and `--set` use."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ceph_core.config.root import Config
from ceph_core.errors import InputError


def knobs() -> dict[str, FieldInfo]:
    """Every knob by its dotted key, in schema order."""
    return {
        f"{section}.{name}": field
        for section, holder in Config.model_fields.items()
        for name, field in _section(holder).model_fields.items()
    }


def field_at(key: str, where: str) -> FieldInfo:
    """The schema's field of a dotted key.

    Raises:
        InputError: no such key; the message starts with `where` (file or option) and offers the nearest key.
    """
    known = knobs()
    if key in known:
        return known[key]
    near = difflib.get_close_matches(key, known, n=1) or difflib.get_close_matches(key.split(".")[-1], known, n=1)
    own = [name for name in known if name.split(".")[0] == key.split(".")[0]]
    hint = f"did you mean {near[0]}?" if near else f"allowed are {', '.join(own or known)}"
    raise InputError(f"{where}: unknown key {key}; {hint}")


def get(config: Config, key: str) -> Any:
    """The value of a dotted key."""
    section, name = key.split(".")
    return getattr(getattr(config, section), name)


def apply(config: Config, values: Mapping[str, Any], where: str = "configuration") -> Config:
    """`config` with the dotted keys of `values` replaced, checked as a whole.

    Raises:
        InputError: unknown keys or values out of range, all problems at once, each starting with `where`.
    """
    problems: list[str] = []
    tree = config.model_dump()
    for key, value in values.items():
        try:
            field_at(key, where)
        except InputError as error:
            problems.extend(error.problems)
            continue
        section, name = key.split(".")
        tree[section][name] = value
    try:
        changed = Config.model_validate(tree)
    except ValidationError as error:
        problems.extend(problems_of(error, where))
    if problems:
        raise InputError(problems)
    return changed


def located(config: Config) -> Config:
    """The configuration with absolute paths: workers and later commands have another working directory."""
    csv, weights = config.curriculum.csv, config.model.pretrained
    changes: dict[str, Any] = {}
    if csv is not None:
        changes["curriculum"] = config.curriculum.model_copy(update={"csv": csv.expanduser().absolute()})
    if isinstance(weights, str):
        changes["model"] = config.model.model_copy(update={"pretrained": str(Path(weights).expanduser().absolute())})
    return config.model_copy(update=changes)


def sharing(config: Config, met: dict[Any, Any]) -> Config:
    """The same configuration, made of the sections of others wherever they are equal: ten thousand trials differ in few of them.

    Args:
        met: sections so far; new ones are added.
    """
    sections = {name: getattr(config, name) for name in type(config).model_fields}
    return type(config).model_construct(**{name: met.setdefault((name, section), section) for name, section in sections.items()})


def problems_of(error: ValidationError, where: str) -> list[str]:
    """Pydantic's findings as lines of `where: key: problem, got value`."""
    lines = []
    for found in error.errors():
        key = ".".join(str(part) for part in found["loc"]) or "(whole)"
        message = found["msg"].removeprefix("Value error, ")
        given = found.get("input")
        shown = "" if isinstance(given, dict | BaseModel) else f", got {given!r}"
        lines.append(f"{where}: {key}: {message}{shown}")
    return lines


def _section(field: FieldInfo) -> type[BaseModel]:
    assert isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    return field.annotation
