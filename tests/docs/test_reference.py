"""Generated pages leave nothing out: every field of the schema, every option of every command."""

import argparse
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

import ceph_core.__main__
import run_search
import search.__main__
from ceph_core.config import Config, ScheduleConfig, SourceConfig, Stage, knobs
from docs._reference import GENERATED
from docs._reference.commands import commands_of, options_of
from docs._reference.schema import walk
from search.space.schema import Entry, Spec
from search.space.shape import WRITTEN_BY_US
from tests.docs.blocks import ROOT

MODELS: dict[str, type[BaseModel]] = {"knobs": Config, "source": SourceConfig, "space": Spec}


@pytest.mark.parametrize("name", MODELS)
def test_every_field_is_described(name: str) -> None:
    page = GENERATED[name]()
    for field in walk(MODELS[name]):
        if field.key in WRITTEN_BY_US:
            continue
        assert field.description, f"{field.key}: has no description"
        assert field.unit or not field.is_number, f"{field.key}: a number without a unit"
        key = f"source.{field.key}" if name == "source" else field.key
        shown = f"`{key}`" if "." in key else f"### {key}"
        assert page.count(shown) >= 1, f"{key} is not on the page"
        assert field.key in WRITTEN_BY_US or field.description[:30].replace("<", r"\<") in page.replace("`[]`", "[]"), field.key


def test_the_walk_meets_every_knob() -> None:
    assert [field.key for field in walk(Config)] == list(knobs())


def test_what_lists_and_knobs_hold_is_described_too() -> None:
    for model in (Stage, Entry, ScheduleConfig):
        for field in walk(model):
            assert field.description and (field.unit or not field.is_number), f"{model.__name__}.{field.key}"


def test_kinds_in_words() -> None:
    kinds = {field.key: field.kind for field in walk(Config)}
    assert kinds["heatmap.loss"] == "mse, adaptive_wing or cross_entropy"
    assert kinds["train.lr"] == "number above 0, up to 1"
    assert kinds["train.micro_batch"] == "whole number from 1, up to 512, or null"
    assert kinds["schedule.stages"].startswith("list of {epochs, size, batch}")


def parsers() -> Iterator[argparse.ArgumentParser]:
    yield run_search.parser()
    for program in (search.__main__.PROGRAM, ceph_core.__main__.PROGRAM):
        yield from commands_of(program.parser()).values()


@pytest.mark.parametrize("parser", [*parsers()], ids=lambda parser: parser.prog)
def test_every_option_is_on_the_page(parser: argparse.ArgumentParser) -> None:
    page = GENERATED["commands"]()
    (own,) = [part for part in page.split("\n#") if f"`{parser.prog}`" in part.splitlines()[0]]
    for action in options_of(parser):
        assert action.help, f"{parser.prog} {action.dest}: has no help"
        assert (action.option_strings[-1] if action.option_strings else str(action.metavar)) in own


def test_places_and_makers_belong_together() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert all(f"<!-- generated: {name} -->" in pages for name in GENERATED)
