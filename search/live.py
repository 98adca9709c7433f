"""What people see of a run in the terminal: a page that renews itself, or lines in a log that are never silent for long."""

import math
import sys
import time
from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.live import Live

from ceph_core.config import Config
from ceph_core.data.films import EVERY_FILM
from ceph_core.duration import duration
from ceph_core.training.health import findings, names_in
from search.candidates import Training
from search.live_page import page, short, summary
from search.policy import Policy
from search.promotion import FINAL
from search.promotion.jobs import trial_of
from search.records import Event

LINE_EVERY_S = 15.0
"""A log file gets a line at least this often."""
SUMMARY_EVERY_S = 60.0
"""However much else is said: how the search stands."""
EPOCH_EVERY_S = 5.0
"""A trial's epochs get a line at most this often, but for those that decide something."""
PAGE_EVERY_S = 0.5
_LOG_WIDTH = 160
"""Columns of a log file, which has no width of its own."""


class LiveView:
    """Progress on stderr.  As an observer of the policy it says in a line what happened; `tick` renews the rest.

    Attributes:
        hints: lines below the page: what else to open.
        jobs_line: where promotion's trainings stand, in a line.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.console = console or Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else _LOG_WIDTH)
        self.hints: tuple[str, ...] = ()
        self.elapsed_s: Callable[[], float] = lambda: 0.0
        self.jobs_line: Callable[[], str] = lambda: "promotion"
        self._live: Live | None = None
        self._policy: Policy | None = None
        self._last_line = self._last_page = self._last_summary = -math.inf
        self._last_epoch: dict[str, float] = {}
        self._configs: dict[str, Config] = {}
        self._findings: dict[str, set[str]] = {}

    def say(self, text: str) -> None:
        """One line that stays."""
        # Rich draws the page anew in the same print, with the same options: unwrapped, it would miscount the lines it has to erase.
        self.console.print(text, markup=False, soft_wrap=self._live is None)
        self._last_line = self._clock()

    def watch(self, policy: Policy) -> None:
        """Show this search from now on; what its trials' health showed before a resume was said then."""
        self._policy = policy
        self._last_summary = self._clock()
        self._findings |= {trial: set(state.health) for trial, state in policy.trials.items()}
        if self.console.is_terminal and not self.console.is_dumb_terminal:  # a dumb one cannot go back over what it has shown
            self._live = Live(self._page(), console=self.console, refresh_per_second=1 / PAGE_EVERY_S, transient=True)
            self._live.start()

    def close(self) -> None:
        """Show nothing more."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._policy = None

    def tick(self) -> None:
        """Time has passed."""
        now = self._clock()
        if self._live is not None:
            if now - self._last_page >= PAGE_EVERY_S:
                self._live.update(self._page())
                self._last_page = now
        elif now - self._last_line >= LINE_EVERY_S or (self._policy is not None and now - self._last_summary >= SUMMARY_EVERY_S):
            self._last_summary = now
            self.say(f"{duration(self.elapsed_s())} | {self.jobs_line()}" if self._policy is None else self.line(self._policy))

    def on_event(self, event: Event) -> None:
        """Say what entered the ledger: trials that begin and end, and epochs where there is no table to show them."""
        kind = event["event"]
        if kind == "trial" and event["role"] == FINAL:
            films = "every film that is not locked" if event["fold"] == EVERY_FILM else "the training films"
            self.say(f"{event['trial']} is queued: {event['candidate']}'s setting for good, on {films}, seed {event['seed']}")
            self._configs[event["trial"]] = Config.model_validate(event["config"])
        elif kind == "trial" and event["role"] == "confirm":
            goes_on = event["trial"] == trial_of(event["candidate"], Training(0, -1))
            how = "on to the end" if goes_on else f"anew with seed {event['seed']}"
            fold = f", judged on fold {event['fold']}" if event["fold"] >= 0 else ""
            self.say(f"{event['trial']} is queued: {event['candidate']} trains {how}{fold}")
            self._findings[event["trial"]] = set(self._findings.get(event["candidate"], ()))
            self._configs[event["trial"]] = Config.model_validate(event["config"])
        elif kind == "trial":
            values = ", ".join(f"{key.split('.')[-1]}={short(value)}" for key, value in event["values"].items())
            self.say(f"{event['trial']} starts{' (baseline)' if event['is_baseline'] else ''}: {values}")
        elif kind == "end":
            self._last_epoch.pop(event["trial"], None)
            self.say(f"{event['trial']} {event['status']}: {event['reason']}")
        elif kind == "reopened":
            self.say(f"{event['trial']} is queued again: there is more time than when it was stopped")
        elif kind == "retry":
            why = "its worker was lost" if event["cause"] == "lost" else "out of memory beside others, now alone on its device"
            self.say(f"{event['trial']} goes on from what it saved: {why} ({event['reason']})")
        elif kind == "report":
            self._say_epoch(event)
            self._say_findings(event)

    def _say_epoch(self, event: Event) -> None:
        now, trial = self._clock(), event["trial"]
        decides = event.get("rung") is not None or event.get("decision", "continue") != "continue"
        if self._live is None and (decides or now - self._last_epoch.get(trial, -math.inf) >= EPOCH_EVERY_S):
            self._last_epoch[trial] = now
            mre = event["val_mre_mm"]
            missing = "no value" if event.get("validated", True) else f"loss {event['train_loss']:.4f}, not validated"
            shown = missing if mre is None or not math.isfinite(mre) else f"{mre:.2f} mm, SDR@2 {event['val_sdr_2mm']:.0f} %"
            cut = event.get("micro_batch") or event["batch_size"]
            held = f", {cut:.0f} films at once" if cut < event["batch_size"] else ""
            self.say(f"{trial} epoch {event['epoch']}: {shown} ({event['seconds']:.1f} s, {event['image_size']:.0f} px{held})")

    def _say_findings(self, event: Event) -> None:
        """Problems of a trial's health, each once a trial."""
        trial = event["trial"]
        said = self._findings.setdefault(trial, set())
        new = [name for name in names_in(event.get("health")) if name not in said]
        said.update(new)
        in_search = self._policy.trials.get(trial) if self._policy is not None else None
        config = in_search.config if in_search is not None else self._configs.get(trial)
        # None: a confirming run that was announced to an earlier driver; its findings are in the report.
        for finding in findings(config, new) if config is not None else ():
            if finding.level != "good":
                self.say(f"{trial} epoch {event['epoch']}: health: {finding}")

    def line(self, policy: Policy) -> str:
        """The state of the search in one line."""
        return summary(policy, self.elapsed_s())

    def _page(self) -> RenderableType:
        assert self._policy is not None
        return page(self._policy, self.elapsed_s(), self.console.width, self.console.height, self.hints)
