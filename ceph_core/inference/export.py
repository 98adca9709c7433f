"""One ONNX file that holds the whole ensemble: a film of any size in, points in its pixels out.

`geometry.resample` cannot be exported for a film of unknown size, and ONNX's own anti-aliased Resize is another filter. A
resize is linear and separable, though, so the graph computes its weights from the film's size and multiplies:
canvas = rows @ film @ columns^T.
"""

import contextlib
import io
import json
import logging
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ceph_core import __version__
from ceph_core.closeup import agreed, cut, origins, reach_of
from ceph_core.geometry import Canvas
from ceph_core.inference.ensemble import coordinate_mean, heatmap_mean, joined, to_original
from ceph_core.inference.frames import Placement
from ceph_core.inference.predictor import Predictor

ONNX_FILE = "ensemble.onnx"
OPSET = 20
TOLERANCE_PX = 0.05
"""Most that a coordinate from the file may differ from the predictor's, original px."""
MAX_BYTES = 2_000_000_000
"""A protobuf message ends at 2 GiB."""


class FilmModel(nn.Module):
    """The ensemble as one graph.  Answers as `Predictor` does, on one film whose size is known only when it runs."""

    weights: Tensor

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.members = predictor.members
        self.frames = predictor.frames
        self.combine = predictor.combine
        self.nets = nn.ModuleList(member.net for member in predictor.members)
        self.weights = predictor.weights

    def forward(self, film: Tensor) -> tuple[Tensor, Tensor]:
        """(K, 2) float32 points in original px and (K,) float32 confidence of an (h, w) uint8 film."""
        placed: dict[Canvas, tuple[Tensor, Placement]] = {}
        for canvas in dict.fromkeys(canvas for member in self.members for canvas in member.canvases):
            placed[canvas] = on_canvas(film, canvas)
        maps, placements, points, confidences = [], [], [], []
        for member, net in zip(self.members, self.nets, strict=True):
            shown, at = placed[member.canvas][0][None, None], placed[member.canvas][1]
            first: tuple[Tensor, Tensor] | None = None
            if member.close is not None:
                peaks, sure = member.codec.decode(member.codec.activate(net(shown)))
                first = to_original(peaks, at), sure
                larger, there = placed[member.close]
                start = origins(first[0] * there.scale[:, None] + there.shift[:, None], member.canvas, member.close)
                shown, at = cut(larger[None, None], start, member.canvas), Placement(there.scale, there.shift - start)
            maps.append(member.codec.activate(net(shown)))
            placements.append(at)
            peaks, sure = member.codec.decode(maps[-1])
            answer = to_original(peaks, at), sure
            if first is not None:
                answer = agreed(*answer, *first, reach_of(member.canvas, at.scale))
            points.append(answer[0])
            confidences.append(answer[1])
        if self.combine == "heatmap_mean":
            xy = heatmap_mean(maps, self.frames, placements, self.weights)
            confidence = coordinate_mean(torch.stack(confidences), self.weights)
        else:
            xy, confidence = joined(torch.stack(points), torch.stack(confidences), self.combine, self.weights)
        return xy[0].float(), confidence[0].float()


def on_canvas(film: Tensor, canvas: Canvas) -> tuple[Tensor, Placement]:
    """`geometry.resample` and `fit_affine` as tensor arithmetic: an (h, w) film to its (H, W) canvas and its placement."""
    sides = [torch.scalar_tensor(side, dtype=torch.float64) for side in film.shape]
    limits = [torch.scalar_tensor(side, dtype=torch.float64) for side in (canvas.height, canvas.width)]
    scale = torch.minimum(limits[0] / sides[0], limits[1] / sides[1])
    new = [torch.minimum(limit, torch.round(side * scale).clamp_min(1)) for side, limit in zip(sides, limits, strict=True)]
    start = [torch.floor((limit - length) / 2) for length, limit in zip(new, limits, strict=True)]
    rows = _weights(film.shape[0], canvas.height, sides[0] / new[0], start[0], new[0])
    columns = _weights(film.shape[1], canvas.width, sides[1] / new[1], start[1], new[1])
    grey = (rows @ film.to(torch.float32) @ columns.T).round().clamp(0, 255)
    ratio = torch.stack([new[1] / sides[1], new[0] / sides[0]])
    shift = 0.5 * ratio - 0.5 + torch.stack([start[1], start[0]])
    return grey, Placement(ratio[None], shift[None])


def _weights(length: int, wanted: int, step: Tensor, start: Tensor, new: Tensor) -> Tensor:
    """(wanted, length) float32 triangle filter, wider where it shrinks; rows of the border are zero.

    Args:
        step: film px per canvas px.
        start: first canvas px that shows the film.
        new: canvas px that show it.
    """
    position = torch.arange(wanted, dtype=torch.float64) - start
    centre = (position + 0.5) * step - 0.5
    away = (torch.arange(length, dtype=torch.float64)[None] - centre[:, None]).abs()
    triangle = (1 - away / step.clamp_min(1)).clamp_min(0)
    shown = (position >= 0) & (position < new)
    return (triangle / triangle.sum(1, keepdim=True).clamp_min(1e-12) * shown[:, None]).to(torch.float32)


def export_onnx(
    predictor: Predictor, path: Path, films: Sequence[NDArray[np.uint8]] = (), progress: Callable[[str], None] | None = None
) -> float:
    """Write the ensemble as one ONNX file and check it; the file appears only if it passes.

    The file reads a film once: test-time augmentation stays out of it, and `progress` and the metadata say so.

    The file takes `film` (height, width) uint8 and gives `points_px` (K, 2) float32, x then y in the film's pixels, and
    `confidence` (K,) float32.  Its metadata name the landmarks.  Weights beyond `MAX_BYTES` lie beside it, in `<name>.data`.

    Args:
        predictor: on the CPU.
        path: file to write.
        films: films to compare on, of several sizes; drawn ones if there are none.
        progress: told every ten seconds that the export goes on: torch takes half a minute and more for a large network.

    Returns:
        The largest difference of a coordinate from the predictor's, original px.

    Raises:
        RuntimeError: the file's points differ from the predictor's by more than `TOLERANCE_PX`.
    """
    assert predictor.device.type == "cpu", "export from the CPU"
    if progress and predictor.tta.views[1:]:
        progress(f"the file is one pass without the ensemble's test-time augmentation ({predictor.tta}); a predictor averages these views")
    size = sum(value.numel() * value.element_size() for member in predictor.members for value in member.net.state_dict().values())
    is_large = size > MAX_BYTES
    if is_large and progress:
        progress(f"the members take {size / 1e9:.1f} GB, one ONNX file holds 2: their weights go into {path.name}.data, kept beside it")
    film = torch.from_numpy(drawn_film(240, 200))
    side = {0: torch.export.Dim("height", min=2), 1: torch.export.Dim("width", min=2)}
    with _told(progress), _quiet():
        program = torch.onnx.export(
            FilmModel(predictor).eval(), (film,), dynamo=True, verbose=False, opset_version=OPSET, dynamic_shapes={"film": side},
            input_names=["film"], output_names=["points_px", "confidence"],
        )  # fmt: skip
    assert program is not None
    program.model.metadata_props.update(_metadata(predictor))
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))  # the file names its weights' file, so neither is renamed
    try:
        fresh = folder / path.name
        program.save(str(fresh), external_data=is_large)
        difference = verify(fresh, predictor, films or [drawn_film(*size) for size in ((480, 400), (200, 260), (96, 64))])
        if difference > TOLERANCE_PX:
            raise RuntimeError(
                f"{path}: not written: its points differ from the predictor's by up to {difference:.3f} px; allowed are {TOLERANCE_PX}"
            )
        for made in sorted(folder.iterdir(), reverse=True):  # the weights before the file that needs them
            made.replace(path.with_name(made.name))
    finally:
        shutil.rmtree(folder)
    return difference


def verify(onnx_path: Path, predictor: Predictor, films: Sequence[NDArray[np.uint8]]) -> float:
    """Largest difference of a coordinate between the file and the predictor over these films, original px; of one pass, without TTA."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])
    expected = predictor.in_one_pass().predict_batch(films)
    answers = [session.run(["points_px"], {"film": film})[0] for film in films]
    return max(float(np.abs(points - truth.points_px).max()) for points, truth in zip(answers, expected, strict=True))


def drawn_film(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A soft random texture: something to compare two implementations on where no film is at hand."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (1, 1, 12, 10)).astype(np.float32)
    soft = nn.functional.interpolate(torch.from_numpy(coarse), size=(height, width), mode="bicubic", align_corners=False)
    return soft[0, 0].round().clamp(0, 255).to(torch.uint8).numpy()


def _metadata(predictor: Predictor) -> dict[str, str]:
    """What the file says of itself; lists are JSON."""
    protocol = predictor.protocol
    return {
        "protocol": protocol.name,
        "landmarks": json.dumps(protocol.symbols),
        "landmark_names": json.dumps(protocol.names),
        "combine": predictor.combine,
        "members": str(len(predictor.members)),
        "tta": f"none: one pass; the ensemble folder's own is {predictor.tta}",
        "frame": "film: (height, width) uint8 grey; points_px: x then y in its pixels, pixel centres on whole numbers",
        "ceph_search": __version__,
    }


@contextlib.contextmanager
def _told(progress: Callable[[str], None] | None, every_s: float = 10.0) -> Iterator[None]:
    """Report the time that goes by while torch works and says nothing."""
    done, started = threading.Event(), time.monotonic()

    def tell() -> None:
        while progress and not done.wait(every_s):
            progress(f"exporting, {time.monotonic() - started:.0f} s")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter warns and logs about its own internals."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
