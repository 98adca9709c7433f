"""A run's records as one page: `report.html`, self-contained, to be opened offline."""

import json
import shlex
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from plotly.utils import PlotlyJSONEncoder

from ceph_core.data.imagefile import read_grey
from ceph_core.duration import duration
from ceph_core.metrics import tier
from search import records
from search.boundary import boundary_optima_of, options
from search.records import BASELINE, BEST_SINGLE, ENSEMBLE, MEAN_SHAPE, Run
from search.report import figures, tables
from search.report.bullseye import targets
from search.report.comparison import Comparison, compare
from search.report.confirmation import confirmation
from search.report.doubts import doubts
from search.report.films import ReadFilm, worst_films
from search.report.groups import groups
from search.report.health import trial_health
from search.report.importance import Measure, knob_importances, parallel
from search.report.measured import measured
from search.study import importances as ped_anova
from search.verdict import all_the_time, verdict


def build(run_dir: Path | str, measure: Measure = ped_anova, read_film: ReadFilm = read_grey) -> Path:
    """Write the report of a run, finished or not, from its records alone.

    Args:
        run_dir: the run's folder.
        measure: what the importances of the knobs are computed by.
        read_film: path -> (h, w) grey values, for the pictures.

    Returns:
        The page's path.

    Raises:
        InputError: the folder is no run, or one of its files is damaged.
    """
    run = records.load(run_dir)
    with records.atomic(run.folder.report_path) as temporary:
        temporary.write_text(render(run, measure, read_film), encoding="utf-8")
    return run.folder.report_path


def render(run: Run, measure: Measure, read_film: ReadFilm) -> str:
    """The page as text."""
    compared = compare(run)
    comparison = compared if isinstance(compared, Comparison) else None
    has_ensemble = comparison is not None and ENSEMBLE in comparison.rows
    final = comparison if has_ensemble else None
    told = None if final is None else doubts(run, final)
    plots: dict[str, figures.Figure | str] = {"curves": figures.learning_curves(run), "parallel": parallel(run)}
    if comparison is not None:
        plots["success"] = figures.success_curve(comparison)
    if told is not None and told.by_level:
        plots["reliability"] = figures.reliability(told.by_level)
    shares, reason = knob_importances(run, measure)
    plots["importance"] = figures.importance_bars(shares) if shares else reason
    slices = figures.slices(run)
    optima = boundary_optima_of(run)
    return _page().render(
        run=run,
        viewer=run.folder.viewer_path.name if run.folder.viewer_path.exists() else "",
        facts=tables.facts(run),
        comparison=comparison,
        no_comparison=compared if isinstance(compared, str) else "",
        has_ensemble=has_ensemble,
        best=tables.best_trial(run),
        health=trial_health(run),
        board=tables.leaderboard(run),
        boundary=optima,
        widening=f"--warm-start {shlex.quote(str(run.folder.path))} {options(optima)}",
        knobs=tables.knob_names(run),
        slices=list(slices),
        why={name: plot for name, plot in (*plots.items(), *_slice_plots(slices)) if isinstance(plot, str)},
        figures={name: _embed(plot) for name, plot in (*plots.items(), *_slice_plots(slices)) if not isinstance(plot, str)},
        yardsticks=tables.yardsticks(run),
        radii=tables.SDR_RADII_MM,
        success=tables.success_rates(comparison) if comparison is not None else {},
        landmarks=[] if final is None else tables.landmark_rows(final),
        targets=[] if final is None else targets(final),
        groups=[] if final is None else groups(run, final),
        doubts=told,
        measured=None if final is None else measured(final),
        films=[] if final is None else worst_films(run, final, read_film),
        tiers=tables.tiers(final),
        failed=run.trials[run.trials["status"] == "failed"].to_dict("records"),
        retried=run.trials[run.trials["retries"] != ""].to_dict("records"),
        verdict="" if final is None else verdict(final.paired),
        confirmation=confirmation(run, {name: row.summary.mre_mm for name, row in comparison.rows.items()} if comparison else {}),
        promotion=_shown(run.promotion),
        recipe=_recipe(run.promotion),
        command=tables.command(run),
        plan_text=yaml.safe_dump(run.plan, sort_keys=False, allow_unicode=True),
        names={"ensemble": ENSEMBLE, "best_single": BEST_SINGLE, "baseline": BASELINE, "mean_shape": MEAN_SHAPE},
        plotly_js=Markup(get_plotlyjs()),
        css=Markup(_asset("page.css")),
        js=Markup(_asset("page.js")),
    )


@lru_cache
def _page() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"duration": duration, "number": tables.number, "signed": tables.signed, "tier": tier}
    return environment.get_template("page.html.j2")


def _asset(name: str) -> str:
    return files("search.report").joinpath(name).read_text(encoding="utf-8")


def _slice_plots(slices: Mapping[str, figures.Figure | str]) -> list[tuple[str, figures.Figure | str]]:
    return [(f"slice-{place}", plot) for place, plot in enumerate(slices.values())]


def _embed(figure: figures.Figure) -> Markup:
    """JSON that no text inside can end early: a knob's value may hold `</script>`."""
    return Markup(json.dumps(figure, cls=PlotlyJSONEncoder).replace("<", "\\u003c"))


def _recipe(promotion: Mapping[str, Any] | None) -> tuple[str, float] | None:
    """The row of the recipe with all the time: what it is called, and the MRE that is predicted of it, mm."""
    recipe = None if promotion is None else promotion.get("recipe")
    return None if recipe is None else (all_the_time(recipe), recipe["predicted_mm"])


def _shown(promotion: Mapping[str, Any] | None) -> dict[str, str]:
    """The promotion's facts as text, by name."""
    if promotion is None:
        return {}
    facts = {
        key.replace("_", " "): value
        for key, value in promotion.items()
        if key not in {"event", "time", "confirmed", "expected_mm", "verdict", "paired_mm", "final", "held_out_by", "recipe"}
    }
    return {key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for key, value in facts.items()}
