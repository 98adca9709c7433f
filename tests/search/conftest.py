"""A real browser for the pages that a run leaves."""

import os
import shutil
from collections.abc import Iterator
from importlib.resources import files

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webdriver import WebDriver


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
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(options=options, service=Service(driver, log_output=os.devnull))
    yield session
    session.quit()
