"""How large a run's pages are and how long they take to open: report and film viewer of a drawn run of 100 trials and 300 test films.

python benchmarks/pages.py                (about 3 minutes on two cores; needs Chromium and chromedriver)
"""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import measuring
import numpy as np
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from ceph_core.data.imagefile import read_grey
from search import records, report, viewer
from tests.search.drawn_run import draw_run

FULL = (2400, 1932)
"""Films are shown at the size of scanned ones, height and width, with their noise: it decides what a picture takes."""

PAINTED = """
const done = arguments[0];
const picture = document.querySelector("#layer-film image");
const image = Object.assign(new Image(), { src: picture ? picture.href.baseVal : "data:," });
(picture ? image.decode() : Promise.resolve()).then(() => requestAnimationFrame(() => requestAnimationFrame(done)));
"""
"""Until the film in sight is decoded and two frames are drawn."""


def enlarged(path: Path) -> np.ndarray:
    """A drawn film at the size of a scanned one."""
    film = cv2.resize(read_grey(path), (FULL[1], FULL[0]), interpolation=cv2.INTER_LINEAR)
    noise = np.random.default_rng(int(path.stem)).integers(-6, 7, FULL, dtype=np.int16)
    return (film + noise).clip(0, 255).astype(np.uint8)


def start_browser() -> webdriver.Chrome | None:
    """Headless; None where there is none."""
    chrome, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if chrome is None or driver is None:
        return None
    options = Options()
    options.binary_location = chrome
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1400,1000"):
        options.add_argument(f"--{flag}")
    return webdriver.Chrome(options=options, service=Service(driver))


def opening_s(browser: webdriver.Chrome, page: Path) -> float:
    """From asking for a page to its first whole picture."""
    browser.get("about:blank")
    began = time.perf_counter()
    browser.get(page.as_uri())
    browser.execute_async_script(PAINTED)
    return time.perf_counter() - began


def megabytes(*paths: Path) -> float:
    """Of files."""
    return sum(path.stat().st_size for path in paths) / 1e6


def main() -> None:
    """Draw the run, write both pages twice, open them in turn."""
    args = measuring.arguments(__doc__).parse_args()
    films, trials, rounds = (6, 4, 2) if args.quick else (300, 100, 7)
    with tempfile.TemporaryDirectory() as folder:
        run = draw_run(Path(folder), trials=trials, films=2 * films)  # half of them are the test
        first_s = measuring.seconds(lambda: viewer.build(run.path, enlarged))
        again_s = measuring.seconds(lambda: viewer.build(run.path, enlarged))
        report_s = measuring.seconds(lambda: report.build(run.path))
        opened: dict[str, list[float]] = {}
        if (browser := start_browser()) is not None:
            try:
                pages = {"report.html": run.report_path, "viewer.html": run.viewer_path}
                opened = measuring.in_turn({name: lambda page=page: opening_s(browser, page) for name, page in pages.items()}, rounds)
            finally:
                browser.quit()
        rows = [_row(run, "report.html", report_s, "", opened), _row(run, "viewer.html", first_s, again_s, opened)]
    measuring.publish("pages", {f"{trials} trials, {films} test films": rows}, args.quick)


def _row(run: records.RunFolder, name: str, first_s: float, again_s: float | str, opened: dict[str, list[float]]) -> dict[str, Any]:
    pictures = list(run.pictures_dir.glob("*.jpg")) if name == "viewer.html" else []
    return {
        "page": name,
        "page, MB": megabytes(run.path / name),
        "pictures, MB": megabytes(*pictures) if pictures else "",
        "written first, s": first_s,
        "written again, s": again_s,
        "opened, s": measuring.spread(opened[name]) if opened else "no browser",
    }


if __name__ == "__main__":
    main()
