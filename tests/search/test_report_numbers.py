from pathlib import Path

import pytest

from search.report import build
from tests.search.drawn_run import draw_run
from tests.search.report_numbers import CHECKS, TABLES, Page, Run, check_report


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = draw_run(tmp_path_factory.mktemp("run"), trials=30, films=80, judged=True)
    build(run.path)
    return run.path


@pytest.mark.parametrize("part", CHECKS)
def test_every_number_follows_from_the_tables(folder: Path, part: str) -> None:
    CHECKS[part](Run(folder), Page((folder / "report.html").read_text()))


def test_the_drawn_run_shows_every_table(folder: Path) -> None:
    assert {f"{name}-table" for name in TABLES} == Page((folder / "report.html").read_text()).tables.keys()


def test_a_wrong_number_is_found(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    page = tmp_path / "report.html"
    right = page.read_text()
    page.unlink()
    cell = Page(right).tables["landmark-table"][4][2]
    page.write_text(right.replace(f">{cell}</td>", ">9.99</td>"))
    with pytest.raises(AssertionError):
        check_report(tmp_path)
