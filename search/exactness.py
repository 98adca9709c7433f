"""Whether a run can go on exactly where it stopped: its ledger, its plan and the states of its trials must still fit together."""

from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from ceph_core.config import Config
from ceph_core.errors import InputError
from ceph_core.training import checkpoint
from ceph_core.training.trainer import difference
from search.records import Event, RunFolder, TrialHistory, histories
from search.rungs import Action, Rungs
from search.space import Space

_RESTORE = "restore it, or start a new run"


def check_ledger(run: RunFolder, events: Sequence[Event]) -> None:
    """Refuse a ledger that lines were taken out of, or put in.

    Raises:
        InputError: every place.
    """
    problems = list(_gaps(run, events))
    if problems:
        raise InputError(problems)


def check(run: RunFolder, space: Space, seed: int, events: Sequence[Event]) -> list[str]:
    """Refuse a resume whose decisions or trainings would not be those of a run that never stopped.

    A trial without a state stops nothing: it trains its epochs again, and what the ledger has of them stays.

    Args:
        events: of a ledger that `check_ledger` has passed.

    Returns:
        What is to be said of such trials.

    Raises:
        InputError: a figure of the ledger was edited, or the plan, or a state is damaged; every problem, each with its file.
    """
    trials = histories(events)
    problems = [*_decided_otherwise(run, space, events), *_configured_otherwise(run, space, seed, trials)]
    notes = []
    for told in trials:
        if told.end is None and told.reports:
            state = run.trial_dir(told.trial["trial"]) / checkpoint.STATE_FILE
            if not state.exists():
                notes.append(
                    f"{told.trial['trial']}: no state of it is in {state.parent}; its epochs are trained again, {len(told.reports)} so far"
                )
            elif (damage := checkpoint.damage(state)) is not None:
                problems.append(f"{state}: {damage}; restore it, or delete it and the trial trains its epochs again")
    if problems:
        raise InputError(problems)
    return notes


def _gaps(run: RunFolder, events: Sequence[Event]) -> Iterator[str]:
    """What an announcement or a report before it is missing for."""
    last: dict[str, int | None] = {}
    for number, event in enumerate(events, start=1):
        where = f"{run.ledger_path}: line {number}"
        if event["event"] == "trial":
            last[event["trial"]] = 0 if event["role"] == "search" else None
        elif event["event"] in ("report", "end", "retry", "reopened") and event["trial"] not in last:
            yield f"{where}: {event['event']} of {event['trial']}, which was not announced; the file was edited, {_RESTORE}"
        elif event["event"] == "report":
            before = last[event["trial"]]
            if before is not None and event["epoch"] != before + 1:
                yield f"{where}: epoch {event['epoch']} of {event['trial']} follows epoch {before}; the file was edited, {_RESTORE}"
            last[event["trial"]] = event["epoch"]


def _decided_otherwise(run: RunFolder, space: Space, events: Sequence[Event]) -> Iterator[str]:
    """The first report that the plan's rungs, fed with the ledger, do not decide as they did."""
    rungs = Rungs(space.scheduler.rungs, space.scheduler.reduction_factor)
    trials = {event["trial"]: event for event in events if event["event"] == "trial" and event["role"] == "search"}
    for number, event in enumerate(events, start=1):
        if event["event"] == "end":
            rungs.ended(event["trial"])
        if event["event"] != "report" or event["trial"] not in trials:
            continue
        trial = trials[event["trial"]]
        total, validated = int(trial["config"]["train"]["epochs"]), event.get("validated", True)
        decision = rungs.report(event["trial"], event["epoch"], total, event["val_mre_mm"], trial["is_baseline"], validated)
        recorded = event["decision"]
        # A trial may have been stopped by the clock or its health where its rung let it pass.
        agrees = recorded == decision.action.value or (decision.action is Action.CONTINUE and recorded in ("done", "stop"))
        if not agrees or decision.rung != event["rung"]:
            yield (
                f"{run.ledger_path}: line {number}: {event['trial']} at epoch {event['epoch']}: {recorded!r} at rung {event['rung']}; by "
                f"{run.plan_path.name} it is {decision.action.value!r} at rung {decision.rung}; one of the two was edited, {_RESTORE}"
            )
            return


def _configured_otherwise(run: RunFolder, space: Space, seed: int, trials: Sequence[TrialHistory]) -> Iterator[str]:
    """Trials that would go on, and the baseline, whose knobs mean another training by the plan than the ledger says."""
    for told in trials:
        trial = told.trial
        if trial["role"] != "search" or not (trial["is_baseline"] or told.end is None):
            continue
        where = f"{run.ledger_path}: {trial['trial']}"
        try:
            recorded = Config.model_validate(trial["config"])
            planned = space.configure(trial["values"], seed)
        except (ValidationError, InputError, AssertionError) as error:
            yield f"{where}: is no training of {run.plan_path.name} ({str(error).splitlines()[0]}); one of the two was edited, {_RESTORE}"
            continue
        if recorded != planned:
            yield (
                f"{where}: is not the training that {run.plan_path.name} means by its knobs: {difference(recorded, planned)}; "
                f"one of the two was edited, {_RESTORE}"
            )
