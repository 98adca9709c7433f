"""`manifest.json` of an ensemble folder: everything another program needs to use the model rightly."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from ceph_core import __version__
from ceph_core.config import Decoder, Frozen, problems_of
from ceph_core.errors import InputError
from ceph_core.inference.ensemble import Combination
from ceph_core.inference.member import Member
from ceph_core.inference.tta import Tta
from ceph_core.landmarks import Protocol

MANIFEST_FILE = "manifest.json"
FORMAT_VERSION = 1

FRAMES = {
    "points": "x then y, pixel centres on whole numbers: the first pixel spans -0.5 to 0.5",
    "original": "pixels of the film as decoded, EXIF rotation ignored; every answer is in this frame",
    "input": (
        "pixels of a member's canvas: the film scaled with its aspect kept (anti-aliased bilinear, rounded to whole grey values), "
        "centred, black border"
    ),
    "heatmap": "input = (heatmap + 0.5) * stride - 0.5",
}
SPACING = "never assumed: mm = original px * the film's mm per px, x and y apart, given by the user or the data set"


class ProtocolCard(Frozen):
    """Landmarks in the order of every array of points."""

    name: str = Field(description="protocol")
    symbols: tuple[str, ...] = Field(min_length=1, description="short names")
    names: tuple[str, ...] = Field(min_length=1, description="names in words")


class MemberEntry(Frozen):
    """One network of the ensemble and how its maps are decoded."""

    folder: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="folder beside the manifest")
    weight: float = Field(gt=0, description="share in the combination")
    trial: str = Field("", description="trial it comes from")
    epoch: int = Field(0, ge=0, description="epochs trained")
    training_films: tuple[str, ...] = Field((), description="ids of the films that this network learned from")
    model: str = Field(description="network")
    canvas: tuple[int, int] = Field(description="(height, width) of the input, px")
    stride: int = Field(description="input px per heatmap px")
    sigma_px: float = Field(gt=0, description="standard deviation of the target, input px; the decoder's reach follows it")
    loss: str = Field(description="heatmap loss; it implies the activation")
    decoder: Decoder = Field("log_parabola", description="how a peak is placed between pixels")
    decoder_window: float = Field(3.0, gt=0, description="distance at which soft_argmax's window has half its weight, in sigmas")

    def disagreements(self, member: Member, num_landmarks: int, where: str) -> list[str]:
        """Lines on whatever this entry says that the member's own folder does not."""
        codec = member.codec
        said = {"canvas": tuple(self.canvas), "stride": self.stride, "loss": self.loss, "decoder": self.decoder, "landmarks": num_landmarks}
        found = {
            "canvas": (member.canvas.height, member.canvas.width), "stride": codec.stride, "loss": codec.loss, "decoder": codec.decoder,
            "landmarks": member.num_landmarks,
        }  # fmt: skip
        return [
            f"{where}: {self.folder}: {key} {said[key]}, but its config.json says {found[key]}; take the whole folder from one export"
            for key in said
            if said[key] != found[key]
        ]


class Manifest(Frozen):
    """What an ensemble is, how it reads a film, where it comes from and how good it was found to be."""

    format_version: Literal[1] = Field(1, description="of this file")
    created: str = Field(description="UTC, ISO 8601")
    protocol: ProtocolCard
    frames: dict[str, str] = Field(description="the frames in words")
    spacing: str = Field(description="where mm come from")
    aspect: float = Field(gt=0, description="height over width that the canvases follow")
    combine: Combination = Field(description="how members are combined; heatmaps are averaged in the largest member's frame")
    members: tuple[MemberEntry, ...] = Field(min_length=1)
    tta: Tta = Field(
        default_factory=Tta, description="views that a predictor averages unless told otherwise; the ONNX file is one pass without"
    )
    data_fingerprint: str = Field("", description="digest of the data set")
    training_films: tuple[str, ...] = Field((), description="ids of the films that any member learned from or was chosen on")
    training_digests: tuple[str, ...] = Field((), description="content digests of those films, where known, in their order")
    figures: dict[str, Any] = Field(default_factory=dict, description="what was measured, by name")
    versions: dict[str, str] = Field(description="of what made it")


def make_manifest(
    members: Sequence[Member],
    weights: Sequence[float],
    combine: Combination,
    protocol: Protocol,
    aspect: float,
    data_fingerprint: str = "",
    training_films: Sequence[str] = (),
    training_digests: Sequence[str] = (),
    figures: dict[str, Any] | None = None,
    tta: Tta | None = None,
    member_films: Sequence[Sequence[str]] | None = None,
) -> Manifest:
    """The manifest of these members, in folders `member_0`, `member_1`, ...

    Args:
        training_films: that any member learned from or was chosen on.
        member_films: that each learned from; None: not known.
    """
    entries = tuple(
        MemberEntry(
            folder=f"member_{number}",
            weight=weight,
            trial=member.trial,
            epoch=member.epoch,
            training_films=tuple(films),
            model=member.config.model.name,
            canvas=(member.canvas.height, member.canvas.width),
            stride=member.codec.stride,
            sigma_px=member.codec.sigma_px,
            loss=member.codec.loss,
            decoder=member.codec.decoder,
            decoder_window=member.codec.decoder_window,
        )
        for number, (member, weight, films) in enumerate(zip(members, weights, member_films or [()] * len(members), strict=True))
    )
    return Manifest(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        protocol=ProtocolCard(name=protocol.name, symbols=protocol.symbols, names=protocol.names),
        frames=FRAMES,
        spacing=SPACING,
        aspect=aspect,
        combine=combine,
        members=entries,
        tta=tta or Tta(),
        data_fingerprint=data_fingerprint,
        training_films=tuple(training_films),
        training_digests=tuple(training_digests),
        figures=figures or {},
        versions={"python": platform.python_version(), "torch": version("torch"), "timm": version("timm"), "ceph-search": __version__},
    )


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write `manifest.json` whole or not at all."""
    path = folder / MANIFEST_FILE
    fresh = path.with_suffix(".json.part")
    fresh.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)
    return path


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an ensemble folder.

    Raises:
        InputError: no such file, or it does not fit the schema; every problem found.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise InputError(f"{folder}: no {MANIFEST_FILE}; give an ensemble folder, results/<run>/ensemble")
    try:
        manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(problems_of(error, str(path)) if isinstance(error, ValidationError) else f"{path}: is not UTF-8 text") from error
    card = manifest.protocol
    if not len(card.symbols) == len(card.names) == len(set(card.symbols)):
        raise InputError(f"{path}: protocol: {len(card.symbols)} symbols and {len(card.names)} names; they go in pairs, no symbol twice")
    if manifest.combine == "single" and len(manifest.members) != 1:
        raise InputError(f"{path}: combine: single with {len(manifest.members)} members; keep one, or combine by coordinate_mean")
    return manifest
