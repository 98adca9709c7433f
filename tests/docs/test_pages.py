"""What the pages say holds: their commands run in the order they stand in, their space files load, their links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ceph_core.config.profiles import PROFILES
from search.space import load
from tests.docs.blocks import PAGES, ROOT, Step, file_after, is_said, steps_of

STEPS = {page.stem: steps_of(page) for page in PAGES}
WITH_COMMANDS = [name for name, steps in STEPS.items() if any(step.kind == "sh" and not step.not_run for step in steps)]
BESIDE = ("run_search.py", "spaces", "ceph_core", "search", "docs")
"""What a reader has in the folder where commands are typed."""
PATIENCE_S = 900


def test_the_pages_that_show_commands_are_run() -> None:
    assert {"first_search", "data", "report", "ensemble", "space"} <= set(WITH_COMMANDS)
    shown = [step for steps in STEPS.values() for step in steps if step.kind == "sh"]
    assert len([step for step in shown if not step.not_run]) > len(shown) / 2


@pytest.mark.parametrize("name", [name for name, steps in STEPS.items() if any(step.kind == "yaml" for step in steps)])
def test_space_files_load_at_every_step(name: str, tmp_path: Path) -> None:
    files: dict[str, Any] = {}
    for step in STEPS[name]:
        if step.kind == "yaml":
            assert step.file, f"{name}.md:{step.line}: a yaml block says which file it is"
            write(step, tmp_path, files)
            for profile in PROFILES:
                space = load(tmp_path / step.file, profile)
                assert not space.warnings, f"{name}.md:{step.line}"


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S + 60)
@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_commands(name: str, tmp_path: Path) -> None:
    if name == "these_pages":
        pytest.importorskip("myst_parser", reason="the site needs `pip install -e '.[docs]'`")
    for file in BESIDE:
        (tmp_path / file).symlink_to(ROOT / file)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "README.md").write_text((ROOT / "results" / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    files: dict[str, Any] = {}
    for step in STEPS[name]:
        where = f"{name}.md:{step.line}"
        if step.kind == "yaml":
            write(step, tmp_path, files)
            continue
        if step.not_run:
            print(f"{where}: not run: {step.not_run}")
            continue
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", step.text],
            cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert ran.returncode == step.exit_code, f"{where}: {step.text}\n{ran.stdout}"
        for pattern in step.leaves:
            assert list(tmp_path.glob(pattern)), f"{where}: leaves no {pattern}\n{ran.stdout}"
        for line in step.says:
            assert is_said(line, ran.stdout), f"{where}: does not say {line!r} but\n{ran.stdout}"


def write(step: Step, folder: Path, files: dict[str, Any]) -> None:
    """The file that a yaml block makes or changes."""
    files[step.file] = file_after(step, files.get(step.file))
    (folder / step.file).write_text(yaml.safe_dump(files[step.file], sort_keys=False, allow_unicode=True), encoding="utf-8")


def test_a_quoted_line_is_found_whatever_its_numbers_are() -> None:
    output = "t0000 epoch 1: 38.20 mm, SDR@2 1 % (2.1 s, 128 px)\n  ok   data\n       films"
    assert is_said("t0000 epoch 1: 40.57 mm, SDR@2 0 % (2.3 s, 128 px)", output)
    assert is_said("ok … films", output)
    assert not is_said("t0000 epoch 1: 40.57 px", output)
    assert not is_said("films … ok", output)


@pytest.mark.parametrize("comment", ["<!-- leave: a.txt -->", "<!-- not run: -->", "<!-- leaves: a -->"])
def test_a_comment_that_means_nothing_is_an_error(comment: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{'' if 'leaves' in comment else '```sh' + chr(10) + 'true' + chr(10) + '```' + chr(10)}{comment}\n")
    with pytest.raises(ValueError, match=r"page\.md:"):
        steps_of(page)


@pytest.mark.parametrize("file", ["README.md", "results/README.md"])
def test_links_of_pages_outside_the_site(file: str) -> None:
    """The site's own are checked when it is built."""
    text = (ROOT / file).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert targets or file == "results/README.md"
    for target in targets:
        path, _, heading = target.partition("#")
        if "://" in target:
            continue
        page = (ROOT / file).parent / path if path else ROOT / file
        assert page.exists(), f"{file}: {target} leads nowhere"
        assert not heading or heading in headings(page), f"{file}: {target}: no such heading"


def headings(page: Path) -> set[str]:
    """As GitHub and MyST name them in links."""
    found = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in found}
