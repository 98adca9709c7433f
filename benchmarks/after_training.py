"""What needs no training, scored on networks that are there: decoders, views, averages, the shape model."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ceph_core.config import Config, apply
from ceph_core.data.films import TrainingData
from ceph_core.inference.averaging import AVERAGED_ANSWERS, AVERAGED_WEIGHTS, finalists
from ceph_core.inference.member import make_member
from ceph_core.inference.outputs import MemberOutputs, film_outputs
from ceph_core.inference.refine import Reviewer
from ceph_core.inference.tta import parse
from ceph_core.metrics import radial_errors_mm
from ceph_core.models import build
from ceph_core.training import checkpoint
from ceph_core.training.snapshots import SNAPSHOT_FOLDER, Snapshots

AS_TRAINED = "log-parabola, one pass, last weights"
CLAIMS = {
    "argmax decoder": "–",
    "quarter-pixel decoder": "–",
    "soft-argmax decoder, window of 2 sigma": "sub-pixel refinement is recommended",
    "views: 4 shifts": "–",
    "views: 2 scales": "–",
    "views: 4 shifts and 2 scales": "2-4 % (of flips)",
    "soft-argmax and 2 scales": "–",
    "soft-argmax, shifts and scales": "–",
    AVERAGED_WEIGHTS: "SDR + 1-3 % (of predictions)",
    AVERAGED_ANSWERS: "SDR + 1-3 %",
    "flagged points replaced by the shape's": "recommended",
    "flagged points dropped": "recommended",
}
"""What the guide says of each."""


def errors_mm(folder: Path, films: TrainingData) -> dict[str, float]:
    """Validation MRE of every way to read one trained network.

    Args:
        folder: its checkpoint and snapshots.
        films: with the fold that validated it.
    """
    state = checkpoint.load(folder)
    config = Config.model_validate(state["config"])
    snapshots = Snapshots(folder / SNAPSHOT_FOLDER, config).kept()
    found = {AS_TRAINED: _mre(films, config, _outputs(films, config, state["ema"], "none").points_px)}
    found |= {name: _mre(films, config, _outputs(films, changed, state["ema"], views).points_px) for name, changed, views in _ways(config)}
    if len(snapshots) > 1:
        ends = finalists(config, films, state["ema"], snapshots, torch.device("cpu"), lambda line: None)
        found |= {end.name: end.mre_mm for end in ends if end.name in (AVERAGED_WEIGHTS, AVERAGED_ANSWERS)}
    return found | _refined(films, config, _outputs(films, config, state["ema"], "none"))


def own_reading(folder: Path, films: TrainingData) -> dict[str, float]:
    """Validation MRE and SDR at 2 mm of one trained network, read with its own configuration's decoder and views."""
    state = checkpoint.load(folder)
    config = Config.model_validate(state["config"])
    errors = _errors(films, config, _outputs(films, config, state["ema"], config.inference.tta).points_px)
    return {"mre_mm": float(np.nanmean(errors)), "sdr_2mm": float(np.nanmean(errors <= 2.0) * 100)}


def _ways(config: Config) -> Iterator[tuple[str, Config, str]]:
    soft = apply(config, {"heatmap.decoder": "soft_argmax", "heatmap.decoder_window": 2.0})
    yield "argmax decoder", apply(config, {"heatmap.decoder": "argmax"}), "none"
    yield "quarter-pixel decoder", apply(config, {"heatmap.decoder": "quarter"}), "none"
    yield "soft-argmax decoder, window of 2 sigma", soft, "none"
    yield "views: 4 shifts", config, "shift"
    yield "views: 2 scales", config, "scale"
    yield "views: 4 shifts and 2 scales", config, "shift,scale"
    yield "soft-argmax and 2 scales", soft, "scale"
    yield "soft-argmax, shifts and scales", soft, "shift,scale"


def _outputs(films: TrainingData, config: Config, weights: dict[str, torch.Tensor], views: str) -> MemberOutputs:
    num_landmarks = len(films.dataset.protocol)
    net = build(config.model, num_landmarks)
    net.load_state_dict(weights)
    size = config.data.image_size
    member = make_member(config, films.canvas(size), net, num_landmarks, close=films.close_canvas(size, config.data.zoom))
    return film_outputs(member, films, films.validation_ids, tta=parse(views))


def _mre(films: TrainingData, config: Config, points_px: NDArray[np.float64]) -> float:
    return float(np.nanmean(_errors(films, config, points_px)))


def _errors(films: TrainingData, config: Config, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
    opened = films.open(config.data.image_size)
    rows = opened.rows(films.validation_ids)
    reference = np.where(np.isnan(points_px), np.nan, opened.landmarks_px[rows])  # a dropped point does not count
    return radial_errors_mm(points_px, reference, opened.spacing_mm[rows])


def _refined(films: TrainingData, config: Config, outputs: MemberOutputs) -> dict[str, float]:
    """With the shape of the training folds; the confidence floor is the validation films' own, a single number."""
    opened = films.open(config.data.image_size)
    learned, rows = opened.rows(films.train_ids), opened.rows(films.validation_ids)
    try:
        reviewer = Reviewer.fit(
            films.dataset.protocol.symbols, opened.landmarks_px[learned] * opened.spacing_mm[learned][:, None], outputs.confidence
        )
    except ValueError:
        return {}  # a few drawn films
    review = reviewer.review(outputs.points_px, outputs.confidence, opened.spacing_mm[rows])
    return {
        "flagged points replaced by the shape's": _mre(films, config, review.apply(outputs.points_px, "replace")),
        "flagged points dropped": _mre(films, config, review.apply(outputs.points_px, "drop")),
    }
