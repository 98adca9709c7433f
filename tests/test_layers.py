"""A module imports only from rows above its own, or from its own row: DESIGN's table, held by parsing every import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ROWS = (
    ("ceph_core", "ceph_core.config", "ceph_core.landmarks", "ceph_core.errors", "ceph_core.duration"),
    (
        "ceph_core.geometry",
        "ceph_core.decoding",
        "ceph_core.codec",
        "ceph_core.closeup",
        "ceph_core.metrics",
        "ceph_core.measurements",
        "ceph_core.losses",
        "ceph_core.models",
        "ceph_core.procrustes",
        "ceph_core.shape_model",
        "ceph_core.distance_limits",
    ),
    ("ceph_core.transforms", "ceph_core.elastic", "ceph_core.shading", "ceph_core.data"),
    ("ceph_core.training",),
    (
        "ceph_core.inference",
        "ceph_core.run_plan",
        "ceph_core.single_run",
        "ceph_core.options",
        "ceph_core.check",
        "ceph_core.commands",
        "ceph_core.__main__",
    ),
    ("search", "search.space", "search.records", "search.history"),
    (
        "search.sampler",
        "search.question",
        "search.warm_start",
        "search.process",
        "search.forecast",
        "search.levels",
        "search.curve_model",
        "search.candidates",
        "search.verdict",
        "search.duration_model",
        "search.study",
        "search.told",
        "search.boundary",
        "search.cube",
        "search.prior",
        "search.rungs",
        "search.cost",
        "search.room",
        "search.retries",
        "search.memory_model",
        "search.packing",
    ),
    ("search.standings", "search.pace", "search.policy", "search.prometheus", "search.overlays", "search.spending", "search.replay"),
    ("search.tune",),
    (
        "search.promotion",
        "search.confirm",
        "search.disk",
        "search.hparams",
        "search.tensorboard",
        "search.live",
        "search.live_page",
        "search.watching",
        "search.dryrun",
        "search.film_tables",
        "search.ask_ahead",
        "search.bookkeeping",
        "search.execution",
        "search.exactness",
        "search.driver",
        "search.report",
        "search.viewer",
        "search.pages",
        "search.overview",
    ),
    ("run_search", "search.__main__", "search.commands", "search.ending"),
)
"""Modules and packages, the lowest row first; a package stands for all its modules, unless one has a row of its own."""

OWNERS = {
    "ray": ("search.tune",),
    "optuna": ("search.sampler", "search.study", "search.told"),
    "albumentations": ("ceph_core.transforms",),
    "tensorboardX": ("ceph_core.run_plan", "ceph_core.single_run", "search.tensorboard", "search.hparams"),
    "timm": ("ceph_core.models", "ceph_core.training.learner"),
    "plotly": ("search.report",),
    "onnx": ("ceph_core.inference.export",),
    "onnxruntime": ("ceph_core.inference.export", "ceph_core.inference.use_onnx"),
}
"""Packages of others that few modules may know."""

OWN = ("ceph_core", "search", "run_search")


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    files = [*(ROOT / "ceph_core").rglob("*.py"), *(ROOT / "search").rglob("*.py"), ROOT / "run_search.py"]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


MODULES = modules()


def imports(file: Path) -> set[str]:
    """Dotted names of all that a file imports, wherever in the file; `from a import b` gives a.b where that is a module."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{file}:{node.lineno}: relative import"
            found |= {name if (name := f"{node.module}.{alias.name}") in MODULES else node.module for alias in node.names}
    return found


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def row_of(module: str) -> int | None:
    """The row of a module: that of the longest name in the table it belongs to; bare top packages stand only for themselves."""
    named = {name: row for row, names in enumerate(ROWS) for name in names}
    fitting = [name for name in named if module == name or (is_within(module, name) and name not in OWN)]
    return named[max(fitting, key=len)] if fitting else None


def test_every_module_has_a_row() -> None:
    assert [module for module in MODULES if row_of(module) is None] == []


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_flow_one_way(module: str) -> None:
    row = row_of(module)
    assert row is not None
    upwards = {
        name: found
        for name in imports(MODULES[module])
        if name.split(".")[0] in OWN and (found := row_of(name)) is not None and found > row
    }
    assert not upwards, f"{module} (row {row + 1}) imports from below it: {upwards}"


@pytest.mark.parametrize("package", OWNERS)
def test_few_know_the_package(package: str) -> None:
    strangers = [
        module
        for module, file in MODULES.items()
        if any(is_within(name, package) for name in imports(file)) and not any(is_within(module, owner) for owner in OWNERS[package])
    ]
    assert strangers == []


def test_the_table_is_read_as_meant() -> None:
    assert row_of("ceph_core.config.train") == 0 and row_of("ceph_core.data.phantom.reader") == 2
    assert row_of("search.records.past") == 5 and row_of("search.tune.trial") == 8
    assert row_of("ceph_core.nowhere") is None and row_of("search.nowhere") is None
