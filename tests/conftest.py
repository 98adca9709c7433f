"""Every test: one thread a library, a cache folder of its own, no look-ups on the network."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """No test but those of the GPU sees one: what is promised to the last bit is promised of the CPU."""
    if config.getoption("markexpr") != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Films that tests cache never land in the user's cache; one folder a session, so that drawn films are drawn once."""
    monkeypatch.setenv("CEPH_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def real_films() -> Path:
    """The folder of real films, or a skip that says so."""
    root = os.environ.get("CEPH_DATA_ROOT")
    if not root:
        pytest.skip("CEPH_DATA_ROOT is unset: no real films")
    return Path(root)
