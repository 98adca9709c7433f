"""Pages that are written by the code they describe: a name, as a page's `<!-- generated: NAME -->` asks for it, and who writes it."""

from collections.abc import Callable

from docs._reference.commands import commands_page
from docs._reference.knobs import knobs_page, source_page, space_page

GENERATED: dict[str, Callable[[], str]] = {
    "knobs": knobs_page,
    "source": source_page,
    "space": space_page,
    "commands": commands_page,
}
