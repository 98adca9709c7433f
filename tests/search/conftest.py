"""A real browser for the pages that a run leaves."""

import json
import os
import shutil
from collections.abc import Iterator
from importlib.resources import files

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait


def problems_of(browser: WebDriver) -> list[str]:
    """What axe calls serious or critical on the page that is open, with the first place of each."""
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    browser.execute_script(axe)
    found = browser.execute_async_script("axe.run().then(arguments[0])")
    assert len(found["passes"]) > 5
    return [
        f"{each['impact']}: {each['id']}: {each['nodes'][0]['html'][:200]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


def visit(browser: WebDriver, address: str) -> None:
    """Open a page, also the one that is shown, and wait for all of it."""
    for each in ("about:blank", address):
        browser.get(each)
        _arrived(browser, f"document.readyState === 'complete' && location.href.startsWith({json.dumps(each)})")


def reload(browser: WebDriver) -> None:
    """Load the page anew, and wait for all of it."""
    browser.execute_script("window.isLeft = true")
    browser.refresh()
    _arrived(browser, "document.readyState === 'complete' && !window.isLeft")


def _arrived(browser: WebDriver, condition: str) -> None:
    between = [WebDriverException]  # two documents, where no script can run
    WebDriverWait(browser, 60, 0.05, ignored_exceptions=between).until(lambda shown: shown.execute_script(f"return {condition}"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    chrome, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if chrome is None or driver is None:
        pytest.skip(f"no browser: needs chromium or google-chrome (found {chrome}) and chromedriver (found {driver})")
    options = Options()
    options.binary_location = chrome
    quiet = ("background-networking", "component-update", "sync", "gpu", "quic", "dev-shm-usage", "software-rasterizer")
    awake = ("backgrounding-occluded-windows", "renderer-backgrounding", "background-timer-throttling")
    for flag in (
        "headless",
        "no-sandbox",
        "no-first-run",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
        *(f"disable-{name}" for name in (*quiet, *awake)),
    ):
        options.add_argument(f"--{flag}")
    options.page_load_strategy = "none"  # the driver takes a page that rewrites its own hash for one that never ends loading; see `visit`
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(options=options, service=Service(driver, log_output=os.devnull))
    session.set_script_timeout(120)  # s, for axe on a machine that is busy
    yield session
    session.quit()
