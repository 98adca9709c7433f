"""What a stranger sees in the terminal: at any width, without colour, and in a log file."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from search.live import EPOCH_EVERY_S, LINE_EVERY_S, SUMMARY_EVERY_S, LiveView
from search.live_page import page
from search.policy import Policy
from search.records import Ledger, RunFolder
from search.replay import Clock
from search.watching import lines, ways
from tests.search.made_up import result_of
from tests.search.simulated import NO_LIMIT, Killed, made_up_space, simulate

HINTS = ("  trials  optuna-dashboard results/run/study.journal",)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """A search in its middle: some run, stopped, completed, failed."""
    with Ledger(tmp_path_factory.mktemp("run")) as ledger:
        policy = Policy(made_up_space(budget={"trials": 20}), ledger, 3, 2, NO_LIMIT, Clock())
        with pytest.raises(Killed):
            simulate(policy, fail="raise:augment.strength>1.8", stop_after=60)
    assert set(policy.num_ended) == {"completed", "stopped", "failed"} and policy.running
    return policy


def shown(policy: Policy, width: int, height: int = 40) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width, height=height).print(page(policy, 3600.0, width, height, HINTS))
    return text.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_page_answers_a_stranger_s_questions_at_any_width(searched, width):
    text = shown(searched, width)
    assert max(map(len, text)) <= width
    whole = re.sub(r"\s+", " ", " ".join(text))
    for state in searched.running.values():
        assert re.search(rf"{state.trial} running +{state.epoch}/9 ", whole)
    best = searched.ranking()[0]
    assert re.search(rf"{best.trial}\*? < {best.status} ", whole), "the best is marked"
    assert f"best {best.value_mm:.2f} mm ({best.trial})" in whole and "search time left: about" in whole
    assert "2 running, 2 completed, 9 stopped, 4 failed" in whole
    assert "rung 0 (20% of the epochs): 12 trials" in whole and HINTS[0] in text
    rows = [line for line in text if re.match(r"t\d{4}", line)]
    assert len({line.index(state) for line in rows for state in ("running", "completed", "stopped") if state in line}) == 1
    assert "…" not in " ".join(line[:44] for line in rows), "which trial, how far and how good is never cut"


def test_knobs_without_room_are_counted(searched):
    assert "; 1 knob" in shown(searched, 80)[0] and "knob" not in shown(searched, 120)[0]


@pytest.mark.parametrize("height", [14, 24, 50])
def test_the_page_fits_the_height(searched, height):
    assert len(shown(searched, 100, height)) <= max(14, height)


def test_nothing_but_text_without_colours(searched, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = io.StringIO()
    Console(file=text, width=100, force_terminal=True, color_system="truecolor").print(page(searched, 60.0, 100, 40))
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", text.getvalue()), "no colour"


class Log:
    """A view of a file, at a time one sets."""

    def __init__(self, **console: object) -> None:
        self.text, self.now = io.StringIO(), 0.0
        self.view = LiveView(Console(file=self.text, width=160, **console), clock=lambda: self.now)  # type: ignore[arg-type]

    def lines(self) -> list[str]:
        return self.text.getvalue().splitlines()


@pytest.mark.parametrize(
    "console", [{"force_terminal": False}, {"force_terminal": True, "_environ": {"TERM": "dumb"}}], ids=["file", "dumb"]
)
def test_a_log_is_plain_and_keeps_a_rhythm(tmp_path: Path, console: dict[str, object]):
    """A training of one epoch a second: its rungs and its end, an epoch now and then, and how the search stands."""
    log = Log(**console)
    with Ledger(tmp_path) as ledger:
        policy = Policy(made_up_space(), ledger, 3, 1, NO_LIMIT, lambda: log.now, observers=[log.view.on_event])
        log.view.watch(policy)
        for _ in range(16):
            assignment = policy.next()
            if assignment is None:
                break
            for epoch in range(1, 10):
                log.now += 1.0
                log.view.tick()
                policy.report(assignment.trial, result_of(assignment.config, epoch, 9.0 + assignment.number - epoch / 2).figures())
                if not policy.is_live(assignment.trial):
                    break
        seconds = log.now
        said = len(log.lines())
        log.now += LINE_EVERY_S
        log.view.tick()
        assert len(log.lines()) == said + 1, "never silent for long"
        log.view.close()
    assert "\x1b" not in log.text.getvalue() and "\r" not in log.text.getvalue()
    epochs = [line for line in log.lines() if re.match(r"t0000 epoch \d:", line)]
    assert [int(line.split()[2][:-1]) for line in epochs] == [1, 2, 5, 9], f"rungs (2, 5), the end, and one in {EPOCH_EVERY_S} s"
    summaries = [line for line in log.lines() if "search time left" in line]
    assert len(summaries) >= seconds // SUMMARY_EVERY_S


def test_an_interrupted_page_leaves_no_lines_behind(searched):
    """Rich erases as many lines as it believes to have drawn: what is said must not change how the page wraps."""
    text = io.StringIO()
    console = Console(file=text, width=60, height=40, force_terminal=True, color_system=None)
    view = LiveView(console, clock=lambda: 0.0)
    view.watch(searched)
    view.say("something happened " * 5)
    view.close()
    drawn = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in text.getvalue().split("\n")]
    assert max(map(len, (line.rpartition("\r")[2] for line in drawn))) <= 60


def test_the_commands_to_watch_with_can_be_copied(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = lines(
        ways(RunFolder(tmp_path / "results" / "my run"), "127.0.0.1:8265", "/tmp/ray/session_1/metrics/prometheus/prometheus.yml")
    )
    told = "\n".join(found)
    assert "http://127.0.0.1:8265 " in told and "ray get-auth-token" in told
    assert "optuna-dashboard 'results/my run/study.journal'" in told
    assert "tensorboard --logdir 'results/my run/tensorboard'" in told
    assert "prometheus --config.file=/tmp/ray/session_1/metrics/prometheus/prometheus.yml" in told
    assert "python -m search list results" in told
    without = "\n".join(lines(ways(RunFolder(tmp_path.parent / "run"), "")))
    assert "http" not in without and "prometheus" not in without and str(tmp_path.parent / "run") in without
