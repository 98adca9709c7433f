"""A run's films as one page beside the report: `viewer.html`, and a folder `viewer/` with a picture a film."""

import json
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup

from ceph_core.data.imagefile import read_grey
from ceph_core.data.parallel import Progress, stderr_progress
from search import records
from search.records import Run
from search.viewer.content import content
from search.viewer.pictures import ReadFilm, write_pictures

SCRIPTS = ("films.js", "corrections.js", "csv.js", "stage.js", "labels.js", "pointers.js", "panels.js", "page.js")
"""One after another they are the page's only script: an earlier one knows nothing of a later one, but for what it calls when it acts."""


def build(run_dir: Path | str, read_film: ReadFilm = read_grey, progress: Progress | None = None) -> Path:
    """Write the viewer of a run, finished or not, from its records and films.

    Args:
        run_dir: the run's folder.
        read_film: path -> (h, w) grey values.
        progress: told (done, all) after every film; lines on stderr by default.

    Returns:
        The page's path.

    Raises:
        InputError: the folder is no run, or one of its files is damaged.  A film that cannot be read is told on the page.
    """
    run = records.load(run_dir)
    splits = run.splits.drop_duplicates("film")
    shown = splits[splits["film"].isin(run.predictions["film"])]
    sources = {str(film): Path(str(image)) for film, image in zip(shown["film"], shown["image"], strict=True)}
    told = progress or stderr_progress(f"{run.folder.pictures_dir}: pictures")
    pictures = write_pictures(run.folder.pictures_dir, sources, read_film, told)
    with records.atomic(run.folder.viewer_path) as temporary:
        temporary.write_text(render(run, content(run, pictures)), encoding="utf-8")
    return run.folder.viewer_path


def render(run: Run, shown: dict[str, object]) -> str:
    """The page as text."""
    # No text inside may end the JSON early: a film may be called `</script>`.
    embedded = json.dumps(shown, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return _page().render(
        run=run,
        content=Markup(embedded),
        css=Markup(_asset("page.css")),
        js=Markup("\n".join(_asset(name) for name in SCRIPTS)),
    )


@lru_cache
def _page() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_asset("page.html.j2"))


def _asset(name: str) -> str:
    return files("search.viewer").joinpath(name).read_text(encoding="utf-8")
