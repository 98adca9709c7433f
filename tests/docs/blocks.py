"""The commands of the documentation's pages, as tests run them; docs/these_pages.md says what the comments mean."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from search.space.read import parse_yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
_FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<language>\S*)")
_COMMENT = re.compile(r"^<!--\s*(?P<word>[a-z ]+):(?P<rest>.*?)(?P<end>-->)?\s*$")
_NUMBER = re.compile(r"\d[\d.,]*")


@dataclass
class Step:
    """A block of a page.

    Attributes:
        line: its first, from 1.
        kind: commands that are shown, commands that are not, or a file.
        leaves: patterns of files that are there afterwards.
        says: lines of its output.
        not_run: why it is not.
        file, adds: what a `yaml` block becomes, or is merged into.
    """

    line: int
    kind: Literal["sh", "setup", "yaml"]
    text: str
    leaves: list[str] = field(default_factory=list)
    says: list[str] = field(default_factory=list)
    exit_code: int = 0
    not_run: str = ""
    file: str = ""
    adds: bool = False


def steps_of(page: Path) -> list[Step]:
    """A page's blocks in order.

    Raises:
        ValueError: a comment that means nothing, or stands below no block.
    """
    steps: list[Step] = []
    for line, language, text in _blocks(page.read_text(encoding="utf-8")):
        where = f"{page.name}:{line}"
        if language in ("sh", "setup", "yaml"):
            steps.append(Step(line, language, text))  # type: ignore[arg-type]
        elif language == "generated" or language.startswith("{"):
            continue
        elif not steps and language != "":
            raise ValueError(f"{where}: {language}: stands below no block")
        elif language == "text":
            steps[-1].says += [said for said in text.splitlines() if said.strip(" …")]
        elif language == "leaves":
            steps[-1].leaves += text.split()
        elif language == "fails":
            steps[-1].exit_code = int(text)
        elif language == "not run":
            if not text:
                raise ValueError(f"{where}: not run: needs a reason")
            steps[-1].not_run = text
        elif language in ("file", "adds to"):
            steps[-1].file, steps[-1].adds = text, language == "adds to"
        elif language not in ("", "python"):
            raise ValueError(f"{where}: {language}: no such comment or block; docs/these_pages.md has them")
    return steps


def _blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, language or word of a comment, what it holds) of fenced blocks and comments `word: ...`."""
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        if fence := _FENCE.match(line):
            inside = []
            for _, each in lines:
                if each.strip() == fence["ticks"]:
                    break
                inside.append(each)
            yield number, fence["language"], "\n".join(inside)
        elif comment := _COMMENT.match(line):
            inside = [comment["rest"].strip()]
            while not comment["end"]:
                each = next(lines)[1]
                if each.strip() == "-->":
                    break
                inside.append(each)
            yield number, comment["word"], "\n".join(inside).strip()


def merged(tree: Any, change: Any) -> Any:
    """What a reader makes of a file by the next step's lines: mappings grow, everything else is replaced."""
    if not (isinstance(tree, dict) and isinstance(change, dict)):
        return change
    is_knob = {"float", "int", "categorical"} & change.keys()
    return change if is_knob else {**tree, **{key: merged(tree.get(key), value) for key, value in change.items()}}


def file_after(step: Step, before: Any) -> Any:
    """The tree of a step's file, given the tree that it held before."""
    tree = parse_yaml(step.text, step.file)
    return merged(before, tree) if step.adds else tree


def is_said(line: str, output: str) -> bool:
    """Whether a quoted line stands in an output, numbers and what `…` stands for aside."""
    parts = [r"\s+".join(map(_pattern, part.split())) for part in line.split("…")]
    return re.search(r".*?".join(part for part in parts if part), output, re.DOTALL) is not None


def _pattern(word: str) -> str:
    """The word with any number in the place of each of its numbers."""
    return r"\d[\d.,]*".join(re.escape(part) for part in _NUMBER.split(word))
