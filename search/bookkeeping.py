"""What a run writes and shows beside its decisions: study, TensorBoard, tables, tracebacks, the limit on disk, the terminal.

Everything here follows the ledger's events, so that a search in simulated time can be driven through the very same code.
"""

import math
import time
from collections.abc import Callable, Iterable

from search.cost import Timetable
from search.disk import Disk
from search.history import Trial
from search.live import LiveView
from search.policy import Observer, Policy
from search.prometheus import Measures, Sample
from search.records import Event, Ledger, RunFolder, Tables, read_earlier
from search.room import Room
from search.space import Space
from search.study import Notes, StudyMirror
from search.tensorboard import TensorBoard

_TABLES_EVERY_S = 30.0
_EXPORT_EVERY_S = 5.0
"""Ray collects gauges every 10 s and drops what was not set in two collections."""
_TABLES_SHARE = 0.01
"""Most of the driver's time that goes into writing tables while trials run: the longer they grow, the rarer."""


class Bookkeeping:
    """The policy of a run, opened on its ledger, with all that looks on.

    Args:
        elapsed_s: seconds the run has lived; of this driver and those before.
        export: given all that Prometheus may know, every few seconds.
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
        export: Callable[[Iterable[Sample]], None] | None = None,
    ) -> None:
        self._run, self._elapsed_s, self._view = run, elapsed_s, view
        self._tables = Tables(run)
        self._tables_due_s = elapsed_s() + _TABLES_EVERY_S
        past = list(ledger.events())
        self._tensorboard = TensorBoard(run, space.knobs, past)
        self._mirror: StudyMirror | None = None
        self._measures: Measures | None = None
        self._export, self._export_due_s = export, elapsed_s()
        self.observers: tuple[Observer, ...] = (
            view.on_event,
            self._tensorboard.on_event,
            self._keep_error,
            self._mirror_event,
            self._measure,
        )
        self.policy = Policy(space, ledger, seed, workers, timetable, elapsed_s, self.observers, read_earlier(run), room)
        self._mirror = StudyMirror(run.study_path, run.path.name, space.knobs, self.policy.sampler.trials, self._notes)
        resources = space.resources
        share = float(resources.gpus_per_trial) if resources.on_gpu else float(resources.cpus_per_trial)
        self._measures = Measures(run.path.name, self.policy, "gpu" if resources.on_gpu else "cpu", share, ledger.events())
        self._disk = Disk(run, self.policy, space.budget.disk_gb, view.say)

    def tick(self) -> None:
        """Time has passed: called about ten times a second."""
        self._view.tick()
        self.export()
        if self._elapsed_s() >= self._tables_due_s:
            started = time.perf_counter()
            self.write_tables()
            took_s = time.perf_counter() - started
            self._tables_due_s = self._elapsed_s() + max(_TABLES_EVERY_S, took_s / _TABLES_SHARE)

    def export(self) -> None:
        """Tell Prometheus, if it is time to."""
        if self._export is not None and self._measures is not None and self._elapsed_s() >= self._export_due_s:
            self._export(self._measures.samples(self._elapsed_s()))
            self._export_due_s = self._elapsed_s() + _EXPORT_EVERY_S

    def begun(self, trial: str, places: int) -> None:
        """A trial, new or to go on, was given so many places."""
        if self._measures is not None:
            self._measures.begun(trial, places)

    def write_tables(self) -> None:
        """The tables as the ledger stands."""
        self._tables.write()

    def close(self) -> None:
        """The driver ends."""
        self._tensorboard.close()
        self.write_tables()

    def _mirror_event(self, event: Event) -> None:
        if self._mirror is None or event["trial"] not in self.policy.trials:
            return
        trial = self.policy.sampler.trial(self.policy.trials[event["trial"]].number)
        trial.name = event["trial"]
        self._mirror.update(trial)
        if event["event"] == "end":
            self._disk.tidy()

    def _notes(self, trial: Trial) -> Notes:
        """What the study says of a trial that has ended: its reason, and what it took."""
        state = self.policy.trials[trial.name]
        notes: Notes = {"reason": state.reason, "trained_s": round(state.seconds, 1), "peak_memory_mb": round(state.peak_memory_mb)}
        if math.isfinite(state.best_mm):
            notes["best_val_mre_mm"] = round(state.best_mm, 4)
        if state.sdr_2mm is not None and math.isfinite(state.sdr_2mm):
            notes["val_sdr_2mm_percent"] = round(state.sdr_2mm, 2)
        return {**notes, "health": ", ".join(state.health)} if state.health else notes

    def _measure(self, event: Event) -> None:
        if self._measures is not None:
            self._measures.on_event(event)

    def _keep_error(self, event: Event) -> None:
        """A failed trial's traceback, or the reason where none was raised, lies beside its checkpoint."""
        if event["event"] == "end" and event["status"] == "failed":
            path = self._run.error_path(event["trial"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(event["error"] or event["reason"] + "\n", encoding="utf-8")
