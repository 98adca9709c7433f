"""The pages that a run leaves for people: its report, and the viewer of its films."""

from pathlib import Path

from search import report, viewer


def write(run_dir: Path | str) -> Path:
    """Write both, whatever state the run is in; the report's path.

    The viewer comes first, so that the report links to it; the report is written even where the viewer cannot be (a full disk, say).

    Raises:
        InputError: the folder is no run, or one of its files is damaged.
    """
    try:
        viewer.build(run_dir)
    finally:
        page = report.build(run_dir)
    return page
