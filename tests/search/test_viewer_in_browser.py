"""The viewer at work in a real browser: looking, correcting, saving, and what the table reader makes of what was saved."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import Select

from ceph_core import data
from ceph_core.config import SourceConfig
from ceph_core.landmarks import ISBI19
from search import records
from search.viewer import build
from tests.search.conftest import problems_of, reload, visit
from tests.search.drawn_run import draw_run
from tests.search.test_viewer import HOSTILE, draw_hostile_run, draw_tested_run, shown, silent

pytestmark = pytest.mark.slow

ENLARGED = 6
"""Films as large as scanned ones, 2400 x 1932 px, so that a pixel of the screen is several of theirs."""


def draw_large_run(folder: Path) -> records.RunFolder:
    """A drawn run whose films and points are enlarged, with another spacing along y; film 009 shows but a spot, where its S is."""
    run = draw_tested_run(folder)
    loaded = records.load(run.path)
    splits, points = loaded.splits, loaded.predictions
    splits["spacing_x_mm"], splits["spacing_y_mm"] = 0.1, 0.11
    points[["x_px", "y_px"]] = (points[["x_px", "y_px"]] + 0.5) * ENLARGED - 0.5
    for path in splits["image"].tail(5):
        film = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(path, cv2.resize(film, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_LINEAR))
    spot = points[(points["film"] == "009") & (points["landmark"] == "S") & (points["model"] == "reference")].iloc[0]
    rows, columns = np.mgrid[:2400, :1932]
    near = np.exp(-((columns - spot["x_px"]) ** 2 + (rows - spot["y_px"]) ** 2) / (2 * 9**2))
    cv2.imwrite(splits["image"].iloc[-1], (255 * near).astype(np.uint8))
    records.write_splits(run, splits)
    records.write_predictions(run, points)
    return run


@pytest.fixture(scope="module")
def large_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(draw_large_run(tmp_path_factory.mktemp("run")).path, progress=silent)


class Viewer:
    """The page as a person has it."""

    def __init__(self, browser: WebDriver, page: Path, downloads: Path) -> None:
        self.browser, self.page, self.downloads = browser, page, downloads

    def open(self, film: str | None = None) -> None:
        self.leave_unasked()
        visit(self.browser, self.page.as_uri() + ("" if film is None else f"#film={film}"))

    def reload(self) -> None:
        self.leave_unasked()
        reload(self.browser)

    def leave_unasked(self) -> None:
        """The driver sometimes waits for ever behind the question whether to leave."""
        self.run("window.addEventListener('beforeunload', event => event.stopImmediatePropagation(), true)")

    def run(self, script: str, *given: Any) -> Any:
        return self.browser.execute_script(script, *given)

    def click(self, identity: str) -> None:
        self.browser.find_element(By.ID, identity).click()

    def choose(self, identity: str, value: str) -> None:
        Select(self.browser.find_element(By.ID, identity)).select_by_value(value)

    def press(self, *keys: str) -> None:
        ActionChains(self.browser).send_keys(*keys).perform()

    def control(self, key: str) -> None:
        ActionChains(self.browser).key_down(Keys.CONTROL).send_keys(key).key_up(Keys.CONTROL).perform()

    def text(self, identity: str) -> str:
        return self.browser.find_element(By.ID, identity).text

    def films(self) -> list[str]:
        return self.run("return [...document.querySelectorAll('#list button')].map(each => each.dataset.film)")

    def handle(self, symbol: str) -> Any:
        return self.browser.find_element(By.CSS_SELECTOR, f".handle[data-place='{ISBI19.symbols.index(symbol)}']")

    def on_screen(self, symbol: str) -> np.ndarray:
        """Where a point is seen, CSS px."""
        return np.array(self.run("const m = arguments[0].getScreenCTM(); return [m.e, m.f]", self.handle(symbol)))

    def in_film(self, at: np.ndarray) -> np.ndarray:
        """A place of the screen in original pixels, as the picture lies there: from -0.5 to its size - 0.5."""
        box = self.run(
            "const image = document.querySelector('#layer-film image'), box = image.getBoundingClientRect();"
            "return [box.left, box.top, box.width, box.height, image.width.baseVal.value, image.height.baseVal.value]"
        )
        left, top, width, height, full_width, full_height = box
        return (at - [left, top]) / [width, height] * [full_width, full_height] - 0.5

    def move_to(self, symbol: str) -> ActionChains:
        x, y = np.rint(self.on_screen(symbol)).astype(int)
        actions = ActionChains(self.browser, duration=0)
        actions.w3c_actions.pointer_action.move_to_location(int(x), int(y))
        return actions

    def drag(self, symbol: str, by: tuple[int, int]) -> np.ndarray:
        """Drag a point with the mouse; where it was dropped, original pixels."""
        before = self.on_screen(symbol)
        self.move_to(symbol).click_and_hold().move_by_offset(by[0] // 2, by[1]).move_by_offset(by[0] - by[0] // 2, 0).release().perform()
        return self.in_film(before + by)

    def save(self) -> Path:
        before = set(self.downloads.iterdir())
        self.click("save")
        return wait(lambda: next((path for path in set(self.downloads.iterdir()) - before if path.suffix == ".csv"), None))

    def load(self, file: Path) -> None:
        self.browser.find_element(By.ID, "file").send_keys(str(file))
        wait(lambda: f"taken from {file.name}" in self.text("said"))

    def warns_on_leaving(self) -> bool:
        return bool(self.run("return !window.dispatchEvent(new Event('beforeunload', { cancelable: true }))"))

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}]


def wait(until: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := until()):
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.05)
    return found


@pytest.fixture
def viewer(browser: WebDriver, large_page: Path, tmp_path: Path) -> Iterator[Viewer]:
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    browser.set_window_size(1300, 1000)
    browser.get_log("browser")
    browser.get_log("performance")
    made = Viewer(browser, large_page, downloads)
    yield made
    assert made.complaints() == []
    browser.execute_script("localStorage.clear()")


def read_back(table: Path) -> dict[str, Any]:
    """Films of a saved table by id, as the project's reader has them."""
    return data.read(SourceConfig(root=table), table.parent / "cache").by_id()


def reference(page: Path, film: str) -> np.ndarray:
    points = next(each["reference"] for each in shown(page)["films"] if each["id"] == film)
    return np.array([[np.nan, np.nan] if point is None else point for point in points])


def test_a_dropped_point_is_saved_where_it_was_dropped(viewer: Viewer) -> None:
    viewer.open("006")
    wide = viewer.drag("Go", (31, -17))  # the whole film in sight: a pixel of the screen is 3 of the film
    place = ISBI19.symbols.index("Me")
    viewer.browser.find_element(By.CSS_SELECTOR, f".go[data-place='{place}']").click()
    near = viewer.drag("Me", (-23, 9))
    assert "Me, moved" in viewer.text("said")
    found = read_back(viewer.save())
    assert found.keys() == {"006"}
    record, before = found["006"], reference(viewer.page, "006")
    assert record.landmarks_px[ISBI19.symbols.index("Go")] == pytest.approx(wide, abs=0.5)
    assert record.landmarks_px[place] == pytest.approx(near, abs=0.5)
    assert np.abs(record.landmarks_px - before).max() > 50
    others = [symbol not in ("Go", "Me") for symbol in ISBI19.symbols]
    np.testing.assert_allclose(record.landmarks_px[others], before[others], atol=0.01)
    assert record.spacing_mm == (0.1, 0.11) and record.split == "test" and record.group == "g6" and record.size == (2400, 1932)
    assert viewer.text("state") == "1 corrected, 0 reviewed of 5 · all in corrections-drawn.csv"


def test_the_picture_lies_under_the_points(viewer: Viewer) -> None:
    viewer.open("009")
    viewer.choose("landmark", "0")  # S alone, and near
    viewer.run("document.activeElement.blur()")
    viewer.press("pl")
    viewer.run("for (const each of document.querySelectorAll('#zooms, #layer-over')) each.style.visibility = 'hidden'")

    def middle() -> np.ndarray:
        """Of what is bright on the stage, px of the screenshot."""
        time.sleep(0.4)
        box = viewer.run("const box = document.getElementById('frame').getBoundingClientRect(); return Object.values(box.toJSON())")
        left, top, width, height = np.rint(box[:4]).astype(int) + np.array([2, 2, -4, -4])  # an edge between two pixels is part page
        seen = cv2.imdecode(np.frombuffer(viewer.browser.get_screenshot_as_png(), np.uint8), cv2.IMREAD_GRAYSCALE).astype(float)
        seen = np.where(seen < 40, 0, seen)[top : top + height, left : left + width]
        return np.array([(seen.sum(axis) * np.arange(seen.shape[1 - axis])).sum() / seen.sum() for axis in (0, 1)])

    viewer.run("document.getElementById('layer-film').style.visibility = 'hidden'")
    ring = middle()
    viewer.run("document.getElementById('layer-film').style.visibility = ''")
    viewer.press("r")
    spot = middle()
    per_pixel = (viewer.in_film(np.array([1.0, 0.0])) - viewer.in_film(np.array([0.0, 0.0])))[0]
    np.testing.assert_allclose((spot - ring) * per_pixel, 0, atol=0.3)


def test_keys_move_undo_and_take_away(viewer: Viewer) -> None:
    viewer.open("005")
    before = reference(viewer.page, "005")
    viewer.run("arguments[0].focus()", viewer.handle("S"))
    assert re.fullmatch(r"S, \d+\.\d mm from the prediction of ensemble", viewer.handle("S").get_attribute("aria-label"))
    viewer.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    ActionChains(viewer.browser).key_down(Keys.SHIFT).send_keys(Keys.ARROW_UP).key_up(Keys.SHIFT).perform()
    assert viewer.in_film(viewer.on_screen("S")) == pytest.approx(before[0] + [2, -9], abs=0.05)
    assert viewer.text("film-name") == "005", "arrows moved the point, not the list"
    viewer.press(Keys.TAB, Keys.DELETE)  # N, the next point
    assert not viewer.handle("N").is_displayed()
    assert viewer.run("return document.activeElement.getAttribute('aria-label')") == "N: bring back"
    viewer.click("reviewed")
    file = viewer.save()
    found = read_back(file)["005"].landmarks_px
    assert found[0] == pytest.approx(before[0] + [2, -9], abs=1e-3)
    assert np.isnan(found[1]).all() and not np.isnan(found[2:]).any()
    assert pd.read_csv(file)["review"].iloc[0] == "started from the reference; reviewed; moved S; missing N"

    viewer.browser.find_element(By.CSS_SELECTOR, ".lose[data-place='1']").click()
    assert viewer.in_film(viewer.on_screen("N")) == pytest.approx(before[1], abs=0.05)
    for _ in range(4):  # N is back, reviewed, N is missing, S moved (one step: one key after the other)
        viewer.control("z")
    assert viewer.in_film(viewer.on_screen("S")) == pytest.approx(before[0], abs=0.05)
    viewer.control("y")
    assert viewer.in_film(viewer.on_screen("S")) == pytest.approx(before[0] + [2, -9], abs=0.05)
    assert "not in a file yet" in viewer.text("state")


def test_escape_puts_a_dragged_point_back_and_a_click_moves_nothing(viewer: Viewer) -> None:
    viewer.open("006")
    before = viewer.on_screen("ANS")
    viewer.move_to("ANS").click_and_hold().move_by_offset(40, 40).send_keys(Keys.ESCAPE).move_by_offset(20, 0).release().perform()
    assert viewer.on_screen("ANS") == pytest.approx(before, abs=0.01)
    viewer.move_to("ANS").click_and_hold().move_by_offset(2, 1).release().perform()
    assert viewer.on_screen("ANS") == pytest.approx(before, abs=0.01)
    assert viewer.text("state") == "nothing corrected or reviewed yet"


def test_corrections_outlive_a_reload_and_come_back_from_a_file(viewer: Viewer) -> None:
    viewer.open("006")
    dropped = viewer.drag("Go", (25, 12))
    assert viewer.warns_on_leaving()
    viewer.reload()
    assert "1 corrected, 0 reviewed of 5 · 1 not in a file yet (kept in this browser)" in viewer.text("state")
    assert viewer.in_film(viewer.on_screen("Go")) == pytest.approx(dropped, abs=0.5)
    viewer.press(Keys.ARROW_RIGHT, "m")
    file = viewer.save()
    assert not viewer.warns_on_leaving()
    table = pd.read_csv(file, dtype=str)
    assert len(table) == 2 and viewer.run("return localStorage.length") == 1

    viewer.run("localStorage.clear()")
    viewer.reload()
    assert viewer.text("state") == "nothing corrected or reviewed yet"
    # As a spreadsheet writes it: semicolons and decimal commas; one row names no film, one a point beside the film.
    table.loc[2] = table.loc[0]
    table.loc[2, ["id", "image"]] = ["elsewhere", "/nowhere/elsewhere.png"]
    table.loc[3] = table.loc[0]
    table.loc[3, ["id", "image", "S_x"]] = ["009", "", "90000"]
    numbers = [column for column in table if column.endswith(("_x", "_y"))]
    table[numbers] = table[numbers].apply(lambda column: column.str.replace(".", ","))
    foreign = file.with_name("mine.csv")
    foreign.write_text("\ufeff" + table.to_csv(index=False, sep=";"), encoding="utf-8")
    viewer.load(foreign)
    assert "2 films taken from mine.csv" in viewer.text("said")
    assert "line 4: elsewhere is no film of this run" in viewer.text("said")
    assert "line 5: 009 has a point that is no pair of numbers within the film" in viewer.text("said")
    assert viewer.text("state") == "1 corrected, 1 reviewed of 5 · all in mine.csv"
    viewer.open("006")
    assert viewer.in_film(viewer.on_screen("Go")) == pytest.approx(dropped, abs=0.5)
    viewer.click("discard")
    assert "1 not in a file yet" in viewer.text("state")


def test_a_browser_that_keeps_nothing_is_told(viewer: Viewer) -> None:
    viewer.open("006")
    viewer.run("Storage.prototype.setItem = () => { throw new Error('full') }")
    viewer.press("m")
    assert "1 not in a file yet (this browser keeps nothing: save before you leave)" in viewer.text("state")
    viewer.control("s")
    wait(lambda: list(viewer.downloads.glob("*.csv")))
    assert viewer.text("state") == "0 corrected, 1 reviewed of 5 · all in corrections-drawn.csv"


def test_a_prediction_can_be_corrected_instead(viewer: Viewer) -> None:
    viewer.open("006")
    viewer.choose("model", "baseline")
    viewer.choose("correct", "prediction")
    dropped = viewer.drag("Or", (14, 22))
    file = viewer.save()
    found = read_back(file)["006"].landmarks_px
    predicted = next(film["points"]["baseline"] for film in shown(viewer.page)["films"] if film["id"] == "006")
    assert found[2] == pytest.approx(dropped, abs=0.5)
    np.testing.assert_allclose(np.delete(found, 2, axis=0), np.delete(np.array(predicted), 2, axis=0), atol=0.01)
    assert pd.read_csv(file)["review"].iloc[0] == "started from the prediction of baseline; moved Or"
    viewer.run("localStorage.clear()")
    viewer.open("006")
    viewer.load(file)
    assert "corrections start from the prediction of baseline" in viewer.text("facts")


def test_films_are_sorted_filtered_and_paged(viewer: Viewer) -> None:
    viewer.open()
    errors = {film["id"]: error_mm(film) for film in shown(viewer.page)["films"]}
    by_mean = sorted(errors, key=lambda film: -np.nanmean(errors[film]))
    assert viewer.films() == by_mean and viewer.text("film-name") == by_mean[0]
    assert f"{np.nanmean(errors[by_mean[0]]):.2f} mm" in viewer.text("facts")
    viewer.choose("sort", "worst")
    assert viewer.films() == sorted(errors, key=lambda film: -np.nanmax(errors[film]))
    viewer.choose("sort", "name")
    assert viewer.films() == sorted(errors)
    viewer.choose("landmark", str(ISBI19.symbols.index("LL")))
    of_landmark = {film: error[ISBI19.symbols.index("LL")] for film, error in errors.items()}
    assert viewer.films() == sorted(errors, key=lambda film: -np.nan_to_num(of_landmark[film], nan=-1))
    assert [handle.is_displayed() for handle in viewer.browser.find_elements(By.CSS_SELECTOR, ".handle")].count(True) == 1
    viewer.choose("landmark", "-1")
    viewer.choose("role", "test")
    assert len(viewer.films()) == 5
    viewer.browser.find_element(By.ID, "search").send_keys("08")
    assert viewer.films() == ["008"]
    viewer.browser.find_element(By.ID, "search").send_keys(Keys.BACKSPACE * 2)
    viewer.choose("sort", "name")
    viewer.run("document.activeElement.blur()")
    viewer.press(Keys.ARROW_LEFT * 4, Keys.ARROW_RIGHT)
    assert viewer.text("film-name") == "006" and viewer.run("return location.hash") == "#film=006"
    assert viewer.text("position") == "2 of 5"
    viewer.run("location.hash = '#film=008'")
    wait(lambda: viewer.text("film-name") == "008")
    viewer.click("by-error")
    column = [cell.text for cell in viewer.browser.find_elements(By.CSS_SELECTOR, "#landmark-table tbody td:nth-child(2)")]
    known = [float(cell) for cell in column if cell != "–"]
    assert known == sorted(known, reverse=True) and len(known) > 10
    viewer.choose("only", "done")
    assert viewer.films() == [] and "No film is left" in viewer.text("none")


def test_a_list_keeps_its_order_while_films_are_corrected(viewer: Viewer) -> None:
    viewer.open()
    viewer.choose("only", "todo")
    order = viewer.films()
    viewer.drag("Po", (-120, 40))
    viewer.press("m")
    assert viewer.films() == order and viewer.text("position") == "1 of 5"
    viewer.press(Keys.ESCAPE, Keys.ARROW_RIGHT)
    assert viewer.text("film-name") == order[1]
    viewer.choose("only", "done")
    assert viewer.films() == order[:1]


def error_mm(film: dict[str, Any]) -> np.ndarray:
    pairs = zip(film["points"]["ensemble"], film["reference"], strict=True)
    return np.array([np.nan if true is None else np.hypot(*(np.subtract(point, true) * film["spacing_mm"])) for point, true in pairs])


def test_only_the_film_in_sight_and_its_neighbours_are_read(viewer: Viewer) -> None:
    viewer.open("006")
    names = viewer.films()
    place = names.index("006")
    pictures = {film["id"]: film["picture"] for film in shown(viewer.page)["films"]}
    time.sleep(0.5)
    asked = [json.loads(entry["message"])["message"] for entry in viewer.browser.get_log("performance")]
    urls = [each["params"]["request"]["url"] for each in asked if each["method"] == "Network.requestWillBeSent"]
    assert all(url.startswith(("file:", "data:", "about:")) for url in urls)
    read = {"viewer/" + url.rsplit("/", 1)[1] for url in urls if url.endswith(".jpg")}
    assert read == {pictures[name] for name in names[max(0, place - 1) : place + 2]}


def test_window_level_and_layers_change_what_is_seen(viewer: Viewer) -> None:
    viewer.open("006")

    def seen() -> np.ndarray:
        time.sleep(0.3)
        picture = cv2.imdecode(np.frombuffer(viewer.browser.get_screenshot_as_png(), np.uint8), cv2.IMREAD_GRAYSCALE)
        box = viewer.run(
            "const box = document.getElementById('stage').getBoundingClientRect(); return [box.left, box.top, box.width, box.height]"
        )
        x, y, width, height = np.rint(box).astype(int)
        return picture[y + height // 4 : y + height // 3, x + width // 3 : x + 2 * width // 3].astype(float)

    viewer.press("rpl")
    plain = seen()
    viewer.press("i")
    assert np.abs(seen() - (255 - plain)).mean() < 2
    viewer.press("i")
    ActionChains(viewer.browser).move_to_element(viewer.browser.find_element(By.ID, "stage")).key_down(
        Keys.SHIFT
    ).click_and_hold().move_by_offset(-155, 30).release().key_up(Keys.SHIFT).perform()
    assert viewer.run("return [document.getElementById('window').value, document.getElementById('level').value]") == ["100", "158"]
    assert np.abs(seen() - np.clip((plain - 108) * 2.55, 0, 255)).mean() < 3
    viewer.press("w")
    assert np.abs(seen() - plain).mean() < 0.5
    before = viewer.in_film(np.array([600.0, 500.0]))
    viewer.press("++")
    assert np.abs(seen() - plain).mean() > 2
    viewer.press("0")
    assert viewer.in_film(np.array([600.0, 500.0])) == pytest.approx(before, abs=0.1)


def test_the_wheel_zooms_where_the_cursor_is(viewer: Viewer) -> None:
    viewer.open("006")
    at = np.rint(viewer.on_screen("Me"))
    before = viewer.in_film(at)
    wheel = {"type": "mouseWheel", "x": int(at[0]), "y": int(at[1]), "deltaX": 0, "deltaY": -400}
    viewer.browser.execute_cdp_cmd("Input.dispatchMouseEvent", wheel)
    assert viewer.in_film(at) == pytest.approx(before, abs=0.2)
    assert viewer.in_film(at + 100)[0] - viewer.in_film(at)[0] < 250


@pytest.mark.parametrize("film", HOSTILE)
def test_films_of_any_name_open_and_are_saved(viewer: Viewer, tmp_path: Path, film: str) -> None:
    viewer.page = build(draw_hostile_run(tmp_path).path, progress=silent)
    viewer.open()
    button = next(each for each in viewer.browser.find_elements(By.CSS_SELECTOR, "#list button") if each.get_attribute("data-film") == film)
    button.click()
    assert viewer.text("film-name") == film
    viewer.reload()
    assert viewer.text("film-name") == film, "its own link opens it"
    viewer.press("m")
    assert read_back(viewer.save()).keys() == {film}


def test_what_is_missing_is_said(viewer: Viewer, tmp_path: Path) -> None:
    run = draw_tested_run(tmp_path)
    loaded = records.load(run.path)
    Path(loaded.splits["image"].iloc[-1]).unlink()
    models = loaded.predictions["model"]
    records.write_predictions(run, loaded.predictions[(models != "ensemble") | (loaded.predictions["film"] == "005")])
    viewer.page = build(run.path, progress=silent)
    viewer.open("009")
    assert "not found" in viewer.text("no-picture")
    assert "best single (ensemble has no points here)" in viewer.text("facts")
    assert "no picture" in viewer.text("list")
    viewer.run("location.hash = '#film=nobody'")
    wait(lambda: "No film here is called nobody" in viewer.text("said"))
    viewer.page = build(draw_run(tmp_path / "other", trials=1, promoted=False, finished=False).path)
    viewer.open()
    assert "No film to show yet" in viewer.browser.find_element(By.TAG_NAME, "main").text


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_everybody_can_use_it(viewer: Viewer, colours: str) -> None:
    viewer.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": colours}]})
    assert problems_of(viewer.browser) == []


def test_a_phone_shows_the_film_and_a_finger_moves_a_point(viewer: Viewer) -> None:
    browser = viewer.browser
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True})
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        viewer.open("006")
        assert viewer.run("return document.documentElement.scrollWidth") <= 390
        assert not browser.find_element(By.ID, "list").is_displayed()
        viewer.click("fold-films")
        assert browser.find_element(By.ID, "list").is_displayed()
        viewer.run("document.getElementById('frame').scrollIntoView()")
        start = viewer.on_screen("S")

        def touch(kind: str, *points: np.ndarray) -> None:
            touched = [{"x": float(x), "y": float(y), "id": number} for number, (x, y) in enumerate(points)]
            browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})

        held = start + np.array([9, 12])  # from beside, so that the finger does not cover it
        touch("touchStart", held)
        for part in (0.3, 0.6, 1.0):
            touch("touchMove", held + np.array([40, -20]) * part)
        touch("touchEnd")
        assert viewer.on_screen("S") == pytest.approx(start + np.array([40, -20]), abs=1)
        across = viewer.in_film(np.array([200.0, 0.0]))[0] - viewer.in_film(np.array([100.0, 0.0]))[0]
        middle, apart = start + np.array([60, 120]), np.array([30, 0])
        touch("touchStart", middle - apart, middle + apart)
        touch("touchMove", middle - 2 * apart, middle + 2 * apart)
        touch("touchEnd")
        near = viewer.in_film(np.array([200.0, 0.0]))[0] - viewer.in_film(np.array([100.0, 0.0]))[0]
        assert near == pytest.approx(across / 2, rel=0.05)
    finally:
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
