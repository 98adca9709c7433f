"""What Prometheus is told, and that the dashboard asks for exactly that."""

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from search.policy import Policy
from search.prometheus import METRICS, Measures, Sample
from search.records import Event, Ledger
from search.replay import Clock
from tests.search.made_up import result_of
from tests.search.simulated import NO_LIMIT, Killed, made_up_space, simulate

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana" / "ceph-search.json"


class Told:
    """A policy and what is told of it, event by event as the driver does it."""

    def __init__(self, folder: Path, ledger: Ledger, share: float = 1.0) -> None:
        self._waiting: list[Event] = []
        self.policy = Policy(made_up_space(), ledger, 3, 2, NO_LIMIT, Clock(), observers=[self._hear])
        self.measures = Measures("run", self.policy, "gpu", share, ledger.events())

    def _hear(self, event: Event) -> None:
        self.measures.on_event(event)

    def by_name(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Values by metric and labels, the run left out."""
        found: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
        for sample in self.measures.samples(60.0):
            found[sample.metric][tuple(value for key, value in sample.labels.items() if key != "run")] = sample.value
        return found

    def report(self, trial: str, epoch: int, value_mm: float, **changes: object) -> None:
        figures = result_of(self.policy.trials[trial].config, epoch, value_mm).figures()
        self.policy.report(trial, {**figures, "seconds": 10.0, **changes})


def next_trial(told: Told, places: int = 1) -> str:
    assignment = told.policy.next()
    assert assignment is not None
    told.measures.begun(assignment.trial, places)
    return assignment.trial


def test_a_whole_search_is_counted(tmp_path):
    with Ledger(tmp_path) as ledger:
        told = Told(tmp_path, ledger)
        simulate(told.policy, fail="raise:augment.strength>1.6")
        events = list(ledger.events())
    found = told.by_name()
    ended = [event["status"] for event in events if event["event"] == "end"]
    counts = {status: found["ceph_search_trials"]["search", status] for status in ("pending", "running", "completed", "stopped", "failed")}
    assert counts == {"pending": 0, "running": 0, **{status: ended.count(status) for status in ("completed", "stopped", "failed")}}
    assert counts["stopped"] and counts["failed"]
    reports = [event for event in events if event["event"] == "report"]
    assert found["ceph_search_epochs"][()] == len(reports)
    assert found["ceph_search_device_seconds"][("gpu",)] == pytest.approx(sum(event["seconds"] for event in reports))
    # Every epoch takes a second, so a stopped trial spares as many seconds as it lacks epochs.
    stopped = [state for state in told.policy.trials.values() if state.status == "stopped"]
    spared = sum(state.config.train.epochs - state.epoch for state in stopped)
    assert found["ceph_search_saved_device_seconds"][("gpu",)] == pytest.approx(spared, rel=0.25)
    assert found["ceph_search_best_val_mre_mm"][()] == told.policy.ranking()[0].value_mm
    assert found["ceph_search_baseline_val_mre_mm"][()] == told.policy.baseline.value_mm
    assert not any(name.startswith("ceph_trial") for name in found), "a trial that has ended is told of no more"


def test_a_resumed_run_goes_on_counting(tmp_path):
    with Ledger(tmp_path) as ledger:
        with pytest.raises(Killed):
            simulate(Told(tmp_path, ledger).policy, fail="raise:augment.strength>1.6", stop_after=12)
        before = len([event for event in ledger.events() if event["event"] == "report"])
    with Ledger(tmp_path) as ledger:
        again = Told(tmp_path, ledger)
        found = again.by_name()
        assert found["ceph_search_epochs"][()] == before > 0
        assert found["ceph_search_trials"]["search", "running"] == 0 < found["ceph_search_trials"]["search", "pending"]
        simulate(again.policy, fail="raise:augment.strength>1.6")
        found = again.by_name()
        assert found["ceph_search_epochs"][()] == len([event for event in ledger.events() if event["event"] == "report"])


def test_a_trial_that_runs_is_told_of_in_units_of_prometheus(tmp_path):
    with Ledger(tmp_path) as ledger:
        told = Told(tmp_path, ledger, share=0.25)
        first = next_trial(told, places=2)
        assert set(told.by_name()["ceph_trial_planned_epochs"]) == {(first,)}
        told.report(first, 1, 4.0, peak_memory_mb=2.0)
        told.report(first, 2, float("nan"), validated=False, train_loss=0.25, peak_memory_mb=2.0)
        found = {name: values[(first,)] for name, values in told.by_name().items() if name.startswith("ceph_trial")}
        assert found["ceph_trial_epoch"] == 2 and found["ceph_trial_planned_epochs"] == 9
        assert found["ceph_trial_val_mre_mm"] == 4.0, "between validations the last one stands"
        assert found["ceph_trial_train_loss"] == 0.25
        assert found["ceph_trial_val_sdr_2mm_ratio"] == pytest.approx(0.1353, abs=1e-3)
        assert found["ceph_trial_peak_memory_bytes"] == 2 * 2**20
        # Two places of a quarter each, for two epochs of 10 s.
        assert told.by_name()["ceph_search_device_seconds"][("gpu",)] == pytest.approx(10.0)
        told.policy.lost(first, "its node went. And more")
        found = told.by_name()
        assert found["ceph_search_retries"] == {("memory",): 0, ("lost",): 1}
        assert found["ceph_search_trials"]["search", "pending"] == 1
        assert "ceph_trial_epoch" not in found, "it waits for a place"


def test_the_clock_saves_nothing(tmp_path):
    with Ledger(tmp_path) as ledger:
        told = Told(tmp_path, ledger)
        first = next_trial(told)
        told.report(first, 1, 4.0)
        told.policy.lost(first, "gone")
        told.policy.stop("time for the search is up")
        assert told.policy.trials[first].status == "stopped"
        assert told.by_name()["ceph_search_saved_device_seconds"][("gpu",)] == 0


def test_every_sample_is_a_declared_series(tmp_path):
    declared = {metric.name: set(metric.labels) for metric in METRICS}
    assert len(declared) == len(METRICS)
    with Ledger(tmp_path) as ledger:
        told = Told(tmp_path, ledger)
        told.report(next_trial(told), 1, 4.0)
        samples: list[Sample] = list(told.measures.samples(1.0))
    assert {sample.metric for sample in samples} == declared.keys()
    for sample in samples:
        assert set(sample.labels) == declared[sample.metric]
    series = [(sample.metric, *sorted(sample.labels.items())) for sample in samples]
    assert len(series) == len(set(series))


# --- the dashboard


def queries() -> list[str]:
    board = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    return asked + [variable["query"]["query"] for variable in board["templating"]["list"] if variable["type"] == "query"]


def test_the_dashboard_asks_for_what_is_exported_and_for_all_of_it():
    asked = {name for query in queries() for name in re.findall(r"\b(?:ray_)?ceph_\w+", query)}
    assert asked == {f"ray_{metric.name}" for metric in METRICS}


def test_the_dashboard_selects_and_groups_by_labels_that_are_there():
    labels = {f"ray_{metric.name}": set(metric.labels) for metric in METRICS}
    for query in queries():
        used = set(re.findall(r"(\w+)=", query)) | {label for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(", ")}
        for name in re.findall(r"\bray_ceph_\w+", query):
            assert used <= labels[name], query
        if "label_values" not in query:
            assert 'run=~"$run"' in query and "max by (run" in query, f"{query}: Ray adds labels of its own, of processes that change"


def test_every_panel_has_a_unit_an_explanation_and_the_chosen_source():
    board = json.loads(DASHBOARD.read_text())
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "run", "trial"]
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in panels:
        assert panel["fieldConfig"]["defaults"]["unit"] and panel["description"], panel["title"]
        assert {source["uid"] for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"]))} == {
            "${datasource}"
        }
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in board["panels"]):
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells


def test_a_confirming_trial_that_goes_on_is_pending_again(tmp_path):
    with Ledger(tmp_path) as ledger:
        told = Told(tmp_path, ledger)
        trial = {"trial": "t0000-seed1"}
        told.measures.on_event({"event": "trial", **trial, "role": "confirm"})
        told.measures.on_event({"event": "end", **trial, "status": "stopped", "reason": "time for promotion is up"})
        assert told.by_name()["ceph_search_trials"]["confirm", "stopped"] == 1
        told.measures.on_event({"event": "reopened", **trial})
        found = told.by_name()["ceph_search_trials"]
        assert (found["confirm", "stopped"], found["confirm", "pending"]) == (0, 1)
