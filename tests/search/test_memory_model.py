"""What trainings need of a GPU: counted, then corrected by the peaks they reported."""

from typing import Any

import pytest

from ceph_core.config import Config, apply
from search import memory_model
from search.memory_model import MemoryModel

MEASURED_MB = {
    ("hrnet_w32", 4): 2402, ("hrnet_w32", 8): 4184, ("hrnet_w32", 16): 7734,
    ("hrnet_w48", 4): 3700, ("hrnet_w48", 8): 6134, ("hrnet_w48", 16): 10980,
}  # fmt: skip
"""Peaks on an H100 at 512 x 416 px and their batch (docs/performance.md)."""
COUNTED_MB = {"hrnet_w32": (1070.0, 339.6 / (512 * 416)), "hrnet_w48": (2387.0, 458.3 / (512 * 416))}
"""What is counted for them: fixed, and a pixel."""


@pytest.fixture(autouse=True)
def counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(config: Config, canvas: Any, *_: Any) -> float:
        fixed, a_pixel = COUNTED_MB[config.model.name]
        return fixed + a_pixel * config.train.batch_size * canvas.height * canvas.width

    monkeypatch.setattr(memory_model, "estimate_memory_mb", counted)


def training(name: str = "hrnet_w32", batch: int = 8, **changes: Any) -> Config:
    given = {"model.name": name, "train.batch_size": batch, "data.image_size": 512, "train.epochs": 10}
    return apply(Config(), {**given, **{key.replace("__", "."): value for key, value in changes.items()}})


def model() -> MemoryModel:
    return MemoryModel(aspect=416 / 512)


def test_without_a_peak_the_count_stands_and_its_known_error_is_allowed_for() -> None:
    for (name, batch), peak_mb in MEASURED_MB.items():
        config = training(name, batch)
        need, doubt = model().need(config), model().doubt(config)
        assert need == model().counted(config)
        assert need.wanted * doubt.low <= peak_mb * 1.005 and peak_mb <= need.wanted * doubt.high * 1.005


@pytest.mark.parametrize("left_out", MEASURED_MB)
def test_peaks_of_other_batches_foretell_the_one_left_out(left_out: tuple[str, int]) -> None:
    learned = model()
    for (name, batch), peak_mb in MEASURED_MB.items():
        if (name, batch) != left_out:
            learned.observe(training(name, batch), 1, batch, peak_mb)
    config, peak_mb = training(*left_out), MEASURED_MB[left_out]
    assert learned.need(config).wanted == pytest.approx(peak_mb, rel=0.03)
    assert learned.need(config).wanted * learned.doubt(config).high > peak_mb
    assert learned.doubt(config).high - learned.doubt(config).low < model().doubt(config).high - model().doubt(config).low


def test_order_and_repetition_do_not_matter() -> None:
    told = [(training("hrnet_w32", batch), epoch, batch, 300.0 * batch + epoch) for batch in (2, 4, 8) for epoch in (1, 2, 3)]
    first, second = model(), model()
    for each in told:
        first.observe(*each)
    for each in [*reversed(told), *told]:
        second.observe(*each)
    asked = training("hrnet_w32", 16)
    assert first.need(asked).wanted == pytest.approx(second.need(asked).wanted, rel=1e-12)


def test_a_training_that_was_cut_down_teaches_nothing() -> None:
    learned = model()
    learned.observe(training(batch=8), 1, 4, 60_000.0)
    assert learned.need(training()) == learned.counted(training())


def test_a_peak_counts_for_the_stages_seen_so_far() -> None:
    staged = training(batch=4, schedule__stages=[{"epochs": 0.5, "size": 0.5}, {"epochs": 0.5}])
    early, late = model(), model()
    early.observe(staged, 2, 4, early.counted(training(batch=4, data__image_size=256)).wanted)
    late.observe(staged, 9, 4, late.counted(training(batch=4)).wanted)
    for learned in (early, late):
        learned.observe(training(batch=2), 1, 2, learned.counted(training(batch=2)).wanted)
        assert learned.need(training()).wanted == pytest.approx(learned.counted(training()).wanted, rel=1e-6)
