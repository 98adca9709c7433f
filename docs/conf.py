"""Builds the site: `sphinx-build -W --keep-going docs build/docs`, then open build/docs/index.html.

It needs no network, nor do its pages.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs._reference import GENERATED

project = "ceph-search"
author = "the authors of ceph-search"
extensions = ["myst_parser"]
exclude_patterns = ["_reference", "search.md"]  # the_search.md shows it: search.html is the page that the search box opens
nitpicky = True
smartquotes_action = "qe"  # quotes and ellipses, but `--option` stays

myst_enable_extensions = ["attrs_inline", "deflist"]
myst_heading_anchors = 3  # `page.md#a-heading` is a link that is checked

html_theme = "furo"
html_title = "ceph-search"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
highlight_language = "text"
html_theme_options = {"navigation_with_keys": True}
pygments_dark_style = "github-dark"


def fill_in(app: Any, page: str, source: list[str]) -> None:
    """Put what is generated from the code in its place on a page, before the page is read."""
    for name, make in GENERATED.items():
        place = f"<!-- generated: {name} -->"
        if place in source[0]:
            source[0] = source[0].replace(place, make())


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("source-read", fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
