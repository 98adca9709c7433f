"""What the README's first command promises of the run folder it leaves; CI calls this after it."""

import argparse
import sys
from pathlib import Path

from ceph_core.metrics import radial_errors_mm
from search import records

MAX_SECONDS = 660
"""Ten minutes, and one for an installation that had nothing left to install."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", type=float, required=True, help="how long the command took")
    args = parser.parse_args()
    run = records.load(args.run)
    search = run.trials[run.trials["role"] == "search"]
    counts = search["status"].value_counts()
    errors = {model: mre_mm(run, model) for model in (records.ENSEMBLE, records.BASELINE, records.MEAN_SHAPE)}
    print(f"{len(search)} trials {counts.to_dict()}, {args.seconds:.0f} s; locked test MRE, mm: {errors}")
    checks = {
        "the run is finished": run.status == "finished",
        "at least 8 trials": len(search) >= 8,
        "some stopped early": counts.get("stopped", 0) > 0,
        "the baseline ran to its end": bool((search[search["is_baseline"]]["status"] == "completed").all()),
        "ensemble at most a third of the mean shape": errors[records.ENSEMBLE] <= errors[records.MEAN_SHAPE] / 3,
        f"within {MAX_SECONDS} s": args.seconds <= MAX_SECONDS,
        "exported": (run.folder.ensemble_dir / "ensemble.onnx").exists() and run.manifest is not None,
        "reported": run.folder.report_path.exists(),
    }
    for promise, kept in checks.items():
        print(f"{'ok    ' if kept else 'BROKEN'} {promise}")
    return 0 if all(checks.values()) else 1


def mre_mm(run: records.Run, model: str) -> float:
    """Mean radial error on the locked test, recomputed from the parquet and the splits."""
    test = run.predictions[run.predictions["role"] == "test"]

    def points(name: str):  # (N, K, 2)
        rows = test[test["model"] == name].set_index(["film", "landmark"])
        films = sorted(rows.index.unique("film"))
        landmarks = list(dict.fromkeys(rows.index.get_level_values("landmark")))
        return films, rows.loc[[(film, mark) for film in films for mark in landmarks], ["x_px", "y_px"]].to_numpy().reshape(
            len(films), -1, 2
        )

    films, predicted = points(model)
    _, reference = points(records.REFERENCE)
    spacing = run.splits.set_index("film").loc[films, ["spacing_x_mm", "spacing_y_mm"]].to_numpy()
    return float(radial_errors_mm(predicted, reference, spacing).mean())


if __name__ == "__main__":
    sys.exit(main())
