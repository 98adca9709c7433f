"""How many trials share a GPU, and what cannot be trained on any."""

import math
from typing import Any

import pytest

from ceph_core.config import Config, apply
from ceph_core.errors import InputError
from search import memory_model, packing
from search.cost import Timetable
from search.memory_model import MemoryModel
from search.policy import Policy
from search.records import Ledger, histories
from search.replay import Clock
from search.replay.run import MemoryLedger
from search.room import Gpu, Room
from search.space import Space
from search.space.schema import Resources

TREE = {
    "fixed": {"train.epochs": 4, "model.name": "hrnet_w18_small"},
    "search": {"train.batch_size": {"int": [2, 16]}, "data.image_size": {"categorical": [256, 512, 1024]}},
    "start_from": [{"train.batch_size": 4, "data.image_size": 512}],
    "sampler": {"name": "random"},
    "resources": {"cpus_per_trial": 1, "gpus_per_trial": "auto"},
    "budget": {"trials": 60},
}  # fmt: skip


@pytest.fixture(autouse=True)
def counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigabyte, and one for each film of 1024 x 1024 px, a quarter of it if its activations are computed again."""

    def counted(config: Config, canvas: Any, *_: Any) -> float:
        a_film = 1024 * (0.25 if config.train.checkpoint_activations else 1.0)
        return 1024 + a_film * config.train.batch_size * canvas.height * canvas.width / 1024**2

    monkeypatch.setattr(memory_model, "estimate_memory_mb", counted)


def gpu(gb: float) -> Gpu:
    return Gpu("made up", gb * 1024, gb * 1024)


def space(**sections: Any) -> Space:
    return Space.from_dict({**TREE, **sections})


def training(batch: int, size: int) -> Config:
    return apply(Config(), {"model.name": "hrnet_w18_small", "train.batch_size": batch, "data.image_size": size})


def test_as_many_share_a_gpu_as_its_memory_holds() -> None:
    numbers = []
    for gb in (4, 20, 50, 80, 1000):
        room = Room([gpu(1000), gpu(gb)])
        settled, notes = packing.settled(space(), room)
        share = float(settled.resources.gpus_per_trial)
        numbers.append(round(1 / share))
        assert f"auto: {numbers[-1]} trial" in notes[-1]
        if numbers[-1] > 1:
            typical = [room.may_take_mb(training(batch, size)) for batch in (2, 9) for size in (256, 512)]
            assert max(typical) <= gb * 1024 * share
    assert numbers == sorted(numbers) and (numbers[0], numbers[-1]) == (1, 4)


def test_a_number_is_left_as_it_is_and_unknown_memory_shares_nothing() -> None:
    fixed = space(resources={"cpus_per_trial": 1, "gpus_per_trial": "1/3"})
    assert packing.settled(fixed, Room([gpu(1000)]))[0].resources == fixed.resources
    assert packing.settled(space(), Room())[0].resources.gpus_per_trial == 1


def test_what_needs_more_takes_more_shares() -> None:
    room, quarter = Room([gpu(40)]), Resources(gpus_per_trial="1/4")
    taken = [packing.places(training(batch, 1024), room, quarter) for batch in (1, 4, 8, 16, 64)]
    assert taken == sorted(taken) and taken[0] == 1 and taken[-1] == 4 and len(set(taken)) > 2
    for places, batch in zip(taken[:-1], (1, 4, 8, 16), strict=True):
        assert room.may_take_mb(training(batch, 1024)) <= 40 * 1024 * places / 4
    assert packing.places(training(64, 1024), Room([gpu(40)]), Resources(gpus_per_trial=1.0)) == 1
    assert packing.places(training(64, 1024), Room(), Resources(gpus_per_trial=0)) == 1


def test_measured_peaks_make_room_for_more() -> None:
    """Trials that took half of what is counted, as the ledger of a run tells them."""
    ledger = MemoryLedger()
    policy = Policy(space(), ledger, 0, 1, Timetable(math.inf, 0.35), Clock(), room=Room([gpu(26)]))
    for _ in range(8):
        trial = policy.next()
        assert trial is not None
        peak_mb = policy.room.model.counted(trial.config).wanted / 2
        figures = {"epoch": 1, "val_mre_mm": 5.0, "image_size": trial.config.data.image_size, "seconds": 1.0, "peak_memory_mb": peak_mb}
        policy.report(trial.trial, figures)
    before, after = Room([gpu(26)]), Room([gpu(26)])
    after.recall(histories(list(ledger.events())))
    assert after.may_take_mb(training(8, 1024)) == policy.room.may_take_mb(training(8, 1024)) < before.may_take_mb(training(8, 1024))
    shares = [float(packing.settled(space(), room)[0].resources.gpus_per_trial) for room in (before, after)]
    assert shares[1] < shares[0]


def test_a_resume_packs_as_the_run_began_while_that_fits() -> None:
    shares = [float(packing.settled(space(), Room([gpu(80)]), before)[0].resources.gpus_per_trial) for before in (None, 1 / 2, 1.0)]
    assert shares[0] < 1 / 2 and shares[1:] == [1 / 2, 1.0]
    assert packing.settled(space(), Room([gpu(4)]), 1 / 4)[0].resources.gpus_per_trial == 1, "less is free now"


def test_a_start_point_that_fits_on_no_gpu_is_refused_at_the_start() -> None:
    many = [{"train.batch_size": 4, "data.image_size": 1024}, {"train.batch_size": 16, "data.image_size": 256}]
    with pytest.raises(InputError) as refused:
        packing.settled(space(start_from=many), Room([gpu(0.5), gpu(0.6)]))
    assert len(refused.value.problems) == 2
    assert "start_from[0]: not even one film at a time fits" in refused.value.problems[0]
    assert "(made up) has 0.6 GB" in refused.value.problems[0] and "data.image_size to 384" in refused.value.problems[0]
    notes = packing.settled(space(), Room([gpu(2)]))[1]
    assert "start_from[0]: may take" in notes[0] and "fewer films at once" in notes[0]


def test_what_fits_on_no_gpu_never_reaches_a_worker() -> None:
    """One film of 1024 px takes 1.25 GB and more, its activations computed again; batches are cut down, and so do not matter."""
    room = Room([gpu(1.0)])
    assert not room.fits(training(1, 1024)) and room.fits(training(16, 512))
    policy = Policy(space(), MemoryLedger(), 0, 1, Timetable(math.inf, 0.35), Clock(), room=room)
    sizes = set()
    while (trial := policy.next()) is not None:
        sizes.add(trial.config.data.image_size)
        policy.error(trial.trial, "ValueError: enough")
    assert sizes == {256, 512}


def test_a_resumed_search_proposes_as_an_unbroken_one_with_what_it_learned_of_memory(tmp_path: Any) -> None:
    def told(policy: Policy, number: int) -> list[dict[str, Any]]:
        asked = []
        for _ in range(number):
            trial = policy.next()
            assert trial is not None
            asked.append(policy.trials[trial.trial].values)
            peak_mb = 1.6 * policy.room.model.counted(trial.config).wanted
            policy.report(
                trial.trial,
                {
                    "epoch": 1,
                    "val_mre_mm": math.nan,
                    "image_size": trial.config.data.image_size,
                    "seconds": 1.0,
                    "peak_memory_mb": peak_mb,
                },
            )
        return asked

    def opened(ledger: Any) -> Policy:
        return Policy(space(), ledger, 0, 1, Timetable(math.inf, 0.35), Clock(), room=Room([gpu(1.3)]))

    whole = told(opened(MemoryLedger()), 30)
    with Ledger(tmp_path) as ledger:
        first = told(opened(ledger), 11)
        assert first + told(opened(ledger), 19) == whole


def test_a_model_of_other_films_has_another_canvas() -> None:
    assert MemoryModel(aspect=0.5).need(training(4, 512)).wanted < MemoryModel(aspect=1.0).need(training(4, 512)).wanted
