"""One trained network on disk: `config.json` says how it reads a film, `weights.safetensors` holds what it learned."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ceph_core import models
from ceph_core.codec import HeatmapCodec, codec_for
from ceph_core.config import Config, Frozen, problems_of
from ceph_core.errors import InputError
from ceph_core.geometry import Canvas
from ceph_core.inference.fold import folded
from ceph_core.inference.half import half_for

CONFIG_FILE, WEIGHTS_FILE = "config.json", "weights.safetensors"


class MemberCard(Frozen):
    """What `config.json` of a member holds."""

    config: Config = Field(description="the training's whole configuration")
    num_landmarks: int = Field(ge=1, description="maps the network answers with")
    canvas: tuple[int, int] = Field(description="(height, width) of the input, px")
    close: tuple[int, int] | None = Field(
        None, description="(height, width) of the larger canvas that the windows of a second pass are cut from, px; none: one pass"
    )
    trial: str = Field("", description="trial the weights come from")
    epoch: int = Field(0, ge=0, description="epochs trained")


@dataclass(frozen=True, eq=False)
class Member:
    """A network ready to read films: in evaluation mode, on its device.

    Attributes:
        canvas: what it reads.
        close: the larger canvas that the windows of its second pass are cut from; None: it reads a film once.
        net: as trained; `fast` is what reads films.
    """

    config: Config
    canvas: Canvas
    net: nn.Module
    codec: HeatmapCodec
    num_landmarks: int
    device: torch.device
    trial: str = ""
    epoch: int = 0
    close: Canvas | None = None

    @property
    def canvases(self) -> tuple[Canvas, ...]:
        """All that a film must be shown on for it."""
        return (self.canvas,) if self.close is None else (self.canvas, self.close)

    @cached_property
    def fast(self) -> nn.Module:
        """The network with its batch norms folded away."""
        return folded(self.net, torch.zeros(1, 1, self.canvas.height, self.canvas.width, device=self.device))

    @cached_property
    def half(self) -> torch.dtype | None:
        """What `fast` computes in beside float32 without moving a point; None: nothing."""
        return half_for(self.fast, self.codec, self.canvas, self.device)


def make_member(
    config: Config,
    canvas: Canvas,
    net: nn.Module,
    num_landmarks: int,
    device: torch.device | str = "cpu",
    trial: str = "",
    epoch: int = 0,
    close: Canvas | None = None,
) -> Member:
    """A member of a network already in memory; moves it to the device and into evaluation mode."""
    ready = net.to(device=device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
    return Member(
        config, canvas, ready, codec_for(config, config.data.image_size), num_landmarks, torch.device(device), trial, epoch, close
    )


def save_member(
    folder: Path,
    config: Config,
    canvas: Canvas,
    state_dict: Mapping[str, Tensor],
    num_landmarks: int,
    trial: str = "",
    epoch: int = 0,
    close: Canvas | None = None,
) -> None:
    """Write a member folder whole or not at all; an older one of this name is replaced."""
    card = MemberCard(
        config=config, num_landmarks=num_landmarks, canvas=(canvas.height, canvas.width),
        close=None if close is None else (close.height, close.width), trial=trial, epoch=epoch,
    )  # fmt: skip
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        fresh.chmod(0o755)  # mkdtemp's 0700 would lock colleagues out of a shared result
        (fresh / CONFIG_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        save_file({name: value.detach().cpu().contiguous() for name, value in state_dict.items()}, str(fresh / WEIGHTS_FILE))
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
            folder.replace(old / folder.name)
            fresh.replace(folder)
            shutil.rmtree(old)
        else:
            fresh.replace(folder)
    finally:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(fresh)


def read_card(folder: Path) -> MemberCard:
    """`config.json` of a member folder.

    Raises:
        InputError: the file is missing, no JSON, or does not fit the schema.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise InputError(
            f"{folder}: no {CONFIG_FILE}; give an ensemble folder (manifest.json) or a member folder ({CONFIG_FILE}, {WEIGHTS_FILE})"
        )
    try:
        return MemberCard.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise InputError(problems_of(error, str(path))) from error


def load_member(folder: Path, device: torch.device | str = "cpu") -> Member:
    """The member of a folder, on the device.

    Raises:
        InputError: files are missing or damaged, or weights and configuration disagree.
    """
    card = read_card(folder)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise InputError(f"{folder}: no {WEIGHTS_FILE} beside {CONFIG_FILE}; copy the whole member folder")
    try:
        weights = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error}); copy the file again") from error
    # The weights are all here: ImageNet's must not be fetched first.
    net = models.build(card.config.model.model_copy(update={"pretrained": False}), card.num_landmarks)
    own = net.state_dict()
    wrong = [name for name, value in own.items() if name not in weights or weights[name].shape != value.shape]
    if wrong or len(weights) != len(own):
        first = f", first {wrong[0]}" if wrong else ""
        raise InputError(
            f"{path}: does not fit {CONFIG_FILE} ({card.config.model.name}, {card.num_landmarks} landmarks): "
            f"{len(wrong)} of {len(own)} tensors are missing or of another shape{first}; take both files from one export"
        )
    net.load_state_dict(weights)
    close = None if card.close is None else Canvas(*card.close)
    return make_member(card.config, Canvas(*card.canvas), net, card.num_landmarks, device, card.trial, card.epoch, close)


def is_member(folder: Path) -> bool:
    """Whether the folder looks like a member's."""
    try:
        return "num_landmarks" in json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
