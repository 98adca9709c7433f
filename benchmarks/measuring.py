"""What every benchmark shares: contestants that take turns, medians with quartiles, one JSON file and one place in docs/performance.md.

Machines are shared and have slow minutes, so that only what ran in turn is compared, pair by pair, and medians are quoted.
"""

import argparse
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
STATE = ROOT / ".state"
"""Where long measurements keep what they have, ignored by git."""

sys.path.insert(0, str(ROOT))  # a script's own folder is there already; what it shares with the tests lies in the root

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]
"""Rows by title; the keys of a row are its columns."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of n figures."""

    median: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{_short(self.median)} [{_short(self.low)}, {_short(self.high)}]"


def spread(figures: Sequence[float]) -> Spread:
    """Median and quartiles."""
    low, _, high = quantiles(figures, n=4, method="inclusive") if len(figures) > 1 else (figures[0],) * 3
    return Spread(median(figures), low, high, len(figures))


def in_turn(contestants: Mapping[str, Callable[[], float]], rounds: int, warmup: int = 1) -> dict[str, list[float]]:
    """Call every contestant once a round, the order turned round each time; their figures by name, warm-up rounds left out."""
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(-warmup, rounds):
        names = list(contestants)
        for name in names if number % 2 == 0 else reversed(names):
            figure = contestants[name]()
            if number >= 0:
                figures[name].append(figure)
        _say(f"round {max(number + 1, 0)}/{rounds}: " + ", ".join(f"{name} {_short(each[-1])}" for name, each in figures.items() if each))
    return figures


def ratio(ours: Sequence[float], others: Sequence[float]) -> Spread:
    """Pair by pair, ours over theirs."""
    return spread([one / other for one, other in zip(ours, others, strict=True)])


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    found: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "timm", "ray", "onnxruntime", "opencv-python-headless")},
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(
        description=(description or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="the same path in seconds: shows that it runs, its figures mean nothing and are not kept"
    )
    return parser


def publish(name: str, tables: Tables, quick: bool, page: Path = PAGE) -> None:
    """Print the tables; unless quick, keep them as benchmarks/results/NAME.json and in the page's place for them."""
    text = "\n".join(f"{title}\n\n{_markdown(rows)}" for title, rows in tables.items())
    print(text)
    if quick:
        return
    given = ["DIR" if Path(argument).is_absolute() else argument for argument in sys.argv[1:]]
    command = "python " + shlex.join([str(Path(sys.argv[0]).resolve().relative_to(ROOT)), *given])
    plain = {title: [{key: _plain(value) for key, value in row.items()} for row in rows] for title, rows in tables.items()}
    RESULTS.mkdir(exist_ok=True)
    told = {"command": command, "date": time.strftime("%Y-%m-%d"), "machine": machine(), "tables": plain}
    (RESULTS / f"{name}.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _into_page(page, name, f"`{command}`\n\n{text}")


def _into_page(path: Path, name: str, text: str) -> None:
    """Replace what stands between the page's marks of this name."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    if begin not in page:
        page += f"\n{begin}\n{end}\n"
    before, rest = page.split(begin)
    _, after = rest.split(end)
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def _markdown(rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    lines += ["| " + " | ".join(_cell(row.get(key, "")) for key in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return _short(value) if isinstance(value, float) else str(value)


def _short(value: float) -> str:
    """Three digits that count."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _plain(value: Any) -> Any:
    return {"median": value.median, "low": value.low, "high": value.high, "n": value.n} if isinstance(value, Spread) else value


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
