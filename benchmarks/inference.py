"""Films a second of an ensemble of three from film files, against three predictors called in turn; PyTorch against ONNX Runtime.

`python benchmarks/inference.py` takes about four minutes on two cores.
"""

import contextlib
import dataclasses
import io
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import films
import measuring
import numpy as np
import onnxruntime
import torch
from torch import nn

from ceph_core import models
from ceph_core.__main__ import main as ceph_core
from ceph_core.config import Config, apply
from ceph_core.data.imagefile import read_grey
from ceph_core.geometry import canvas_for, fit_affine, resample
from ceph_core.inference import Member, Predictor, make_manifest, make_member, overlay, save_member, write_manifest
from ceph_core.inference.ensemble import as_points, to_original
from ceph_core.inference.export import export_onnx
from ceph_core.inference.frames import placement
from ceph_core.landmarks import ISBI19

ASPECT = films.SIZE[0] / films.SIZE[1]


def member_of(seed: int, size: int, device: str) -> Member:
    """An untrained `hrnet_w18_small` whose norms do something."""
    torch.manual_seed(seed)
    config = apply(Config(), {"model.name": "hrnet_w18_small", "data.image_size": size, "heatmap.loss": "cross_entropy"})
    net = models.build(config.model, len(ISBI19))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
    return make_member(config, canvas_for(ASPECT, size), net, len(ISBI19), device)


def unfolded(members: Sequence[Member]) -> list[Member]:
    """The same members, reading films with their norms in place."""
    plain = [dataclasses.replace(member) for member in members]
    for member in plain:
        member.__dict__["fast"] = member.net
    return plain


@torch.inference_mode()
def single(member: Member, film: np.ndarray) -> np.ndarray:
    """What a plain predictor of one network does with one film: (K, 2) original px."""
    grey = resample(torch.from_numpy(film)[None, None].to(member.device), member.canvas).contiguous(memory_format=torch.channels_last)
    points, _ = member.codec.decode(member.codec.activate(member.net(grey)))
    affine = fit_affine((film.shape[0], film.shape[1]), member.canvas)
    return as_points(to_original(points, placement(affine[None], member.device)))[0]


def three_in_turn(members: Sequence[Member], files: Sequence[Path]) -> np.ndarray:
    """(N, K, 2): every predictor over all film files, one film after another; then the mean."""
    return np.mean([[single(member, read_grey(file)) for file in files] for member in members], axis=0)


def ensemble(members: Sequence[Member]) -> Predictor:
    return Predictor(members, [1.0] * len(members), "coordinate_mean", ISBI19, members[0].device)


def one_by_one(predictor: Predictor, files: Sequence[Path]) -> None:
    for file in files:
        predictor.predict(read_grey(file))


def streamed(predictor: Predictor, files: Sequence[Path]) -> np.ndarray:
    return np.stack([found.points_px for _, found in predictor.predict_files(files, lambda done, total: None)])


def rate(work: Callable[[], object], num: int, device: str) -> float:
    """Films a second."""
    seconds = measuring.seconds(work)
    if device != "cpu":
        torch.cuda.synchronize()
    return num / seconds


def from_files(device: str, folder: Path, num: int, rounds: int) -> list[dict[str, Any]]:
    """Each step of what was done, over the plain way."""
    rows = []
    bmp, png, jpeg = (
        ("BMP 1935 x 2400", ".bmp", films.SIZE),
        ("PNG 1935 x 2400", ".png", films.SIZE),
        ("JPEG 645 x 800", ".jpg", (800, 645)),
    )
    same = (256, 256, 256)
    for (kind, suffix, size), sizes in ((bmp, same), (png, same), (jpeg, same), (bmp, (256, 256, 384))):
        members = [member_of(seed, side, device) for seed, side in enumerate(sizes)]
        files = films.write(Path(tempfile.mkdtemp(dir=folder)) / "films", suffix, num, size)
        whole, plain = ensemble(members), ensemble(unfolded(members))
        difference = np.abs(streamed(whole, files[:4]) - three_in_turn(members, files[:4])).max()
        works: dict[str, Callable[[], object]] = {
            "three in turn": partial(three_in_turn, members, files),
            "decoded once": partial(one_by_one, plain, files),
            "read ahead, batched": partial(streamed, plain, files),
            "norms folded": partial(streamed, whole, files),
        }
        figures = measuring.in_turn({name: partial(rate, work, num, device) for name, work in works.items()}, rounds)
        row: dict[str, Any] = {"films": kind, "canvases": ", ".join(map(str, sizes)), "device": device}
        row |= {f"{name}, films/s": measuring.spread(each) for name, each in figures.items()}
        row["last over first"] = measuring.ratio(figures["norms folded"], figures["three in turn"])
        rows.append({**row, "points differ, px": float(difference)})
    return rows


def old_command(members: Sequence[Member], files: Sequence[Path], out: Path) -> None:
    """The `predict` of before: every film decoded to see that it can be, then one by one, with its overlay."""
    for file in files:
        read_grey(file)
    predictor = ensemble(unfolded(members))
    out.mkdir(exist_ok=True)
    for file in files:
        film = read_grey(file)
        found = predictor.predict(film)
        picture = overlay.draw(film, found.points_px, ISBI19.symbols)
        (out / f"{file.stem}_overlay.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def command(model: Path, files: Sequence[Path], out: Path, *options: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert ceph_core(["predict", "--model", str(model), *map(str, files), "--out", str(out), "--device", "cpu", *options]) == 0


def whole_command(folder: Path, num: int, rounds: int) -> list[dict[str, Any]]:
    """`predict` with all it writes; the loading of the model is in the new one's time and not in the old one's."""
    members = [member_of(seed, 256, "cpu") for seed in range(3)]
    model = folder / "ensemble"
    for number, member in enumerate(members):
        save_member(model / f"member_{number}", member.config, member.canvas, member.net.state_dict(), len(ISBI19))
    write_manifest(model, make_manifest(members, [1.0] * 3, "coordinate_mean", ISBI19, ASPECT))
    rows = []
    for suffix in (".bmp", ".png"):
        files = films.write(folder / f"command{suffix}", suffix, num)
        works: dict[str, Callable[[], object]] = {
            "before": partial(old_command, members, files, folder / "old"),
            "predict": partial(command, model, files, folder / "new"),
            "predict --no-overlays": partial(command, model, files, folder / "bare", "--no-overlays"),
        }
        figures = measuring.in_turn({name: partial(rate, work, num, "cpu") for name, work in works.items()}, rounds)
        row: dict[str, Any] = {"films": f"{num} {suffix[1:].upper()} 1935 x 2400"}
        row |= {f"{name}, films/s": measuring.spread(each) for name, each in figures.items()}
        rows.append({**row, "predict over before": measuring.ratio(figures["predict"], figures["before"])})
    return rows


def exported(member: Member, path: Path, images: torch.Tensor) -> None:
    """The network alone as ONNX, any number of films."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        shapes = ({0: torch.export.Dim("films", min=1)},)
        torch.onnx.export(
            member.net, (images,), str(path), dynamo=True, verbose=False, opset_version=20, dynamic_shapes=shapes, external_data=False
        )
    logging.disable(logging.NOTSET)


def session_of(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def ms_a_film(work: Callable[[], object], num: int, repeats: int) -> float:
    with torch.inference_mode():
        return measuring.seconds(lambda: [work() for _ in range(repeats)]) * 1e3 / (num * repeats)


def engines(folder: Path, rounds: int, repeats: int, compiled: bool) -> list[dict[str, Any]]:
    """One network on films that are on its canvas: PyTorch in its ways and ONNX Runtime, ms a film."""
    member = member_of(0, 256, "cpu")
    path = folder / "net.onnx"
    images = torch.rand(4, 1, member.canvas.height, member.canvas.width) * 255
    exported(member, path, images)
    ways = torch.compile(member.fast) if compiled else None

    def bf16(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return member.fast(x)

    before, rows = torch.get_num_threads(), []
    for threads in sorted({1, before}):
        torch.set_num_threads(threads)
        session = session_of(path, threads)
        for num in (1, 4):
            x = images[:num].contiguous(memory_format=torch.channels_last)
            given = {session.get_inputs()[0].name: images[:num].numpy()}
            works: dict[str, Callable[[], object]] = {
                "norms kept": partial(member.net, x),
                "norms folded": partial(member.fast, x),
                "folded, bf16": partial(bf16, x),
                **({"folded, compiled": partial(ways, x)} if ways is not None else {}),
                "ONNX Runtime": partial(session.run, None, given),
            }
            figures = measuring.in_turn({name: partial(ms_a_film, work, num, repeats) for name, work in works.items()}, rounds, warmup=2)
            row: dict[str, Any] = {"threads": threads, "films a batch": num}
            row |= {f"{name}, ms": measuring.spread(each) for name, each in figures.items()}
            row["kept over folded"] = measuring.ratio(figures["norms kept"], figures["norms folded"])
            rows.append({**row, "folded over ONNX Runtime": measuring.ratio(figures["norms folded"], figures["ONNX Runtime"])})
    torch.set_num_threads(before)
    return rows


def ensemble_files(folder: Path, num: int, rounds: int) -> list[dict[str, Any]]:
    """The exported `ensemble.onnx`, film in and points out, against the predictor, both from film files."""
    predictor = ensemble([member_of(seed, 256, "cpu") for seed in range(3)])
    path = folder / "ensemble.onnx"
    began = time.perf_counter()
    try:
        difference = export_onnx(predictor, path)
    except RuntimeError:  # the maps of untrained networks have near ties, which another rounding decides otherwise
        return []
    export_s = time.perf_counter() - began
    session = session_of(path, torch.get_num_threads())
    rows = []
    for kind, suffix, size in (("BMP 1935 x 2400", ".bmp", films.SIZE), ("JPEG 645 x 800", ".jpg", (800, 645))):
        files = films.write(folder / f"onnx{suffix}", suffix, num, size)
        works: dict[str, Callable[[], object]] = {
            "predictor": partial(streamed, predictor, files),
            "ensemble.onnx": lambda files=files: [session.run(["points_px"], {"film": read_grey(file)}) for file in files],
        }
        figures = measuring.in_turn({name: partial(rate, work, num, "cpu") for name, work in works.items()}, rounds)
        rows.append(
            {
                "films": kind,
                **{f"{name}, films/s": measuring.spread(each) for name, each in figures.items()},
                "predictor over file": measuring.ratio(figures["predictor"], figures["ensemble.onnx"]),
                "export, s": export_s,
                "points differ, px": difference,
            }
        )
    return rows


def main() -> None:
    args = measuring.arguments(__doc__).parse_args()
    num, rounds = (5, 2) if args.quick else (16, 5)
    tables: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            row for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])] for row in from_files(device, folder, num, rounds)
        ]
        tables["Three `hrnet_w18_small`, films/s from film files to points"] = rows
        tables["`python -m ceph_core predict`, the same ensemble, with all it writes"] = whole_command(folder, num, rounds)
        tables["One network alone, ms a film on its canvas of 256 x 224"] = engines(folder, rounds, 2 if args.quick else 6, not args.quick)
        if onnx := ensemble_files(folder, num, rounds):
            tables["`ensemble.onnx` in ONNX Runtime"] = onnx
    measuring.publish("inference", tables, args.quick)


if __name__ == "__main__":
    main()
