"""The walk over the schema: every field of a frozen model, sections inside sections included, in the words of a reader."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_NAMES = {float: "number", int: "whole number", str: "text", bool: "true or false", Path: "path", Any: "value"}


@dataclass(frozen=True)
class Described:
    """A field as a page shows it.

    Attributes:
        key: dotted path from the model that the walk began at.
        kind: its type or choices, and the range of a number: `number above 0, up to 1`, `mse or cross_entropy`, `path, or null`.
        default: as a space file writes it; empty where one must be given.
        unit: what a number counts; empty for words.
        is_number: whether it needs a unit.
        is_list: whether it holds several values.
    """

    key: str
    kind: str
    default: str
    unit: str
    description: str
    is_number: bool
    is_list: bool


def walk(model: type[BaseModel], prefix: str = "") -> Iterator[Described]:
    """Every field, in the schema's order; a field that is a model gives its own fields."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inside = section_of(field)
        if inside is not None:
            yield from walk(inside, f"{key}.")
            continue
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        kind = " ".join(filter(None, [kind_of(field.annotation), _bounds(field)]))
        yield Described(
            key=key,
            kind=f"{kind}, or null" if NoneType in get_args(field.annotation) else kind,
            default=_default(field),
            unit=str(extra.get("unit", "")),
            description=field.description or "",
            is_number=bool(_plain_types(field.annotation) & {float, int}),
            is_list=get_origin(field.annotation) is tuple,
        )


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model that a field is, if it is one; also one that may be left out."""
    found = [each for each in get_args(field.annotation) or (field.annotation,) if each is not NoneType]
    annotation = found[0] if len(found) == 1 else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def kind_of(annotation: Any) -> str:
    """A type in words: `number`, `mse, adaptive_wing or cross_entropy`, `list of number`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind_of(args[0])
    if origin is Literal:
        return _any_of([_written(value) for value in args])
    if origin in (Union, UnionType):
        return _any_of([kind_of(each) for each in args if each is not NoneType])
    if origin is tuple and len(args) == 2 and args[1] is not Ellipsis:
        return "[low, high]"
    if origin is tuple:
        return f"list of {kind_of(args[0])}s"
    if origin is dict:
        return f"mapping of {kind_of(args[0])} to {kind_of(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"{{{', '.join(annotation.model_fields)}}}"
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _plain_types(annotation: Any) -> set[Any]:
    """The types that a value may have, lists opened."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Annotated, Union, UnionType, tuple):
        return set().union(*(_plain_types(each) for each in (args[:1] if origin is Annotated else args) if each is not Ellipsis))
    return set() if origin is not None else {annotation}


def _any_of(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _bounds(field: FieldInfo) -> str:
    """`above 0, up to 1`."""
    low = high = least = ""
    for bound in [*field.metadata, *_inner_metadata(field.annotation)]:
        match bound:
            case annotated_types.Ge():
                low = f"from {bound.ge:,}"
            case annotated_types.Gt():
                low = f"above {bound.gt:,}"
            case annotated_types.Le():
                high = f"up to {bound.le:,}"
            case annotated_types.Lt():
                high = f"below {bound.lt:,}"
            case annotated_types.MinLen():
                least = f"at least {bound.min_length} given"
    return ", ".join(filter(None, [low, high, least]))


def _inner_metadata(annotation: Any) -> list[Any]:
    """Bounds that stand on the elements of a list, or on one member of a union."""
    found = list(getattr(annotation, "__metadata__", ()))
    found = [part for each in found for part in (each.metadata if isinstance(each, FieldInfo) else [each])]
    return found + [part for each in get_args(annotation) if get_origin(annotation) is not Literal for part in _inner_metadata(each)]


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return "" if value is PydanticUndefined else _written(value)


def _written(value: Any) -> str:
    """As YAML writes it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Enum():
            return str(value.value)
        case BaseModel():
            return "{" + ", ".join(f"{name}: {_written(each)}" for name, each in value) + "}"
        case dict():
            return "{" + ", ".join(f"{name}: {_written(each)}" for name, each in value.items()) + "}"
        case tuple() | list():
            return "[" + ", ".join(map(_written, value)) + "]"
        case float():
            return f"{value:g}"
        case "":
            return '""'
    return str(value)
