from pathlib import Path

import pytest

from ceph_core.data.phantom import write


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a few drawn films."""
    folder = tmp_path_factory.mktemp("films")
    write(folder, seed=0, num_train=12, num_test=6)
    return folder
