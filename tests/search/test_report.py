import argparse
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from ceph_core.errors import InputError
from ceph_core.inference.refine import SHAPE_FILE, Reviewer
from search import records
from search.commands import list as list_command
from search.commands import report as report_command
from search.report import build
from search.report.comparison import Comparison, compare
from search.report.confirmation import confirmation
from tests.search.conftest import problems_of, visit
from tests.search.drawn_run import SPACING_MM, draw_run, true_points
from tests.search.simulated import made_up_space


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(draw_run(tmp_path_factory.mktemp("run"), trials=20).path)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page on which nothing is missing."""
    return build(draw_run(tmp_path_factory.mktemp("run"), trials=30, films=80, judged=True).path)


def text_of(page: Path) -> str:
    """The page without its scripts, pictures and tags."""
    body = re.sub(r"(?s)<(script|style).*?</\1>", "", page.read_text())
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def test_the_page_is_one_file_of_bounded_size(page: Path) -> None:
    html = page.read_text()
    assert len(html) < 15e6
    assert html.count('<script type="application/json"') == 8
    assert not re.search(r"<(script|img|link|iframe)[^>]*(src|href)=(?![\"']?data:)", html)


def test_the_headline_is_the_metric_of_the_predictions(page: Path) -> None:
    run = records.load(page.parent)
    comparison = compare(run)
    assert isinstance(comparison, Comparison)
    rows = run.predictions[run.predictions["model"] == "ensemble"].set_index(["film", "landmark"])
    truth = np.concatenate([true_points(int(film)) for film in comparison.films])
    points = rows.loc[[(film, landmark) for film in comparison.films for landmark in comparison.landmarks], ["x_px", "y_px"]].to_numpy()
    marked = ~np.isnan(comparison.reference.reshape(-1, 2)).any(axis=1)
    expected = float(np.hypot(*(points - truth).T)[marked].mean() * SPACING_MM)
    assert comparison.rows["ensemble"].summary.mre_mm == pytest.approx(expected)
    assert f"{expected:.2f} mm mean radial error of the ensemble" in text_of(page)
    assert list(comparison.rows)[:6] == ["ensemble", "best single", "baseline", "member:t0001", "member:t0006 seed 1", "mean shape"]
    assert comparison.paired["baseline"].difference_mm < 0


def test_readers_are_scored_and_set_against_each_other(page: Path) -> None:
    comparison = compare(records.load(page.parent))
    assert isinstance(comparison, Comparison)
    assert {"reader:senior", "reader:junior", "senior against junior"} <= comparison.rows.keys()
    assert comparison.rows["senior against junior"].summary.mre_mm > comparison.rows["reader:senior"].summary.mre_mm


def test_a_reader_who_is_the_reference_gets_no_row(tmp_path: Path) -> None:
    run = draw_run(tmp_path, trials=1)
    points = records.load(run.path).predictions
    truth = points[points["model"] == "reference"]
    records.write_predictions(run, pd.concat([points[points["model"] != "reader:senior"], truth.assign(model="reader:senior")]))
    comparison = compare(records.load(run.path))
    assert isinstance(comparison, Comparison)
    assert "reader:senior" not in comparison.rows
    assert any("reader:senior is the reference itself" in note for note in comparison.notes)


def test_a_model_that_lost_a_point_is_not_scored_in_silence(tmp_path: Path) -> None:
    run = draw_run(tmp_path, trials=1)
    points = records.load(run.path).predictions
    points.loc[points.index[points["model"] == "baseline"][0], "x_px"] = np.nan
    records.write_predictions(run, points)
    assert "baseline: not scored: 1 predicted points are NaN" in text_of(build(run.path))


@pytest.mark.parametrize("trials", [0, 1, 5])
def test_an_unfinished_run_says_what_is_missing(tmp_path: Path, trials: int) -> None:
    run = draw_run(tmp_path, trials=trials, promoted=False, finished=False)
    text = text_of(build(run.path))
    assert "No ensemble to show: the locked test has not been opened yet" in text
    assert "The run is interrupted" in text
    assert "No plot: importance needs" in text
    assert ("t0000" in text) == (trials > 0)


def test_a_failed_trial_shows_its_error(page: Path) -> None:
    assert "t0003 after 3 of 12 epochs: val_mre_mm is not a number" in text_of(page)
    assert "&lt;loss&gt;\nFloatingPointError: NaN" in page.read_text()


def test_a_lost_film_leaves_a_reason_in_place_of_its_picture(tmp_path: Path) -> None:
    run = draw_run(tmp_path, trials=1)
    Path(records.load(run.path).splits["image"].iloc[-1]).unlink()
    text = text_of(build(run.path))
    assert "no picture:" in text
    assert "cannot be read" in text


def test_text_from_outside_cannot_break_the_page(tmp_path: Path) -> None:
    run = draw_run(tmp_path, trials=1)
    plan = run.read_plan()
    plan["space"]["description"] = "</script><script>alert(1)</script>"
    run.write_plan(plan)
    with records.Ledger(run.path) as ledger:
        ledger.append_trial("</script><b>", number=1, role="search", values={"train.batch_size": 4}, config={"train": {"epochs": 2}})
        ledger.append_report("</script><b>", 1, val_mre_mm=2.0, decision="continue")
    html = build(run.path).read_text()
    assert "<script>alert(1)" not in html
    assert "</script><b>" not in html


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = draw_run(tmp_path, trials=3)
    parser = argparse.ArgumentParser()
    report_command.add_arguments(parser)
    assert report_command.run(parser.parse_args([str(run.path)])) == 0
    assert Path(capsys.readouterr().out.strip()) == run.report_path
    assert run.viewer_path.exists()
    assert f'href="viewer.html#film={records.load(run.path).splits["film"].iloc[-1]}"' in run.report_path.read_text()
    with pytest.raises(InputError, match="not a run"):
        report_command.run(argparse.Namespace(run=tmp_path))

    broken = records.create(tmp_path / "broken", {})
    broken.ledger_path.write_text("nonsense\nnonsense\n")
    assert list_command.run(argparse.Namespace(dir=tmp_path, json=False)) == 0
    out = capsys.readouterr().out
    assert re.search(r"drawn +finished +3 ", out)
    assert re.search(r"broken +damaged", out)
    assert "line 1: not a ledger event" in " ".join(out.split())
    with pytest.raises(InputError, match="no such folder"):
        list_command.run(argparse.Namespace(dir=tmp_path / "none", json=False))


@pytest.mark.slow
def test_a_real_browser_draws_the_page_without_network(browser: WebDriver, page: Path) -> None:
    visit(browser, page.as_uri())
    browser.set_window_size(1200, 900)
    browser.execute_async_script("setTimeout(arguments[0], 600)")  # plots follow the window after a moment
    boxes = browser.find_elements(By.CSS_SELECTOR, ".plot")
    assert len(boxes) == 8
    for box in boxes:
        assert box.find_elements(By.CSS_SELECTOR, "svg.main-svg"), box.get_attribute("data-figure")
        assert box.size["height"] > 100
    assert len(browser.find_elements(By.CSS_SELECTOR, "[data-figure=curves] .scatterlayer .trace path.js-line")) > 4
    for table, rows in (
        ("comparison", 9),
        ("success", 9),
        ("leaderboard", 20),
        ("landmark", 19),
        ("group", 5),
        ("measurement", 9),
        ("tier", 3),
    ):
        assert len(browser.find_elements(By.CSS_SELECTOR, f"#{table}-table tbody tr")) == rows
    pictures = browser.find_elements(By.CSS_SELECTOR, ".gallery svg image")
    assert len(pictures) == 5
    assert all(picture.size["width"] > 100 for picture in pictures)

    assert [entry for entry in browser.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}] == []
    requests = [entry["message"] for entry in browser.get_log("performance") if 'Network.requestWillBeSent"' in entry["message"]]
    assert not [message for message in requests if re.search(r'"url":"(https?|wss?):', message)]


@pytest.mark.slow
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_everybody_can_read_it(browser: WebDriver, judged: Path, colours: str) -> None:
    """axe finds nothing serious: contrast, names, order, what keys reach."""
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": colours}]})
    visit(browser, judged.as_uri())
    assert problems_of(browser) == []


@pytest.mark.slow
def test_keys_sort_a_table(browser: WebDriver, page: Path) -> None:
    visit(browser, page.as_uri())
    browser.find_element(By.CSS_SELECTOR, "#landmark-table thead th:nth-child(3) button").send_keys(Keys.ENTER)
    assert browser.find_element(By.CSS_SELECTOR, "#landmark-table thead th:nth-child(3)").get_attribute("aria-sort") == "ascending"


@pytest.mark.slow
def test_a_heading_sorts_its_table(browser: WebDriver, page: Path) -> None:
    visit(browser, page.as_uri())
    heading = browser.find_element(By.CSS_SELECTOR, "#landmark-table thead th:nth-child(3)")

    def column() -> list[float]:
        cells = browser.find_elements(By.CSS_SELECTOR, "#landmark-table tbody td:nth-child(3)")
        return [float(cell.get_attribute("textContent") or "nan") for cell in cells]

    browser.execute_script("arguments[0].click()", heading)
    assert column() == sorted(column())
    browser.execute_script("arguments[0].click()", heading)
    assert column() == sorted(column(), reverse=True)


@pytest.mark.slow
def test_a_phone_scrolls_tables_not_the_page(browser: WebDriver, page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True})
    visit(browser, page.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_says_what_was_luck(page: Path) -> None:
    shown = text_of(page)
    assert "Nothing beats the baseline: the ensemble differs by no more than chance" in shown, "five films tell little"
    assert "t0001 1.400 1.500 ± 0.050 1.550 (1)" in shown and "t0006 1.450 1.550 ± 0.050 –" in shown
    assert "Ensemble: chosen with 1.310 mm on 20 films; 1.420 mm [1.300–1.550] expected without the luck of this choice" in shown
    assert "it chose the settings by the same films." in shown


def test_expected_and_found_of_the_best_single_network_are_of_one_rule() -> None:
    """A run that does not name the network expected it by another rule than the one that chose it for the test."""
    expected = {"mre_mm": 1.6, "low_mm": 1.4, "high_mm": 1.8}
    both = {"ensemble": expected, "best single": expected}
    told = {"confirmed": [], "validation_mre_mm": 1.3, "validation_films": 20, "expected_mm": both}

    def lines(folds: int = 1, **more: str) -> tuple[str, ...]:
        space = made_up_space(promotion={"folds": folds, "seeds": 1, "max_members": None})
        run = SimpleNamespace(promotion={**told, **more}, plan={"space": space.to_dict()})
        found = confirmation(run, {"ensemble": 1.5, "best single": 1.7})
        assert found is not None
        return found.said

    named = lines(best_single="t0001 seed 1")
    assert any("Best single: 1.600 mm" in line and "1.700 mm found on the locked test" in line for line in named)
    assert not any("Best single" in line for line in lines())
    assert "by the same films" in lines()[-1] and "by its validation films, which are among these" in lines(folds=5)[-1]


def test_what_was_tried_again_is_told(tmp_path: Path) -> None:
    run = draw_run(tmp_path, trials=2, promoted=False, finished=False)
    assert "Tried again" not in text_of(build(run.path))
    with records.Ledger(run.path) as ledger:
        for cause, reason in (("memory", "CUDA out of memory"), ("lost", "the worker died")):
            ledger.append({"event": "retry", "trial": "t0001", "cause": cause, "reason": reason})
    assert "memory: CUDA out of memory; lost: the worker died" in text_of(build(run.path))


def test_a_mean_shape_without_an_answer_is_no_yardstick(tmp_path: Path) -> None:
    """As where no training film marks a landmark that a validation film has."""
    run = draw_run(tmp_path, trials=1, judged=True)
    points = records.load(run.path).predictions
    points.loc[(points["model"] == "mean shape") & (points["landmark"] == "S"), ["x_px", "y_px"]] = np.nan
    records.write_predictions(run, points)
    page = build(run.path).read_text()
    board = page[page.index('id="leaderboard-table"') : page.index('id="curves"')]
    assert "reader: junior" in board and "mean shape</th>" not in board


def test_a_shape_file_of_other_landmarks_is_told(tmp_path: Path) -> None:
    run = draw_run(tmp_path, trials=1, films=80, judged=True)
    Reviewer.fit(tuple("ABCDE"), np.random.default_rng(0).normal(50, 5, (40, 5, 2))).save(run.ensemble_dir / SHAPE_FILE)
    assert "is of 5 landmarks" in text_of(build(run.path))
