"""A search space: which trainings a search may run, and what each point of it means."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ceph_core.config import Config, apply, get, located
from ceph_core.config.data import SIZE_STEP
from ceph_core.errors import InputError
from ceph_core.training.progressive import stage_batch, stage_size
from search.space.check import problems
from search.space.knobs import Knob, active, in_order, misfits
from search.space.read import Document, KeyPath
from search.space.resolve import overlay, reach, schedules, stages
from search.space.schema import Spec
from search.space.shape import prune, shape_problems
from search.space.values import SEED, as_written


class Space(Spec):
    """A checked space file under one profile.  Made by `load` or `Space.from_dict`, never by hand: the constructor checks shapes only."""

    @classmethod
    def from_document(cls, document: Document) -> "Space":
        """Check a whole tree (profiles merged).

        Raises:
            InputError: every problem of the tree, one line each.
        """
        lines: list[str] = []
        tree, broken = document.tree, set[KeyPath]()
        try:
            space = cls.model_validate(tree)
        except ValidationError as error:
            found = shape_problems(error)
            lines += [document.line(path, problem) for path, problem in found]
            tree, broken = prune(tree, [path for path, _ in found])
            space = cls.model_validate(tree)
        lines += [document.line(path, problem) for path, problem in problems(space, broken)]
        if not lines:
            for index, point in enumerate(space.start_from):
                try:
                    space.configure(point, seed=0)
                except InputError as error:
                    lines += [document.line(("start_from", index), problem) for problem in error.problems]
        if lines:
            raise InputError(lines)
        return space

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any], source: str = "space") -> "Space":
        """The space that `to_dict` wrote.

        Raises:
            InputError: every problem of the tree, each line starting with `source`.
        """
        return cls.from_document(Document(source, dict(tree), {}))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, every default filled in."""
        return self.model_dump(mode="json", by_alias=True)

    def dump(self, path: Path) -> None:
        """Write `to_dict` as YAML."""
        path.write_text(yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """The searched knobs, in file order but after those they depend on."""
        return in_order(self.search)[0]

    @property
    def baseline(self) -> dict[str, Any]:
        """The known good point that every other is compared with; always the first trial."""
        return self.start_from[0]

    def active(self, values: Mapping[str, Any]) -> frozenset[str]:
        """Keys of the knobs that exist at this point."""
        return active(self.knobs, values)

    def contains(self, values: Mapping[str, Any]) -> bool:
        """Whether this point has a value in range for exactly the knobs that exist there."""
        return not misfits(self.knobs, values)

    def base_config(self) -> Config:
        """The configuration before any knob: defaults and `fixed`."""
        return apply(Config(), overlay(self, {}), "fixed")

    def configure(self, values: Mapping[str, Any], seed: int) -> Config:
        """The training that a point of the space means: fixed keys, then its schedule's, then its knobs.

        Raises:
            InputError: the keys do not fit together, though each is in range.
        """
        outside = misfits(self.knobs, values)
        assert not outside, f"not a point of the space: {outside}"
        settings = {**overlay(self, values), SEED: seed}
        config = apply(Config(), settings, "configuration")
        changed = [key for key in values if key in settings and as_written(get(config, key)) != values[key]]
        assert not changed, f"applied differs from sampled: {changed}"
        return located(config)

    def grid_sizes(self) -> set[int]:
        """Every image size (long side, px) that a trial may train at, smaller stages included."""
        return {
            side
            for name in schedules(self)
            for size in reach(self, "data.image_size", name)
            for stage in stages(self, name)
            for nominal in [stage_size(size, stage.size)]
            for side in (nominal, *(stage_size(nominal, scale) for scales in reach(self, "schedule.scales", name) for scale in scales))
        }

    def zooms(self) -> set[float]:
        """Every `data.zoom` that a trial may have."""
        return {zoom for name in schedules(self) for zoom in reach(self, "data.zoom", name)}

    def check_against(self, num_train_films: int) -> None:
        """Refuse batches larger than the training set.

        Raises:
            InputError: one line a schedule whose largest batch exceeds `num_train_films`.
        """
        key = "train.batch_size"
        lines = []
        for name in schedules(self):
            top = max(reach(self, key, name))
            stage = max(stages(self, name), key=lambda stage: stage.batch)
            batch = stage_batch(top, stage.batch)
            if batch > num_train_films:
                holder = next((part for part, keys in (("search", self.search), ("fixed", self.fixed)) if key in keys), "default")
                steps = "" if stage.batch == 1 else f" x {stage.batch:g} (schedule {name}) = {batch}"
                lines.append(
                    f"{self.source}: {holder}.{key}: a batch of {top}{steps} exceeds the {num_train_films} training films, "
                    f"got {top}; allowed at most {int(num_train_films / stage.batch)}; lower it or give more films"
                )
        if lines:
            raise InputError(lines)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may work but should be known, one line each."""
        config = self.configure(self.baseline, seed=0)
        size, stride, sigma_rel = config.data.image_size, config.model.head_stride, config.heatmap.sigma_rel
        sigma_px, least = sigma_rel * size / stride, config.heatmap.least_sigma_px
        if sigma_px >= least:
            return ()
        finer = next((s for s in (2, 1) if s < stride and sigma_rel * size / s >= least), None)
        larger = -(-int(least * stride / sigma_rel + 1) // SIZE_STEP) * SIZE_STEP
        remedy = f"set model.head_stride: {finer}, or " if finer else ""
        return (
            f"{self.source}: start_from[0]: heatmap.sigma_rel {sigma_rel:g} is {sigma_px:.2f} heatmap px at {size} px and stride {stride}; "
            f"below {least} {config.heatmap.below_least_sigma}; {remedy}raise data.image_size to {larger}",
        )
