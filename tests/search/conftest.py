"""A real browser for the pages that a run leaves."""

import os
import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webdriver import WebDriver


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    chrome, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if chrome is None or driver is None:
        pytest.skip(f"no browser: needs chromium or google-chrome (found {chrome}) and chromedriver (found {driver})")
    options = Options()
    options.binary_location = chrome
    quiet = ("background-networking", "component-update", "sync", "gpu", "quic", "dev-shm-usage")
    for flag in (
        "headless",
        "no-sandbox",
        "no-first-run",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
        *(f"disable-{q}" for q in quiet),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(options=options, service=Service(driver, log_output=os.devnull))
    yield session
    session.quit()
