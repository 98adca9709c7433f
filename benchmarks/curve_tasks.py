"""Real learning curves to search over: vision-language models of the scan-bench package and landmark detectors that we recorded.

What was not run is stood in for: by the nearest training, a forest or a Gaussian process.  By the nearest alone a search of few recorded
trainings is won by whoever sees most of them: whatever is proposed beside one of them is that very training again.

`pip install --no-deps scan-bench` brings the table: CLIP-like models of 1,500 random configurations of ten knobs.  The 414 that were
planned for 8 to 10 epochs and finished are used; their curves are read at eighths of their own length.
"""

import copy
import importlib.util
import math
import warnings
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import cost_tasks
import numpy as np
import pandas as pd
from measuring import ROOT
from numpy.typing import NDArray
from scipy.stats import qmc

from ceph_core.training.progressive import stage_at, stage_size
from search.cube import coordinates, point_at
from search.replay.curves import Curve, Recorded, table_space
from search.space import Knob, Space, load
from search.space.schema import PromotionSettings, SamplerSettings, SchedulerSettings

POLICY = 5
"""Raised when what ours decides on curves changes: its searches and replays then run anew."""
EPOCHS = 8
KNOBS: dict[str, dict[str, Any]] = {
    "lr": {"float": [1e-5, 5e-2], "log": True},
    "wd": {"float": [1e-6, 0.2], "log": True},
    "eps": {"float": [1e-8, 1e-6], "log": True},
    "beta1": {"float": [0.9, 0.99]},
    "beta2": {"float": [0.95, 0.999]},
    "warmup_fraction": {"float": [0.0, 0.75]},
    "text_width": {"int": [32, 512], "step": 32},
    "vision_width": {"int": [32, 512], "step": 32},
    "global_batch_size": {"categorical": [512, 2048, 4096, 8192]},
    "train_num_samples_per_epoch": {"float": [3.5e5, 1.3e7], "log": True},
}
OBJECTIVES = {
    "loss": ("val_loss", 1.0),
    "cifar": ("cifar10_mean_per_class_recall", -1.0),
    "imagenet": ("imagenet1k_acc1", -1.0),
    "retrieval": ("retrieval_flickr_1k_test_image_text_retrieval_mean_recall@1", -1.0),
}
SURROGATES = ("nearest", "forest", "process")
_PROBES = 4096


class Modelled:
    """The curves of a regression over recorded ones: final values and shapes of all points of the space.

    Its best is sought among many points of the space.  Epochs take the same, or, where trainings begin with smaller images, the shares of
    the whole that they took in recorded trainings of the same stages.

    Args:
        sizes: (E,) image sizes of a point's epochs, px; None: one size.
    """

    def __init__(self, recorded: Recorded, model: Any, sizes: Callable[[Mapping[str, Any]], NDArray[np.int64]] | None = None) -> None:
        self.space, self._model, self._sizes = recorded.space, model, sizes
        cube = np.stack([coordinates(self.space.knobs, point) for point in recorded.points])
        self._shares: dict[bytes, list[NDArray[np.float64]]] = {}
        for curve in recorded.curves:
            self._shares.setdefault(_stages(curve.image_sizes), []).append(curve.seconds / curve.seconds.mean())
        values = np.stack([curve.values for curve in recorded.curves])
        self._centre, self._spread = values.mean(axis=0), values.std(axis=0)
        model.fit(cube, (values - self._centre) / self._spread)
        times = np.log([curve.seconds.mean() for curve in recorded.curves])
        self._times = Forest(30).fit(cube, times)
        shares = qmc.Sobol(len(self.space.knobs), scramble=True, rng=np.random.default_rng(1)).random(_PROBES)
        probes = np.stack([coordinates(self.space.knobs, point_at(self.space.knobs, row.tolist())) for row in shares])
        last = np.concatenate([self._values(probes)[:, -1], self._values(cube)[:, -1]])
        self.best = float(last.min())
        self.scale = float(np.median(last[:_PROBES])) - self.best

    def at(self, values: Mapping[str, Any]) -> Curve:
        """The modelled curve."""
        point = coordinates(self.space.knobs, values)[None]
        seconds, learned = math.exp(self._times.predict(point).item()), self._values(point)[0]
        if self._sizes is None:
            return Curve.of(learned, np.full(len(learned), seconds))
        sizes = self._sizes(values)
        return Curve(learned, seconds * np.mean(self._shares[_stages(sizes)], axis=0), np.ones(len(learned), bool), sizes)

    def _values(self, cube: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._centre + self._spread * np.asarray(self._model.predict(cube)).reshape(len(cube), len(self._centre))


def _stages(sizes: NDArray[np.int64]) -> bytes:
    """Which epochs train on smaller images than the last."""
    return bytes(sizes < sizes[-1])


@cache
def scan_table() -> pd.DataFrame:
    """The whole table."""
    found = importlib.util.find_spec("scan_bench")
    if found is None or found.origin is None:
        raise SystemExit("scan-bench is missing: pip install --no-deps scan-bench")
    return pd.read_csv(Path(found.origin).parent / "vlm" / "data.csv")


def recorded(objective: str, half: int) -> Recorded:
    """Every second configuration, their curves at eighths of their length.

    Args:
        half: 0: what policies are chosen on; 1: what they are reported on.
    """
    column, sign = OBJECTIVES[objective]
    table = scan_table()
    grouped = table[table["total_epochs"] >= EPOCHS].sort_values(["config_id", "epoch"]).groupby("config_id")
    points, curves = [], []
    for number, (_, rows) in enumerate(
        (name, rows) for name, rows in grouped if len(rows) == rows["total_epochs"].iloc[0] and rows[column].notna().all()
    ):
        if number % 2 != half:
            continue
        total = len(rows)
        at = np.arange(1, EPOCHS + 1) * total / EPOCHS
        values = sign * np.interp(at, rows["epoch"].to_numpy(float), rows[column].to_numpy(float))
        whole_s = float(rows["train_duration(s)"].sum())
        first = rows.iloc[0]
        points.append({key: _on_grid(key, first[key]) for key in KNOBS})
        curves.append(Curve.of(values, np.full(EPOCHS, whole_s / EPOCHS)))
    return Recorded(table_space(KNOBS, EPOCHS, None), points, curves)


@cache
def task(name: str) -> Any:
    """The curves of `scan/OBJECTIVE/SURROGATE/HALF`, of `films/SURROGATE/SEED`, of `costs/NUMBER/HALF`, or of `drawn/0`."""
    family, *parts = name.split("/")
    if family == "drawn":
        return drawn()
    if family == "costs":
        return cost_tasks.Unequal(2 * int(parts[0]) + int(parts[1]))
    *objective, surrogate, half = parts
    found = recorded_films(int(half)) if family == "films" else recorded(objective[0], int(half))
    sizes = partial(image_sizes, found.space) if family == "films" else None
    if surrogate == "nearest":
        return found
    if surrogate == "forest":
        return Modelled(found, Forest(60), sizes)
    return Modelled(found, process(len(coordinates(found.space.knobs, found.points[0]))), sizes)


def image_sizes(space: Space, values: Mapping[str, Any]) -> NDArray[np.int64]:
    """(E,) px that a training of these values has in each epoch."""
    config = space.configure(values, seed=0)
    epochs = range(1, config.train.epochs + 1)
    return np.array([stage_size(config.data.image_size, stage_at(config, epoch).size) for epoch in epochs], dtype=np.int64)


class Forest:
    """A forest of regression trees that answers for single points: scikit-learn's own checks take thirty times as long as its trees."""

    def __init__(self, trees: int) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        self._model = ExtraTreesRegressor(trees, min_samples_leaf=2, random_state=0, n_jobs=1)

    def fit(self, cube: NDArray[np.float64], values: NDArray[np.float64]) -> "Forest":
        """Grown on (N, D) and (N,) or (N, outputs)."""
        self._model.fit(cube, values)
        return self

    def predict(self, cube: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, outputs), the mean over the trees."""
        points = np.ascontiguousarray(cube, np.float32)
        return sum(each.tree_.predict(points).reshape(len(points), -1) for each in self._model.estimators_) / len(self._model.estimators_)


def process(dimensions: int) -> Any:
    """A Gaussian process; a length scale that reaches its bound is a knob that does not matter."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    kernel = ConstantKernel(1.0) * Matern(np.ones(dimensions), nu=2.5) + WhiteKernel(0.1, (1e-4, 1.0))
    return GaussianProcessRegressor(kernel, n_restarts_optimizer=0, random_state=0)


def drawn() -> Recorded:
    """Made-up curves, for the short form."""
    random = np.random.default_rng(0)
    points = [{"lr": float(10 ** random.uniform(-5, -2)), "wd": float(10 ** random.uniform(-6, -1))} for _ in range(40)]
    ends = [1 + (np.log10(point["lr"]) + 3) ** 2 + 0.2 * (np.log10(point["wd"]) + 4) ** 2 for point in points]
    curves = [Curve.of(end * (1 + 2 / np.arange(1, EPOCHS + 1)), np.ones(EPOCHS)) for end in ends]
    return Recorded(table_space({key: KNOBS[key] for key in ("lr", "wd")}, EPOCHS, None), points, curves)


def searched_by(curves: Any, sections: Mapping[str, Any]) -> Any:
    """The same curves, their space with other sections."""
    changed = copy.copy(curves)
    sampler = {**curves.space.sampler.model_dump(mode="json"), **sections.get("sampler", {})}
    scheduler = {**curves.space.scheduler.model_dump(mode="json"), **sections.get("scheduler", {})}
    promotion = {**curves.space.promotion.model_dump(mode="json"), **sections.get("promotion", {})}
    updates = {
        "sampler": SamplerSettings.model_validate(sampler), "scheduler": SchedulerSettings.model_validate(scheduler),
        "promotion": PromotionSettings.model_validate(promotion),
        "budget": curves.space.budget.model_copy(update={"trials": 100_000}),
    }  # fmt: skip
    changed.space = curves.space.model_copy(update=updates)
    return changed


def names(family: str, half: int) -> list[str]:
    """Every task of one half; of the films' trainings a half has one seed of each configuration."""
    if family == "drawn":
        return [f"{family}/{half}"]
    if family == "films":
        return [f"{family}/{surrogate}/{half}" for surrogate in SURROGATES]
    if family == "costs":
        return [f"costs/{number}/{half}" for number in range(cost_tasks.TASKS)]
    return [f"{family}/{objective}/{surrogate}/{half}" for objective in OBJECTIVES for surrogate in SURROGATES]


def recorded_films(seed: int) -> Recorded:
    """Trainings of the cpu profile's space on the films of ISBI 2015; see record_curves.py.

    An epoch takes the third from below of the times that its configuration's seeds took, the shorter of two: the machine had other
    work meanwhile, and stood still for half an hour twice.
    """
    space = load(ROOT / "benchmarks" / "curves" / "space.yaml", "cpu")
    table = pd.read_parquet(ROOT / "benchmarks" / "curves" / "isbi2015.parquet")
    table["seconds"] = table.groupby(["config", "epoch"])["seconds"].transform(lambda each: each.quantile(1 / 3, interpolation="lower"))
    points, curves = [], []
    for _, rows in table[table["seed"] == seed].sort_values("epoch").groupby("config"):
        points.append({knob.key: _like(knob, rows[knob.key].iloc[0]) for knob in space.knobs})
        whole = np.ones(len(rows), bool)
        curves.append(Curve(rows["value"].to_numpy(float), rows["seconds"].to_numpy(float), whole, rows["image_size"].to_numpy(np.int64)))
    return Recorded(space, points, curves)


def _like(knob: Knob, value: Any) -> Any:
    if knob.kind == "categorical":
        return next(choice for choice in knob.choices if str(choice) == str(value))
    return int(value) if knob.kind == "int" else float(value)


def _on_grid(key: str, value: Any) -> Any:
    knob = KNOBS[key]
    if "categorical" in knob:
        return int(value)
    low, high = knob["int"] if "int" in knob else knob["float"]
    return int(value) if "int" in knob else min(max(float(value), low), high)
