"""A trial as Ray drives it, without Ray: the actor's calls in the order that Tune makes them."""

import json
from pathlib import Path

import pytest

from ceph_core.config import Config, get
from ceph_core.data import cache, fingerprint
from ceph_core.data.films import TrainingData
from ceph_core.training.checkpoint import STATE_FILE
from ceph_core.training.trainer import EpochResult
from search.policy import Policy
from search.records import Ledger
from search.space import Space, load
from search.tune.trial import REPORTS_FILE, LandmarkTrial, Order, Shared, read_reports
from tests.core.drawn_films import make, tiny
from tests.search.made_up import mre_mm, result_of
from tests.search.simulated import NO_LIMIT, made_up_space

SPACES = sorted((Path(__file__).parents[2] / "spaces").glob("*.yaml"))

received: list[Config] = []


class Recorded:
    """A training of one epoch that keeps the configuration it was given."""

    epoch = 0
    examples = ()

    def __init__(self, config: Config) -> None:
        received.append(config)
        self.config = config

    def __iter__(self) -> "Recorded":
        return self

    def __next__(self) -> EpochResult:
        self.epoch += 1
        return result_of(self.config, self.epoch, 5.0 + self.config.heatmap.sigma_rel * len(received))

    def state(self) -> dict:
        return {}

    def close(self) -> None:
        pass


def record(config: Config, data: object, resume: Path | None) -> Recorded:
    return Recorded(config)


def _actor(order: Order, build: str = "tests.search.made_up:build") -> LandmarkTrial:
    """What Tune makes of an order: a fresh actor, set up but not stepped."""
    actor = LandmarkTrial.__new__(LandmarkTrial)
    actor.setup(_sent(order), Shared(None, (0.2, 0.5), 1, False, build))
    return actor


def actor_on(folder: Path, config: Config, data: TrainingData, rungs: tuple[float, ...]) -> tuple[LandmarkTrial, Path]:
    """An actor that trains for real, and its folder."""
    actor = LandmarkTrial.__new__(LandmarkTrial)
    actor.setup(_sent(Order(folder.name, config.model_dump(mode="json"), str(folder))), Shared(data, rungs, 1, False))
    return actor, folder


def _sent(order: Order) -> dict:
    return json.loads(json.dumps({"order": vars(order)}))


def _order(folder: Path, **changes) -> Order:
    config = made_up_space().configure(made_up_space().baseline, seed=0)
    return Order(folder.name, config.model_dump(mode="json"), str(folder), **changes)


@pytest.mark.parametrize("profile", ["gpu", "cpu"])
@pytest.mark.parametrize("path", SPACES, ids=[path.stem for path in SPACES])
def test_every_knob_reaches_training(tmp_path, path, profile):
    """Through policy, ledger, order and actor: what a training is given is what the sampler drew, in Sobol start and model alike."""
    space: Space = load(path, profile, ["sampler.startup_trials=6", "budget.trials=14"])
    received.clear()
    drawn, actor = [], None
    with Ledger(tmp_path) as ledger:
        policy = Policy(space, ledger, 5, 1, NO_LIMIT)
        while (assignment := policy.next()) is not None:
            order = Order(assignment.trial, assignment.config.model_dump(mode="json"), str(tmp_path / assignment.trial))
            if actor is None:
                actor = _actor(order, f"{__name__}:record")
            else:
                assert actor.reset_config(_sent(order))
            figures = {**actor.step(), "epoch": assignment.config.train.epochs}
            policy.report(assignment.trial, figures)
            drawn.append(policy.trials[assignment.trial].values)
        told = [event["values"] for event in ledger.events() if event["event"] == "trial"]
    assert told == drawn
    assert len(received) == len(drawn) == 14
    seen: dict[str, set] = {knob.key: set() for knob in space.knobs}
    for values, config in zip(drawn, received, strict=True):
        assert config == space.configure(values, seed=5)
        for key, value in values.items():
            seen[key].add(value)
            if key == "schedule":
                recipe = space.schedules[value]
                assert config.model.name == recipe["model.name"]
                assert len(config.schedule.stages) == len(recipe.get("stages", [0]))
            else:
                assert get(config, key) == value
    assert all(len(values) > 1 for values in seen.values()), f"a knob never varied: {seen}"


def test_state_is_saved_at_rungs_and_at_the_end(tmp_path):
    actor = _actor(_order(tmp_path / "t"))
    saved = []
    for epoch in range(1, 10):
        figures = actor.step()
        assert figures["epoch"] == epoch
        actor._saver.wait()
        state = tmp_path / "t" / STATE_FILE
        saved.append(state.exists() and state.stat().st_mtime_ns)
    assert [epoch for epoch in range(2, 10) if saved[epoch - 1] != saved[epoch - 2]] == [2, 5, 9]
    assert list(read_reports(tmp_path / "t")) == list(range(1, 10))


def test_the_second_trial_on_a_node_reads_no_film(tmp_path, monkeypatch):
    """Also at another size, where the run cached all that its trials may ask for."""
    data = make(tmp_path / "films", train=6, validation=2)
    for size in (64, 96):
        data.open(size)

    def order(name, **knobs):
        return _sent(Order(name, tiny(train__epochs=2, **knobs).model_dump(mode="json"), str(tmp_path / name)))

    actor = LandmarkTrial.__new__(LandmarkTrial)
    actor.setup(order("t0000"), Shared(data, (), 1, False))
    actor.step()

    def refuse(path):
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(cache, "read_bytes", refuse)
    monkeypatch.setattr(fingerprint, "read_bytes", refuse)
    for number, knobs in enumerate(({"train__seed": 1}, {"data__image_size": 96}), start=1):
        assert actor.reset_config(order(f"t{number:04d}", **knobs))
        assert [actor.step()["epoch"] for _ in range(2)] == [1, 2]
    actor.cleanup()


def test_an_ended_actor_saves_and_another_goes_on(tmp_path):
    folder = tmp_path / "t"
    actor = _actor(_order(folder))
    values = [actor.step()["val_mre_mm"] for _ in range(3)]
    actor.cleanup()
    again = _actor(_order(folder, reported=3))
    values += [again.step()["val_mre_mm"] for _ in range(6)]
    config = Config.model_validate(_order(folder).config)
    assert values == [mre_mm(config, epoch) for epoch in range(1, 10)]


def test_reports_nobody_heard_are_told_first(tmp_path):
    """The driver died between an actor's save and the ledger."""
    actor = _actor(_order(tmp_path / "t"))
    for _ in range(5):
        actor.step()
    actor._saver.wait()
    again = _actor(_order(tmp_path / "t", reported=3))
    assert [again.step()["epoch"] for _ in range(4)] == [4, 5, 6, 7]
    assert len(read_reports(tmp_path / "t")) == 7


def test_a_state_behind_the_ledger_trains_again(tmp_path):
    actor = _actor(_order(tmp_path / "t"))
    for _ in range(4):
        actor.step()
    actor._saver.wait()
    again = _actor(_order(tmp_path / "t", reported=4))  # no cleanup: killed; the state is of the rung at epoch 2
    assert [again.step()["epoch"] for _ in range(3)] == [3, 4, 5]


def test_a_state_that_is_gone_is_made_again(tmp_path):
    folder = tmp_path / "t"
    actor = _actor(_order(folder))
    before = [actor.step() for _ in range(4)]
    actor._saver.wait()
    (folder / STATE_FILE).unlink()
    again = _actor(_order(folder, reported=4))
    after = [again.step() for _ in range(5)]
    assert [figures["val_mre_mm"] for figures in after[:4]] == [figures["val_mre_mm"] for figures in before]
    assert after[4]["epoch"] == 5


def test_one_that_was_given_up_for_lost_writes_no_more(tmp_path):
    """Its node could not be reached, another goes on, and then it turns out to live."""
    folder = tmp_path / "t"
    lost = _actor(_order(folder))
    for _ in range(3):
        lost.step()
    lost._saver.wait()
    again = _actor(_order(folder, reported=3))
    assert [again.step()["epoch"] for _ in range(3)] == [3, 4, 5]
    again._saver.wait()
    state, reports = (folder / STATE_FILE).read_bytes(), (folder / REPORTS_FILE).read_bytes()
    with pytest.raises(RuntimeError, match="another worker has gone on with this trial"):
        lost.step()
    lost.cleanup()
    assert ((folder / STATE_FILE).read_bytes(), (folder / REPORTS_FILE).read_bytes()) == (state, reports)


def test_what_nobody_heard_of_a_candidate_is_told_of_its_confirmation(tmp_path):
    """The candidate's state was an epoch ahead of the ledger when the search ended."""
    actor = _actor(_order(tmp_path / "t"))
    for _ in range(5):
        actor.step()
    actor.reset_config(_sent(_order(tmp_path / "t-full", reported=4, start_from=str(tmp_path / "t"))))
    assert [actor.step()["epoch"] for _ in range(3)] == [5, 6, 7]


def test_a_report_that_was_torn_is_made_again(tmp_path):
    """By training from the first epoch on: going on from the state would leave a gap that nobody could fill."""
    actor = _actor(_order(tmp_path / "t"))
    actor.step()
    actor.step()
    actor._saver.wait()
    path = tmp_path / "t" / REPORTS_FILE
    path.write_text(path.read_text()[:-30])
    again = _actor(_order(tmp_path / "t", reported=1))
    assert [again.step()["epoch"] for _ in range(3)] == [1, 2, 3]
    assert list(read_reports(tmp_path / "t")) == [1, 2, 3]


def test_confirmation_starts_from_the_candidate(tmp_path):
    actor = _actor(_order(tmp_path / "t"))
    for _ in range(5):
        actor.step()
    actor.reset_config(_sent(_order(tmp_path / "t-full", reported=5, start_from=str(tmp_path / "t"))))
    assert [actor.step()["epoch"] for _ in range(4)] == [6, 7, 8, 9]
    assert (tmp_path / "t-full" / STATE_FILE).exists()


def test_a_failed_epoch_leaves_the_last_good_state(tmp_path, monkeypatch):
    actor = _actor(_order(tmp_path / "t"))
    for _ in range(3):
        actor.step()
    actor._saver.wait()
    good = (tmp_path / "t" / STATE_FILE).read_bytes()
    monkeypatch.setenv("MADE_UP_FAIL", "raise:train.lr>0")
    with pytest.raises(ValueError, match="made to fail"):
        actor.step()
    actor.cleanup()
    assert (tmp_path / "t" / STATE_FILE).read_bytes() == good


def test_a_gpu_trial_never_falls_back_to_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    actor = _actor(_order(tmp_path / "t0000"))
    assert actor._device().type == "cpu"
    actor._shared = Shared(None, (0.2, 0.5), 1, True, None)
    with pytest.raises(RuntimeError, match="torch sees none"):
        actor._device()


def test_the_dashboard_is_told_whose_trials_an_actor_trains(tmp_path):
    actor = _actor(_order(tmp_path / "my-run" / "trials" / "t0003"))
    assert repr(actor) == "trials of my-run, t0003 first"
