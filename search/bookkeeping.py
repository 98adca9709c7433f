"""What a run writes and shows beside its decisions: study, TensorBoard, tables, tracebacks, the limit on disk, the terminal.

Everything here follows the ledger's events, so that a search in simulated time can be driven through the very same code.
"""

import time
from collections.abc import Callable

from search.cost import Timetable
from search.disk import Disk
from search.live import LiveView
from search.policy import Observer, Policy
from search.records import Event, Ledger, RunFolder, Tables, read_earlier
from search.room import Room
from search.space import Space
from search.study import StudyMirror
from search.tensorboard import Scalars

_TABLES_EVERY_S = 30.0
_TABLES_SHARE = 0.01
"""Most of the driver's time that goes into writing tables while trials run: the longer they grow, the rarer."""


class Bookkeeping:
    """The policy of a run, opened on its ledger, with all that looks on.

    Args:
        elapsed_s: seconds the run has lived; of this driver and those before.
    """

    def __init__(
        self,
        run: RunFolder,
        space: Space,
        seed: int,
        workers: int,
        timetable: Timetable,
        elapsed_s: Callable[[], float],
        ledger: Ledger,
        view: LiveView,
        room: Room | None = None,
    ) -> None:
        self._run, self._elapsed_s, self._view = run, elapsed_s, view
        self._tables = Tables(run)
        self._tables_due_s = elapsed_s() + _TABLES_EVERY_S
        self._scalars = Scalars(run)
        self._mirror: StudyMirror | None = None
        self.observers: tuple[Observer, ...] = (view.on_event, self._scalars.on_event, self._keep_error, self._mirror_event)
        self.policy = Policy(space, ledger, seed, workers, timetable, elapsed_s, self.observers, read_earlier(run), room)
        self._mirror = StudyMirror(run.study_path, run.path.name, space.knobs, self.policy.sampler.trials)
        self._disk = Disk(run, self.policy, space.budget.disk_gb, view.say)

    def tick(self) -> None:
        """Time has passed: called about ten times a second."""
        self._view.tick()
        if self._elapsed_s() >= self._tables_due_s:
            started = time.perf_counter()
            self.write_tables()
            took_s = time.perf_counter() - started
            self._tables_due_s = self._elapsed_s() + max(_TABLES_EVERY_S, took_s / _TABLES_SHARE)

    def write_tables(self) -> None:
        """The tables as the ledger stands."""
        self._tables.write()

    def close(self) -> None:
        """The driver ends."""
        self._scalars.close()
        self.write_tables()

    def _mirror_event(self, event: Event) -> None:
        if self._mirror is None or event["trial"] not in self.policy.trials:
            return
        trial = self.policy.sampler.trial(self.policy.trials[event["trial"]].number)
        trial.name = event["trial"]
        self._mirror.update(trial)
        if event["event"] == "end":
            self._disk.tidy()

    def _keep_error(self, event: Event) -> None:
        """A failed trial's traceback, or the reason where none was raised, lies beside its checkpoint."""
        if event["event"] == "end" and event["status"] == "failed":
            path = self._run.error_path(event["trial"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(event["error"] or event["reason"] + "\n", encoding="utf-8")
