"""A whole search on one GPU, from the films to the exported ensemble, in one command and one table.

CEPH_DATA_ROOT=DIR python benchmarks/gpu_search.py --spacing-mm 0.3 --minutes 8

DIR holds isbi2015/.  The gpu profile of spaces/sigma_aug.yaml with trainings short enough for the time, several at once, and its
final stage.  Without a GPU the same path runs under the cpu profile, and the table says so.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import measuring
import torch
from measuring import ROOT, Row

from ceph_core.metrics import summarize
from search import records
from search.report.comparison import Comparison, compare
from search.verdict import all_the_time
from tests.search.drawn_run import draw_run

PAGE = ROOT / "docs" / "performance.md"
SETTINGS = {
    # One card and minutes: shorter trainings with larger steps, as the H100's in docs/recipe.md, and as many at once as its memory holds.
    "gpu": [
        "fixed.train.epochs=20",
        "fixed.train.lr=2e-3",
        "fixed.data.zoom=1.5",
        "resources.gpus_per_trial=auto",
        "sampler.startup_trials=5",
    ],
    "cpu": [],
}  # fmt: skip


def command(args: Namespace, profile: str, run: Path) -> list[str]:
    """The search."""
    root = Path(os.environ["CEPH_DATA_ROOT"]).absolute() / "isbi2015"
    asked = [
        sys.executable,
        "run_search.py",
        "--space",
        "spaces/sigma_aug.yaml",
        "--profile",
        profile,
        "--data",
        str(root),
        "--out",
        str(run),
    ]
    asked += [f"--hours={args.minutes / 60}", f"--seed={args.seed}"]
    asked += [] if args.spacing_mm is None else [f"--spacing-mm={args.spacing_mm}"]
    return [*asked, *(part for each in SETTINGS[profile] for part in ("--set", each))]


def row_of(run: records.Run, device: str) -> Row:
    """What the search came to."""
    compared = compare(run)
    assert isinstance(compared, Comparison), compared
    places = _workers(run)
    search = run.trials[run.trials["role"] == "search"]
    recipe = (run.promotion or {}).get("recipe")
    final = (run.promotion or {}).get("final")
    figures: dict[str, Any] = {
        "device": device,
        "wall time, min": f"{run.seconds / 60:.1f}",
        "trials (stopped early)": f"{len(search)} ({(search['status'] == 'stopped').sum()})",
        "films/s of one training": f"{run.curves['films_per_s'].median():.0f}",
        "time in which trainings compute, %": f"{100 * run.curves['seconds'].sum() / (places * run.seconds):.0f}",
        "final networks": "–" if final is None else f"{len(final['networks'])} x {final['epochs']} epochs",
    }
    for name in (records.ENSEMBLE, records.BEST_SINGLE, records.BASELINE):
        if name in compared.rows:
            found = summarize(compared.rows[name].errors_mm)
            figures[f"{name}, test MRE, mm (SDR at 2 mm, %)"] = f"{found.mre_mm:.3f} ({found.sdr_2mm:.1f})"
    figures["the recipe with all the time"] = "–" if recipe is None else f"{recipe['predicted_mm']:.3f} predicted: {all_the_time(recipe)}"
    return figures


def _workers(run: records.Run) -> int:
    """Trainings that ran at a time."""
    return next((int(event["workers"]) for event in records.read_events(run.folder.path) if "workers" in event), 1)


def main() -> None:
    parser = measuring.arguments(__doc__)
    parser.add_argument("--spacing-mm", type=float, metavar="X", help="mm per pixel of the films, unless they are 1935 x 2400 px")
    parser.add_argument("--minutes", type=float, default=8.0, metavar="M", help="wall time of the whole")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the search")
    args = parser.parse_args()
    if not args.quick and "CEPH_DATA_ROOT" not in os.environ:
        parser.error("CEPH_DATA_ROOT must name the folder that holds isbi2015/")
    has_gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if has_gpu else "CPU: the search has not run on a GPU"
    folder = Path(tempfile.mkdtemp())
    try:
        if args.quick:
            run = draw_run(folder).path  # live_pipelines.py runs a search in its short form
        else:
            run = folder / "run"
            subprocess.run(command(args, "gpu" if has_gpu else "cpu", run), check=True, cwd=ROOT, stdout=sys.stderr)
        row = row_of(records.load(run), device)
    finally:
        shutil.rmtree(folder)
    measuring.publish(
        "gpu_search", {"A whole search on one card": [{"figure": key, "found": value} for key, value in row.items()]}, args.quick, PAGE
    )


if __name__ == "__main__":
    main()
