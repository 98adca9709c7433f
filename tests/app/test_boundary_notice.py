"""At the end of a run the terminal says which ranges were too narrow, and the command it prints is taken as it stands."""

import shlex

import pytest

from search import records
from search.boundary import boundary_optima_of, options
from tests.app.driving import driver, write_space

pytestmark = pytest.mark.slow


def test_the_terminal_says_which_range_to_widen(tmp_path, films):
    run, log = tmp_path / "run", tmp_path / "log"
    searched = {"heatmap.sigma_rel": {"float": [0.06, 0.095], "log": True}}
    start = [{"heatmap.sigma_rel": 0.07, "augment.strength": 1.0, "train.batch_size": 2, "train.lr": 5e-4}]
    space = write_space(tmp_path, search=searched, start_from=start, sampler={"name": "curve_gp"}, budget={"trials": 30})
    common = ("run_search.py", "--space", space, "--data", films, "--profile", "cpu")
    with driver(*common, "--out", run, log=log) as live:
        assert live.wait() == 0, live.said()
    (optimum,) = (each for each in boundary_optima_of(records.load(run)) if each.knob == "heatmap.sigma_rel")
    assert str(optimum) in live.said().splitlines()
    with driver(*common, "--dry-run", "--warm-start", run, *shlex.split(options([optimum])), log=log) as live:
        assert live.wait() == 0, live.said()
    assert "30 of 30 trials teach the sampler" in live.said()
    assert "- 0.03\n" in live.out
