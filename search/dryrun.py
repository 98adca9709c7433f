"""`--dry-run`: the resolved plan, and what a trial will take, before anything runs."""

import math
from collections.abc import Callable

import torch
import yaml
from rich.table import Table

from ceph_core.config import Config
from ceph_core.data.films import TrainingData
from ceph_core.duration import duration
from ceph_core.training.device import pick_device, pick_precision
from ceph_core.training.memory import estimate_memory_mb
from ceph_core.training.progressive import stage_alone, stage_size
from ceph_core.training.timing import film_seconds, full_epochs
from search.candidates import size_limit, trainings
from search.cost import FINISH_S
from search.live import LiveView
from search.promotion.final import FinalPlan, best_plan, fold_of, lengths
from search.space import Space


def show(space: Space, data: TrainingData, view: LiveView, places: Callable[[], int] | None) -> None:
    """Print the plan to stdout and the estimates to stderr.

    Args:
        places: how many trials would run at a time; None: elsewhere, of which nothing is known yet.

    Raises:
        InputError: not even one trial finds a place.
    """
    print(yaml.safe_dump(space.to_dict(), sort_keys=False, allow_unicode=True, width=120), end="")
    counts = ", ".join(f"{len(data.splits.ids(name))} {name}" for name in ("train", "validation", "test", "double"))
    view.say(f"films of {data.dataset.name}: {counts}")
    for note in data.splits.notes:
        view.say(note)
    table, trial_s = _table(space, data)
    view.console.print(table)
    anew = [training for training in trainings(space.promotion) if training.seed > 0]
    view.say(
        f"promotion: the baseline and up to {space.promotion.candidates} candidates are trained to their end"
        + (f", and {len(anew)} times anew" if len(anew) > 1 else ", and once anew" if anew else "")
        + (f", on {space.promotion.folds} folds of the films" if space.promotion.folds > 1 else "")
        + f"; the ensemble is {size_limit(space.promotion)}"
    )
    if places is not None and trial_s is not None:
        view.say(whole(space, trial_s, places(), len(anew)))
        if (plan := final_plan(space, trial_s, places(), len(anew), data)) is not None:
            view.say(f"final: {plan}, if their epochs take as long as those of start_from[0]")


def whole(space: Space, trial_s: float, places: int, anew: int) -> str:
    """What the budget buys, in a line: in trainings where the hours end the search, in time where the trials do.

    Args:
        trial_s: seconds of the baseline's training to its end.
        places: trials at a time.
        anew: trainings of each candidate in promotion beside the one that the search began.
    """
    at_once = f"{places} trials at a time" if places > 1 else "one trial at a time"
    searched, promoted = (math.ceil(number / places) * trial_s for number in (space.budget.trials, (space.promotion.candidates + 1) * anew))
    promoted += FINISH_S
    if space.budget.hours is not None and space.budget.hours * 3600 < searched + promoted:
        seconds = space.budget.hours * 3600 - FINISH_S
        begun = max(0, int(seconds * places / trial_s))
        return (
            f"the whole: {duration(space.budget.hours * 3600)}, {at_once}, the time of {begun} trainings as long as start_from[0]; "
            f"promotion takes {space.promotion.share:.0%} of it at most, and stopped trials make room for more"
        )
    return (
        f"the whole: {space.budget.trials} trials as long as start_from[0], {at_once}, take {duration(searched)} if none is stopped, "
        f"their promotion {duration(promoted)}"
    )


def final_plan(space: Space, trial_s: float, places: int, anew: int, data: TrainingData) -> FinalPlan | None:
    """The final networks, if all take as long as the baseline; None if there are none.  Arguments as of `whole`."""
    promotion, epochs = space.promotion, space.configure(space.baseline, 0).train.epochs
    if not promotion.final.is_on:
        return None
    confirmed_s = math.ceil((promotion.candidates + 1) * anew / places) * trial_s
    before_s = math.ceil(space.budget.trials / places) * trial_s + confirmed_s
    hours = space.budget.hours
    num_films = len(data.for_fold(fold_of(promotion.final.films)).train_ids)
    kept_s = before_s if hours is None else promotion.share * hours * 3600 - FINISH_S
    left_s = kept_s if hours is None else kept_s - min(confirmed_s, (1 - promotion.final.share) * kept_s)

    def seconds(_: str, length: int) -> float:
        return trial_s / epochs * length * num_films / len(data.train_ids)

    return best_plan(
        promotion, lambda number: ("start_from[0]",) * number, seconds, left_s, places, num_films,
        lengths(epochs, len(data.train_ids), num_films, is_unlimited=hours is None),
    )  # fmt: skip


def _table(space: Space, data: TrainingData) -> tuple[Table, float | None]:
    """One row a start point and each corner that decides memory: the largest batch and size of every schedule.

    And the seconds of the first start point's training, where they could be measured.
    """
    table = Table(
        title="estimate a trial, full length",
        title_justify="left",
        caption="memory: counted, of the largest stage, without the allocator's own; time: one step tried here",
    )
    for name in ("trial", "network", "size", "batch", "memory", "epochs", "time"):
        table.add_column(name, justify="left" if name in ("trial", "network") else "right")
    device = pick_device()
    measured = (device.type == "cuda") == space.resources.on_gpu
    torch.set_num_threads(space.resources.cpus_per_trial)
    first_s: float | None = None
    for name, config in {**{f"start_from[{i}]": space.configure(p, 0) for i, p in enumerate(space.start_from)}, **_largest(space)}.items():
        canvas = data.canvas(config.data.image_size)
        # A GPU that this machine has not is taken to compute in half precision, as all have for years.
        half = pick_precision(config.train, device) != "fp32" if measured else config.train.precision != "fp32"
        # An early stage may need most: its films are smaller, its batches larger.
        stages = [stage_alone(config, stage) for stage in dict.fromkeys(config.schedule.stages)]
        most = max(1.0, *config.schedule.scales)
        canvases = [data.canvas(stage_size(each.data.image_size, most)) for each in stages]
        memory = max(estimate_memory_mb(*each, len(data.dataset.protocol), half) for each in zip(stages, canvases, strict=True))
        seconds = "not on this machine"
        if measured:
            film_s = film_seconds(config, canvas, len(data.dataset.protocol), device)
            trial_s = film_s * len(data.train_ids) * full_epochs(config)
            first_s, seconds = first_s or trial_s, duration(trial_s)
        table.add_row(
            name, config.model.name, f"{canvas.height} x {canvas.width}", str(config.train.batch_size), f"{memory:,.0f} MB",
            str(config.train.epochs), seconds,
        )  # fmt: skip
    return table, first_s


def _largest(space: Space) -> dict[str, Config]:
    """The point of each schedule with the largest batch and image size."""
    found: dict[str, Config] = {}
    for name in space.schedules or {"": {}}:
        values = dict(space.baseline)
        for knob in space.knobs:
            if knob.key in ("train.batch_size", "data.image_size") and knob.key in values:
                values[knob.key] = max(knob.choices) if knob.choices else knob.high
            if knob.key == "schedule":
                if knob.choices and name not in knob.choices:
                    break
                values[knob.key] = name
        else:
            if space.contains(values):
                found[f"largest {name}".strip()] = space.configure(values, 0)
    return found
