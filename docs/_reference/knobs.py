"""Every knob, every option that names films, every section of a space file: as Markdown, from the schema."""

from collections.abc import Callable, Iterable, Iterator

from ceph_core.config import Config, SourceConfig
from docs._reference.schema import Described, section_of, walk
from search.space.schema import Entry, Spec
from search.space.shape import WRITTEN_BY_US
from search.space.values import SEED

Note = Callable[[Described], str]
"""What is said of a field beside its type: whether it is searched."""


def knobs_page() -> str:
    """A heading a section of the configuration, an entry a knob."""
    return "\n".join(_sections())


def _sections() -> Iterator[str]:
    for section, field in Config.model_fields.items():
        model = section_of(field)
        assert model is not None
        yield f"## {section}\n\n{(model.__doc__ or '').strip()}\n"
        yield entries(walk(model, f"{section}."), _searchable)


def source_page() -> str:
    """What names the films: one choice a run."""
    return entries(walk(SourceConfig, "source."), lambda _: "one choice a run, not searched")


def space_page() -> str:
    """A heading a section of a space file."""
    parts = []
    for name, field in Spec.model_fields.items():
        if name in WRITTEN_BY_US:
            continue
        model = section_of(field)
        text = (model.__doc__ if model is not None else field.description) or ""
        parts.append(f"### {name}\n\n{_sentence(text)}\n")
        if model is not None:
            parts.append(entries(walk(model, f"{name}."), lambda _: ""))
        elif name == "search":
            parts.append(f"{Entry.__doc__}\n\n{entries(walk(Entry, 'search.KNOB.'), lambda _: '')}")
    return "\n".join(parts)


def _searchable(field: Described) -> str:
    if field.key == SEED:
        return "not searched: the search sets it for each trial"
    return "can be searched by a name in `schedules`" if field.is_list else "can be searched"


def entries(fields: Iterable[Described], note: Note) -> str:
    """A definition list: reads on a telephone, too."""
    return "\n".join(_entry(field, note(field)) for field in fields)


def _entry(field: Described, note: str) -> str:
    facts = [field.kind, field.unit, f"default `{field.default}`" if field.default else "must be given", note]
    anchor = field.key.replace(".", "-")
    return f"[`{field.key}`]{{#{anchor}}}\n: {' · '.join(fact for fact in facts if fact)}\n\n  {_sentence(field.description)}\n"


def _sentence(text: str) -> str:
    """With a full stop, and nothing in it that Markdown takes for markup; its first word keeps its case, which may mean something."""
    return text.strip().rstrip(".").replace("[]", "`[]`").replace("*", r"\*").replace("<", r"\<") + "."
