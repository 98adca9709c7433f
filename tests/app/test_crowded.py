"""Two trials on one GPU: what runs out of memory beside its neighbour goes on with the GPU to itself."""

import pytest

from search import records
from tests.app.driving import assert_sound, driver, write_space
from tests.app.nodes import cluster

LIMIT = 1.2


@pytest.mark.slow
def test_what_was_crowded_out_is_tried_alone(tmp_path, films):
    """The made-up training fails unless Ray gave it the whole GPU, which only Ray's scheduling knows of."""
    run, log = tmp_path / "run", tmp_path / "log"
    space = write_space(tmp_path, budget={"trials": 6}, resources={"gpus_per_trial": "1/2", "max_concurrent": None})
    with cluster(tmp_path, 1, cpus=4, gpus=1, epoch_s=0.1, fail=f"crowded:augment.strength>{LIMIT}") as nodes:
        command = ["run_search.py", "--space", space, "--data", films, "--profile", "gpu", "--out", run, "--address", nodes.address]
        with driver(*command, log=log) as live:
            assert live.wait() == 0, live.said()
    assert "2 trials at a time" in live.said()
    assert_sound(run)
    events = records.read_events(run)
    strong = [event["trial"] for event in events if event["event"] == "trial" and event["values"]["augment.strength"] > LIMIT]
    assert sum(not trial.endswith("-full") for trial in strong) >= 2
    retries = [event for event in events if event["event"] == "retry"]
    assert sorted(event["trial"] for event in retries) == sorted(strong)
    assert {event["cause"] for event in retries} == {"memory"}
    assert {event["status"] for event in events if event["event"] == "end"} <= {"completed", "stopped"}
