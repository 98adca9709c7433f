"""Whether half precision learns as well: paired seeds in fp32 and bf16, judged on training films held out.

python benchmarks/precision.py --data DIR --spacing-mm 0.3        (resumable; a minute a run on two cores, two runs at a time)
"""

import json
import multiprocessing
import os
from functools import partial
from pathlib import Path

import measuring

SETTING = {
    "model.name": "hrnet_w18_small", "model.head_stride": 2, "heatmap.loss": "cross_entropy", "train.batch_size": 4, "train.lr": 4e-3,
}  # fmt: skip
PRECISIONS = ("fp32", "bf16")


def train(job: tuple[int, str], source: dict[str, object], size: int, epochs: int, state: Path) -> dict[str, float]:
    """Figures of one run's last epoch on the held-out films; kept in `state`, so that a run is done once."""
    seed, precision = job
    path = state / f"{precision}-{seed}-{size}-{epochs}.json"
    if not path.exists():
        import torch

        from ceph_core import data as datasets
        from ceph_core.config import Config, SourceConfig, apply
        from ceph_core.data import splits
        from ceph_core.data.films import TrainingData
        from ceph_core.training.trainer import Training

        torch.set_num_threads(1)
        given = SourceConfig.model_validate(source)
        cache = datasets.default_cache_dir()
        dataset = datasets.read(given, cache)
        data = TrainingData(dataset, splits.assign(dataset, given), cache)
        knobs = {**SETTING, "data.image_size": size, "train.epochs": epochs, "train.seed": seed, "train.precision": precision}
        *_, last = Training(apply(Config(), knobs), data)
        path.write_text(json.dumps({"mre_mm": last.val.mre_mm, "sdr_2mm": last.val.sdr_2mm, "films_per_s": last.films_per_s}))
    found: dict[str, float] = json.loads(path.read_text())
    return found


def main() -> None:
    parser = measuring.arguments(__doc__)
    parser.add_argument("--data", type=Path, help="films; none: drawn ones")
    parser.add_argument("--spacing-mm", type=float, help="mm per pixel of the films")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each precision")
    args = parser.parse_args()
    source = {"root": args.data and args.data.absolute(), "spacing_mm": args.spacing_mm, "validation_share": 0.35}
    size, epochs, seeds = (64, 2, 2) if args.quick else (192, 30, args.seeds)
    if args.quick:
        source |= {"root": None, "phantom_train": 12, "phantom_test": 2}
    state = measuring.STATE / ("precision-quick" if args.quick else "precision")
    state.mkdir(parents=True, exist_ok=True)
    jobs = [(seed, precision) for seed in range(seeds) for precision in PRECISIONS]
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        found = pool.map(partial(train, source=source, size=size, epochs=epochs, state=state), jobs, chunksize=1)
    by_precision = {precision: [run for (_, own), run in zip(jobs, found, strict=True) if own == precision] for precision in PRECISIONS}
    rows = [
        {"precision": precision, **{name: measuring.spread([run[name] for run in runs]) for name in ("mre_mm", "sdr_2mm", "films_per_s")}}
        for precision, runs in by_precision.items()
    ]
    apart = [half["mre_mm"] - full["mre_mm"] for half, full in zip(by_precision["bf16"], by_precision["fp32"], strict=True)]
    rows.append({"precision": "bf16 - fp32, same seed", "mre_mm": measuring.spread(apart)})
    measuring.publish("precision", {f"{seeds} seeds, {epochs} epochs of {SETTING['model.name']} at {size} px": rows}, args.quick)


if __name__ == "__main__":
    main()
