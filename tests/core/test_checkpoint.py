"""State on disk: whole or not at all, and read without running code."""

import os
import pickle
import threading
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


def test_a_state_is_kept_as_it_was_when_it_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training goes on, and writes into the same tensors, before the state is on the disk."""
    weight, moments = torch.zeros(100), [torch.zeros(3)]
    trained_on = threading.Event()
    write = checkpoint.save

    def late(folder: Path, state: dict[str, Any]) -> Path:
        assert trained_on.wait(10)
        return write(folder, state)

    monkeypatch.setattr(checkpoint, "save", late)
    saver = checkpoint.Saver(tmp_path)
    saver.save({"epoch": 1, "net": {"weight": weight}, "moments": moments})
    weight += 1
    moments[0] += 1
    trained_on.set()
    saver.close()
    loaded = checkpoint.load(tmp_path)
    assert loaded["epoch"] == 1 and not loaded["net"]["weight"].any() and not loaded["moments"][0].any()


def test_states_are_written_in_order_one_at_a_time(tmp_path: Path) -> None:
    saver = checkpoint.Saver(tmp_path)
    for epoch in range(5):
        saver.save({"epoch": epoch, "net": torch.full((1000,), float(epoch))})
        if epoch:
            assert checkpoint.load(tmp_path)["epoch"] in (epoch - 1, epoch)
    saver.close()
    assert checkpoint.load(tmp_path)["epoch"] == 4
    assert names(tmp_path) == [checkpoint.STATE_FILE]


def test_a_background_failure_is_raised_by_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    saver = checkpoint.Saver(tmp_path)
    with monkeypatch.context() as now:
        now.setattr(torch, "save", full)
        saver.save(STATE)
        with pytest.raises(OSError, match="no space left"):
            saver.wait()
    saver.save(STATE)
    saver.close()
    assert checkpoint.load(tmp_path)["epoch"] == 3


def test_a_save_is_due_by_the_clock_and_by_what_a_save_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("ceph_core.training.checkpoint.time.monotonic", lambda: now)
    saver = checkpoint.Saver(tmp_path)
    assert not saver.is_due
    now = checkpoint.SAVE_INTERVAL_S + 1
    assert saver.is_due

    def slow(*_: Any) -> None:
        nonlocal now
        now += 3.0

    monkeypatch.setattr(checkpoint, "save", slow)
    saver.save(STATE)
    saver.wait()
    now += 3.0 * checkpoint.SAVE_SHARE - 4
    assert not saver.is_due
    now += 2
    assert saver.is_due
    saver.close()
