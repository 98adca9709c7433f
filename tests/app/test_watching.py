"""A search that really runs, watched by others: Prometheus, Optuna, a log file."""

import json
import re
import time
import urllib.request
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from search.overview import overview
from search.prometheus import METRICS
from search.records import RunFolder
from tests.app.driving import PATIENCE_S, driver, write_space


def targets(log: str) -> list[str]:
    """Where Prometheus would ask, by the file in the command that the run printed; none while Ray has not written it."""
    found = re.search(r"prometheus --config\.file=(\S+)", log)
    config = Path(found[1]) if found else None
    if config is None or not config.exists():
        return []
    files = [
        name for job in yaml.safe_load(config.read_text())["scrape_configs"] for each in job["file_sd_configs"] for name in each["files"]
    ]
    return [target for name in files if Path(name).exists() for group in json.loads(Path(name).read_text()) for target in group["targets"]]


def scraped(addresses: list[str]) -> str:
    text = []
    for address in addresses:
        try:
            text.append(urllib.request.urlopen(f"http://{address}/metrics", timeout=5).read().decode())
        except OSError:  # Ray's own, not up yet
            continue
    return "\n".join(text)


@pytest.mark.slow
def test_a_run_can_be_watched(tmp_path, films):
    run, log = tmp_path / "run", tmp_path / "log"
    space = write_space(tmp_path, budget={"trials": 100}, resources={"max_concurrent": 2}, scheduler={"rungs": [0.5]})
    with driver("run_search.py", "--space", space, "--data", films, "--profile", "cpu", "--out", run, log=log, epoch_s=1.0) as live:
        for sign in ("trial", "report", "end"):  # each may take a while on a busy machine
            live.wait_for(run, lambda events, sign=sign: any(event["event"] == sign for event in events))
        wanted = {f"ray_{metric.name}" for metric in METRICS}
        deadline = time.monotonic() + PATIENCE_S
        while missing := wanted - set(re.findall(r"^(ray_ceph_\w+)\{", text := scraped(targets(live.said())), re.MULTILINE)):
            assert time.monotonic() < deadline, f"not exported: {missing}"
            time.sleep(1)
        assert re.search(r'^ray_ceph_search_trials\{.*run="run".*status="running".*\} [12]\.0$', text, re.MULTILINE)
        # Who runs is told of; the first trial, which has ended, is told of no more.
        gone = re.compile(r'^ray_ceph_trial_epoch\{.*trial="t0000"', re.MULTILINE)
        live.wait_for(run, lambda events: any(event["event"] == "end" and event["trial"] == "t0000" for event in events))
        while gone.search(text := scraped(targets(live.said()))):
            assert time.monotonic() < deadline + PATIENCE_S, "a series outlives its trial"
            time.sleep(1)
        assert "ray_ceph_trial_epoch{" in text

        trials = optuna.load_study(storage=JournalStorage(JournalFileBackend(str(run / "study.journal"))), study_name="run").trials
        assert {trial.user_attrs["trial"] for trial in trials} == {f"t{trial.number:04d}" for trial in trials}
        assert any(trial.intermediate_values for trial in trials)
        assert all(trial.user_attrs["reason"] for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED))
        assert overview(RunFolder(run)).state == "running"
        assert list((run / "tensorboard" / "t0000").glob("events.*"))

        said = live.said()
        assert "\x1b" not in said and "\r" not in said, "a log is plain text"
        assert f"optuna-dashboard {run}/study.journal" in said and f"tensorboard --logdir {run}/tensorboard" in said
        assert re.search(r"machines, actors +http://127\.0\.0\.1:\d+ ", said)
        while not re.search(r"\| trials: .*running.* \| best .* \| search time left: ", live.said()):
            assert time.monotonic() < deadline + 2 * PATIENCE_S, "a log that never says how the search stands"
            time.sleep(1)
