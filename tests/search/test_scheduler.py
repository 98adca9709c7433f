"""How a trial died, as Tune tells it: of its own error, or with its worker."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray import cloudpickle
from ray.exceptions import ActorDiedError, ObjectLostError, RayTaskError

from search.tune.scheduler import JudgeScheduler


class Heard:
    """A judge that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, str]] = []

    def heard(self, trial: str, figures: dict[str, Any]) -> bool:
        return True

    def died(self, trial: str, text: str) -> None:
        self.said.append(("died", trial, text))

    def lost(self, trial: str, text: str) -> None:
        self.said.append(("lost", trial, text))


def _task_error(cause: Exception, text: str) -> Exception:
    return RayTaskError("train", text, cause).as_instanceof_cause()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (_task_error(ValueError("made to fail"), "Traceback\nValueError: made to fail"), "died"),
        (_task_error(torch.OutOfMemoryError("CUDA out of memory"), "Traceback\ntorch.OutOfMemoryError: CUDA out of memory"), "died"),
        (ActorDiedError(RayTaskError("init", "Traceback\nValueError: in its setup", ValueError("in its setup"))), "died"),
        (ActorDiedError(), "lost"),
        (_task_error(ObjectLostError("00", None, ""), "Traceback\nray.exceptions.ObjectLostError: Failed to retrieve"), "lost"),
        (None, "lost"),
    ],
    ids=["raised", "out of memory", "raised in its setup", "actor died", "data lost", "Ray said no more"],
)
def test_an_error_of_its_own_is_told_from_a_loss(tmp_path: Path, error: Exception | None, told: str):
    """As Tune leaves it: the text always, the error itself only where it came from the actor or its task."""
    text, pickled = tmp_path / "error.txt", tmp_path / "error.pkl"
    text.write_text(f"Failure # 1\n{error}\n")
    if error is not None:
        pickled.write_bytes(cloudpickle.dumps(error))
    trial = SimpleNamespace(
        error_file=str(text), pickled_error_file=str(pickled) if error is not None else None, config={"order": {"trial": "t0003"}}
    )
    judge = Heard()
    JudgeScheduler(judge).on_trial_error(None, trial)
    assert judge.said == [(told, "t0003", text.read_text())]
