import math
import warnings

import optuna
import pytest
from curves import BASELINE, SPACE, search
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from search.history import Outcome, Trial
from search.rungs import Rungs
from search.sampler import Sampler
from search.study import StudyMirror, importances


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.journal"


def read(path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name="run").trials


def lived() -> Sampler:
    """Baseline complete, one stopped, one failed, one infeasible, one running."""
    sampler = Sampler(SPACE, [BASELINE])
    for number in range(5):
        sampler.ask(number)
        sampler.trials[number].name = f"t{number:04d}"
        for epoch in (1, 2):
            sampler.report(number, epoch, 4, 5.0 / epoch + number)
    sampler.report(2, 3, 4, math.nan)
    for number, outcome in enumerate((Outcome("complete", 2.5), Outcome("stopped", 3.5), Outcome("failed"), Outcome("infeasible"))):
        sampler.tell(number, outcome)
    return sampler


def shown(trials):
    return [(trial.number, trial.state, trial.value, trial.params, repr(trial.intermediate_values), trial.user_attrs) for trial in trials]


def test_mirror_shows_the_search(path):
    StudyMirror(path, "run", SPACE, lived().trials)
    trials = read(path)
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL, TrialState.RUNNING]
    assert [trial.state for trial in trials] == states
    assert [trial.values for trial in trials] == [[2.5], [3.5], None, None, None]
    assert trials[0].params == BASELINE
    assert trials[0].user_attrs == {"trial": "t0000", "baseline": True, "epochs": 4, "outcome": "complete"}
    assert trials[1].intermediate_values == {1: 6.0, 2: 3.5}
    assert math.isnan(trials[2].intermediate_values[3])


def test_people_find_the_unit_and_what_became_of_a_trial(path):
    """Also while the driver has the journal open, and whether a trial ended before or after it was opened."""
    sampler = lived()
    mirror = StudyMirror(path, "run", SPACE, sampler.trials, lambda trial: {"reason": f"because of {trial.name}", "trained_s": 1.5})
    assert optuna.load_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name="run").metric_names == ["validation MRE, mm"]
    assert [trial.user_attrs.get("reason") for trial in read(path)] == [*(f"because of t000{number}" for number in range(4)), None]
    sampler.tell(4, Outcome("complete", 4.5))
    mirror.update(sampler.trials[4])
    assert read(path)[4].user_attrs["reason"] == "because of t0004" and read(path)[4].user_attrs["trained_s"] == 1.5


def test_appending_equals_rebuilding(path, tmp_path):
    sampler = lived()
    mirror = StudyMirror(path, "run", SPACE)
    for trial in sampler.trials:
        mirror.update(Trial(trial.number, trial.values, name=trial.name, is_baseline=trial.is_baseline))
        mirror.update(trial)
        mirror.update(trial)
    StudyMirror(tmp_path / "other.journal", "run", SPACE, sampler.trials)
    assert shown(read(path)) == shown(read(tmp_path / "other.journal"))


def test_a_torn_and_locked_journal_of_a_killed_driver_is_rebuilt(path):
    sampler = lived()
    StudyMirror(path, "run", SPACE, sampler.trials)
    whole = shown(read(path))
    with path.open("ab") as journal:
        journal.write(b'{"op_code": 4, "work')
    path.with_name(path.name + ".lock").symlink_to(path)
    path.with_name(path.name + ".building").write_bytes(b"half")
    mirror = StudyMirror(path, "run", SPACE, sampler.trials)
    assert shown(read(path)) == whole
    sampler.tell(4, Outcome("complete", 4.5))
    mirror.update(sampler.trials[4])
    assert [trial.number for trial in read(path) if trial.state is TrialState.RUNNING] == []
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_log_level_and_warnings_are_left_as_found(path):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        StudyMirror(path, "run", SPACE, lived().trials)
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert not caught


def test_importance_ranks_the_knob_that_matters_first():
    sampler = Sampler(SPACE, name="random", seed=0)
    search(sampler, Rungs((0.25, 0.5), 3), budget=500, workers=4, seed=0)
    found = importances(sampler.trials, SPACE)
    assert found.reason is None and sum(found.shares.values()) == pytest.approx(1)
    assert next(iter(found.shares)) == "heatmap.sigma_rel"
    assert set(found.shares) == {knob.key for knob in SPACE}


def test_importance_of_too_few_trials_says_why():
    found = importances(lived().trials, SPACE)
    assert found.shares == {} and "2, 1 of them complete" in str(found.reason)
