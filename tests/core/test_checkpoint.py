"""State on disk: whole or not at all, and read without running code."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from ceph_core.errors import InputError
from ceph_core.training import checkpoint


def names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


STATE = {"epoch": 3, "net": {"weight": torch.arange(1000.0)}}


def test_what_is_saved_is_loaded_from_file_or_folder(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "new" / "folder", STATE)
    for given in (path, path.parent):
        loaded = checkpoint.load(given)
        assert loaded["epoch"] == 3 and torch.equal(loaded["net"]["weight"], STATE["net"]["weight"])  # type: ignore[index]
    assert names(path.parent) == [checkpoint.STATE_FILE]


def test_a_save_that_fails_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, STATE)

    def torn(state: dict[str, Any], file: Any) -> None:
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="no space left"):
        checkpoint.save(tmp_path, {"epoch": 4})
    assert checkpoint.load(tmp_path)["epoch"] == 3
    assert names(tmp_path) == [checkpoint.STATE_FILE]


def test_what_a_killed_process_left_is_removed_and_never_read(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, STATE)
    (tmp_path / f".{checkpoint.STATE_FILE}.12345").write_bytes(b"half")
    assert checkpoint.load(tmp_path)["epoch"] == 3
    checkpoint.save(tmp_path, {"epoch": 4})
    assert names(tmp_path) == [checkpoint.STATE_FILE]


@pytest.mark.parametrize("kept", [0, 1, 100, 3000, -1])
def test_a_file_cut_short_is_named(tmp_path: Path, kept: int) -> None:
    path = checkpoint.save(tmp_path, STATE)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"state\.pt: cannot be read as a checkpoint"):
        checkpoint.load(tmp_path)


def test_what_is_no_state_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint"):
        checkpoint.load(tmp_path)
    path = tmp_path / checkpoint.STATE_FILE
    for foreign in ({"format": 99}, {}, torch.zeros(3)):
        torch.save(foreign, path)
        with pytest.raises(InputError, match=r"checkpoint format .*; this version reads"):
            checkpoint.load(tmp_path)


class Trap:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("sprung",)


def test_loading_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": checkpoint.FORMAT, "net": Trap()}, tmp_path / checkpoint.STATE_FILE, pickle_module=pickle)
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        checkpoint.load(tmp_path)
    assert not (tmp_path / "sprung").exists()
