"""What Tune keeps of a trial."""

from types import SimpleNamespace

import pytest

from search.tune.forget import Forget


def test_a_reports_figures_are_not_kept_and_what_tune_reads_is():
    result = {"trial_id": "x", "training_iteration": 3, "done": True, "val_mre_mm": 2.0, "config": {"order": {}}, "seconds": 1.0}
    Forget().on_trial_result(1, [], SimpleNamespace(), result)
    assert result == {"trial_id": "x", "training_iteration": 3, "done": True}


@pytest.mark.parametrize("end", ["on_trial_complete", "on_trial_error"])
def test_an_ended_trial_keeps_its_name(end):
    order = {"trial": "t0001", "config": {"train": {"epochs": 9}}, "folder": "here"}
    kept = SimpleNamespace(metric_analysis={"pid": {"max": 1}}, metric_n_steps={"pid": {"5": [1]}})
    trial = SimpleNamespace(
        config={"order": order}, evaluated_params={"order/config/train/epochs": 9}, experiment_tag="1_epochs=9", run_metadata=kept
    )
    getattr(Forget(), end)(1, [trial], trial)
    getattr(Forget(), end)(1, [trial], trial)
    assert trial.config == {"order": {"trial": "t0001", "folder": "here"}}
    assert not trial.evaluated_params and not kept.metric_analysis and not kept.metric_n_steps
