"""The command line, from its own parsers: what `--help` says, as a page."""

import argparse
from collections.abc import Iterator

import ceph_core.__main__
import run_search
import search.__main__


def commands_page() -> str:
    """A heading a program, one a command, an entry an option."""
    parts = [*_program(run_search.parser(), 2)]
    for made in (search.__main__.PROGRAM.parser(), ceph_core.__main__.PROGRAM.parser()):
        parts.append(f"## `{made.prog}`\n\n{_sentence(made.description or '')}\n")
        for own in commands_of(made).values():
            parts += _program(own, 3)
    return "\n".join(parts)


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """A program's commands by name; none if it has none."""
    return {
        name: command
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, command in action.choices.items()
    }


def options_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """What a user can give, `--help` aside."""
    return (action for action in parser._actions if not isinstance(action, argparse._HelpAction))


def _program(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    yield f"{'#' * level} `{parser.prog}`\n\n{_sentence(parser.description or '')}\n"
    for action in options_of(parser):
        yield f"`{_call(action)}`\n: {_sentence(_help(parser, action))}\n"
    if parser.epilog:
        yield _sentence(" ".join(parser.epilog.split())) + "\n"


def _call(action: argparse.Action) -> str:
    """`--trials N`, `RUN`, `--format {auto,coco}`."""
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper() if not action.choices else ""
    if action.choices and not isinstance(action.metavar, str):
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if action.nargs == 0:
        value = ""
    elif action.nargs == "?":
        value = f"[{value}]"
    elif action.nargs in ("*", "+"):
        value = f"{value} ..." if action.nargs == "+" else f"[{value} ...]"
    return " ".join(filter(None, [", ".join(action.option_strings), value]))


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """As `--help` shows it, with the default where the formatter of that command gives it."""
    return parser._get_formatter()._expand_help(action).removesuffix("(default: None)") if action.help else ""


def _sentence(text: str) -> str:
    """With a full stop, and nothing in it that Markdown takes for markup."""
    return text.strip().rstrip(".").replace("*", r"\*").replace("<", r"\<").replace("_", r"\_") + "."
