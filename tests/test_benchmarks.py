"""Every benchmark runs: its short form goes the whole path, prints a table and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = sorted(
    path.name for path in (ROOT / "benchmarks").glob("*.py") if "publish(" in path.read_text() and path.name != "measuring.py"
)


def kept() -> dict[str, bytes]:
    """What a benchmark writes when it is not quick."""
    return {str(path): path.read_bytes() for path in [*(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks" / "results").iterdir()]}


def test_there_is_one_for_all_that_the_page_promises() -> None:
    page = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    for name in BENCHMARKS:
        mark = name.removesuffix(".py")
        assert f"<!-- {mark} -->" in page or f'publish("{mark}' not in (ROOT / "benchmarks" / name).read_text(), f"{name}: no table"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BENCHMARKS)
def test_its_short_form_runs(name: str) -> None:
    before = kept()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, f"benchmarks/{name}", "--quick"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "| --- |" in done.stdout
    assert kept() == before
