"""The built site: no broken link, nothing fetched from elsewhere, every picture with words for those who do not see it."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from tests.docs.blocks import PAGES, ROOT

pytestmark = pytest.mark.slow
pytest.importorskip("myst_parser", reason="the site needs `pip install -e '.[docs]'`")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", folder / "doctrees", ROOT / "docs", folder / "html"]
    built = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder / "html"


class Page(HTMLParser):
    """What a built page links to, loads, and calls its parts."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.without_words: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") not in ("canonical", "author"):
            self.loads.append(given["href"])
        if tag in ("img", "script", "iframe", "source") and "src" in given:
            self.loads.append(given["src"])
        if tag == "img" and not given.get("alt"):
            self.without_words.append(given["src"])


def test_links_and_assets(site: Path) -> None:
    pages = {file: Page(file) for file in site.glob("*.html")}
    assert {f"{page.stem}.html" for page in PAGES} <= {file.name for file in pages}
    wrong = []
    for file, page in pages.items():
        wrong += [f"{file.name}: loads {url} from elsewhere" for url in page.loads if "://" in url or url.startswith("//")]
        wrong += [f"{file.name}: {picture} has no words" for picture in page.without_words]
        for url in [*page.links, *page.loads]:
            path, part = urldefrag(unquote(url))
            if "://" in url or url.startswith(("mailto:", "//", "data:")):
                continue
            target = (file.parent / path.partition("?")[0]).resolve() if path else file
            if not target.exists():
                wrong.append(f"{file.name}: {url} leads nowhere")
            elif part and target in pages and part not in pages[target].ids:
                wrong.append(f"{file.name}: {url}: no such place")
    assert not wrong, "\n".join(wrong)


def test_style_sheets_fetch_nothing(site: Path) -> None:
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert "url(http" not in text and "url(//" not in text and "@import" not in text, sheet
