"""The trials of a finished search again, by stock Ray Tune: what a competent user of Ray and PyTorch would write without this project.

A function trainable, a torch Dataset that decodes, resizes, augments and draws heatmaps itself, a plain training loop, a checkpoint and a
validation every epoch, Ray's default loggers and terminal, no reuse of actors.  Configurations, epochs, films and network are those of RUN.

python benchmarks/stock_tune.py RUN STORAGE; its last line is JSON: when the last trial ended (seconds since 1970), epochs trained.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import pandas as pd
import torch
from plain_trainer import Cephalograms
from ray import tune
from torch.utils.data import DataLoader

from ceph_core import models
from ceph_core.config import Config


def train(asked: dict[str, Any], films: dict[str, list[dict[str, Any]]]) -> None:
    """One trial."""
    config, epochs = asked["trial"]["config"], asked["trial"]["epochs"]
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    whole = Config.model_validate(config)
    stride = whole.model.head_stride
    net = models.build(whole.model, len(films["train"][0]["points"]))
    optimizer = torch.optim.AdamW(net.parameters(), lr=whole.train.lr, weight_decay=whole.train.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, whole.train.epochs)
    shown = DataLoader(Cephalograms(films["train"], config, stride, augmented=True), batch_size=whole.train.batch_size, shuffle=True)
    judged = DataLoader(Cephalograms(films["validation"], config, stride, augmented=False), batch_size=whole.train.batch_size)
    spacing_mm = films["validation"][0]["spacing_mm"]
    for epoch in range(1, epochs + 1):
        net.train()
        total = 0.0
        for images, maps, _, _ in shown:
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(net(images), maps)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), whole.train.clip_norm)
            optimizer.step()
            total += loss.item()
        schedule.step()
        net.eval()
        errors = []
        with torch.no_grad():
            for images, _, points, scale in judged:
                maps = net(images)
                place = maps.flatten(2).argmax(-1)
                found = torch.stack([place % maps.shape[-1], place // maps.shape[-1]], dim=-1) * stride
                errors.append(((found - points).norm(dim=-1) / scale[:, None] * spacing_mm).flatten())
        with tempfile.TemporaryDirectory() as folder:
            state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(), "epoch": epoch}
            torch.save(state, Path(folder) / "state.pt")
            figures = {"epoch": epoch, "loss": total / len(shown), "val_mre_mm": float(torch.cat(errors).mean())}
            tune.report(figures, checkpoint=tune.Checkpoint.from_directory(folder))


def main() -> None:
    """All trials, as many at a time as the run had places."""
    run, storage = Path(sys.argv[1]), sys.argv[2]
    events = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    places = next(event["workers"] for event in events if event["event"] == "run")
    epochs = pd.Series([event["trial"] for event in events if event["event"] == "report"]).value_counts()
    trials = [
        {"name": event["trial"], "config": event["config"], "epochs": int(epochs[event["trial"]])}
        for event in events
        if event["event"] == "trial" and event["role"] == "search" and event["trial"] in epochs
    ]
    asked = sum(trial["epochs"] for trial in trials)
    table = pd.read_csv(run / "splits.csv", dtype={"film": str})
    films: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
    for row in table.to_dict("records"):
        if row["split"] in films:
            points = json.loads(Path(row["image"]).with_suffix(".json").read_text())["landmarks_px"].values()
            films[row["split"]].append({"image": row["image"], "points": list(points), "spacing_mm": row["spacing_x_mm"]})
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train, films=films), {"cpu": 1}),
        param_space={"trial": tune.grid_search(trials)},
        tune_config=tune.TuneConfig(metric="val_mre_mm", mode="min", max_concurrent_trials=places),
        run_config=tune.RunConfig(name="stock", storage_path=storage),
    )
    results = tuner.fit()
    ended = time.time()
    assert not results.errors, results.errors
    trained = sum(result.metrics["epoch"] for result in results)
    assert trained == asked, f"{trained} of {asked} epochs were trained"
    print(json.dumps({"ended": ended, "epochs": trained}))


if __name__ == "__main__":
    main()
