"""What people see of a run in the terminal: a table that renews itself, or lines in a log that are never silent for long."""

import math
import sys
import time
from collections.abc import Callable
from itertools import chain, islice
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ceph_core.config import Config
from ceph_core.duration import duration
from ceph_core.training.health import findings, names_in
from search.candidates import Training
from search.policy import Policy
from search.promotion.jobs import trial_of
from search.records import Event
from search.standings import TrialState

LINE_EVERY_S = 15.0
"""A log file gets a line at least this often."""
PAGE_EVERY_S = 0.5
_SHOWN = 12
_LOG_WIDTH = 160
"""Columns of a log file, which has no width of its own."""


class LiveView:
    """Progress on stderr.  As an observer of the policy it says in a line what happened; `tick` renews the rest."""

    def __init__(self, dashboard: str = "", console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.dashboard, self._clock = dashboard, clock
        self.console = console or Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else _LOG_WIDTH)
        self._live: Live | None = None
        self._policy: Policy | None = None
        self.elapsed_s: Callable[[], float] = lambda: 0.0
        self._last_line = self._last_page = 0.0
        self._configs: dict[str, Config] = {}
        self._findings: dict[str, set[str]] = {}

    def say(self, text: str) -> None:
        """One line that stays."""
        self.console.print(text, markup=False, soft_wrap=True)
        self._last_line = self._clock()

    def watch(self, policy: Policy) -> None:
        """Show this search from now on; what its trials' health showed before a resume was said then."""
        self._policy = policy
        self._findings |= {trial: set(state.health) for trial, state in policy.trials.items()}
        if self.console.is_terminal:
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
        elif now - self._last_line >= LINE_EVERY_S:
            self.say(f"{duration(self.elapsed_s())} | training goes on" if self._policy is None else self.line(self._policy))

    def on_event(self, event: Event) -> None:
        """Say what entered the ledger: trials that begin and end, and epochs where there is no table to show them."""
        kind = event["event"]
        if kind == "trial" and event["role"] == "confirm":
            goes_on = event["trial"] == trial_of(event["candidate"], Training(0, -1))
            how = "on to the end" if goes_on else f"anew with seed {event['seed']}"
            fold = f", judged on fold {event['fold']}" if event["fold"] >= 0 else ""
            self.say(f"{event['trial']} is queued: {event['candidate']} trains {how}{fold}")
            self._findings[event["trial"]] = set(self._findings.get(event["candidate"], ()))
            self._configs[event["trial"]] = Config.model_validate(event["config"])
        elif kind == "trial":
            values = ", ".join(f"{key.split('.')[-1]}={_short(value)}" for key, value in event["values"].items())
            self.say(f"{event['trial']} starts{' (baseline)' if event['is_baseline'] else ''}: {values}")
        elif kind == "end":
            self.say(f"{event['trial']} {event['status']}: {event['reason']}")
        elif kind == "retry":
            why = "its worker was lost" if event["cause"] == "lost" else "out of memory beside others, now alone on its device"
            self.say(f"{event['trial']} goes on from what it saved: {why} ({event['reason']})")
        elif kind == "report":
            self._say_epoch(event)
            self._say_findings(event)

    def _say_epoch(self, event: Event) -> None:
        if self._live is None:
            mre = event["val_mre_mm"]
            missing = "no value" if event.get("validated", True) else f"loss {event['train_loss']:.4f}, not validated"
            shown = missing if mre is None or not math.isfinite(mre) else f"{mre:.2f} mm, SDR@2 {event['val_sdr_2mm']:.0f} %"
            cut = event.get("micro_batch") or event["batch_size"]
            held = f", {cut:.0f} films at once" if cut < event["batch_size"] else ""
            self.say(f"{event['trial']} epoch {event['epoch']}: {shown} ({event['seconds']:.1f} s, {event['image_size']:.0f} px{held})")

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
        counts = {"running": len(policy.running), **policy.num_ended}
        said = ", ".join(f"{counts[status]} {status}" for status in ("running", "completed", "stopped", "failed") if counts.get(status))
        left = policy.remaining_s()
        return " | ".join(
            [
                duration(self.elapsed_s()),
                f"trials: {said or 'none yet'}",
                f"best {_best(policy)}",
                f"search time left: {'measuring' if left is None else 'about ' + duration(left)}",
            ]
        )

    def _page(self) -> RenderableType:
        policy = self._policy
        assert policy is not None
        table = Table(title="validation MRE, mm; * baseline", title_justify="left", expand=False)
        for name in ("trial", "status", "epoch", "MRE", "best", "health", "knobs"):
            table.add_column(
                name, justify="right" if name in ("epoch", "MRE", "best") else "left", no_wrap=name != "knobs", overflow="ellipsis"
            )
        for state in _interesting(policy):
            table.add_row(
                state.trial + ("*" if state.is_baseline else ""),
                state.status,
                f"{state.epoch}/{state.config.train.epochs}",
                "–" if state.value_mm is None else f"{state.value_mm:.2f}",
                "–" if math.isinf(state.best_mm) else f"{state.best_mm:.2f}",
                _mark(state),
                " ".join(_short(value) for value in state.values.values()),
            )
        rungs = "  ".join(
            f"rung {row.rung} at {row.fraction:.0%}: {row.recorded} trials"
            + (f", best {row.best_mm:.2f}" if row.best_mm is not None else "")
            + (f", next needs < {row.cutoff_mm:.2f}" if row.cutoff_mm is not None else "")
            for row in policy.rungs.rung_table()
        )
        lines = [self.line(policy), rungs]
        if self.dashboard:
            lines.append(f"Ray dashboard: http://{self.dashboard} (asks for the token in ~/.ray/auth_token)")
        return Group(table, Text("\n".join(line for line in lines if line)))


def _interesting(policy: Policy) -> list[TrialState]:
    """Those that run, then the best of the others, the baseline before all, then the latest that failed; as many as are shown."""
    running = list(policy.running.values())
    first = policy.baseline if policy.baseline is not None and policy.baseline.status != "running" else None
    best = (state for state in policy.ranking() if state.status != "running" and state is not first)
    failed = (state for state in reversed(policy.trials.values()) if state.status == "failed" and state is not first)
    ended = chain([first] if first is not None else [], best, failed)
    return [*running, *islice(ended, max(0, _SHOWN - len(running)))][:_SHOWN]


def _mark(state: TrialState) -> str:
    """The worst finding of a trial: ! a warning, !! serious; and how many there are besides."""
    problems = sorted((found for found in findings(state.config, state.health) if found.level != "good"), key=lambda found: found.level)
    if not problems:
        return ""
    more = f" +{len(problems) - 1}" if len(problems) > 1 else ""
    return f"{'!!' if problems[0].level == 'serious' else '!'} {problems[0].name}{more}"


def _best(policy: Policy) -> str:
    ranked = policy.ranking()
    return f"{ranked[0].value_mm:.2f} mm ({ranked[0].trial})" if ranked else "–"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
