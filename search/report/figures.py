"""The plots, as Plotly.js figures in plain data.  The page colours paper and text, so that one figure serves light and dark."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ceph_core.inference.calibration import Coverage
from ceph_core.metrics import Errors, bootstrap_interval
from ceph_core.training.health import GUIDE_MRE_MM
from search.records import BASELINE, BEST_SINGLE, ENSEMBLE, MEAN_SHAPE, MEMBER_PREFIX, PARAM_PREFIX, READER_PREFIX, Run
from search.report.comparison import Comparison

Figure = dict[str, Any]

# Okabe and Ito's palette, told apart with any colour vision; blue lightened to read on dark paper too.
BLUE, ORANGE, GREEN, VERMILLION, PURPLE, GREY = "#2a8fd6", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#8a9099"
_HIGHLIGHTS = (BLUE, GREEN, ORANGE, PURPLE)
_MAX_RUNG_LINES = 8


def success_curve(comparison: Comparison) -> Figure:
    """Share of landmarks within r mm, for r up to 6 mm; ensemble and baseline with the 95 % band that drawing films again gives."""
    style = {ENSEMBLE: (BLUE, "solid"), BEST_SINGLE: (ORANGE, "dash"), BASELINE: (VERMILLION, "dot"), MEAN_SHAPE: (GREY, "dashdot")}
    radii = np.arange(0, 6.01, 0.1)
    lines = []
    for name, row in comparison.rows.items():
        if name.startswith(MEMBER_PREFIX):
            continue
        colour, dash = style.get(name, (GREEN if name.startswith(READER_PREFIX) else PURPLE, "longdash"))
        errors = row.errors_mm[~np.isnan(row.errors_mm)]
        share = [float((errors <= radius + 1e-9).mean() * 100) for radius in radii]
        if name in (ENSEMBLE, BASELINE):
            lines.append(_band(radii, [sdr_interval(row.errors_mm, radius) for radius in radii], colour))
        lines.append({
            "type": "scatter", "mode": "lines", "name": name, "x": radii.round(1).tolist(), "y": share,
            "line": {"color": colour, "dash": dash, "width": 3 if name == ENSEMBLE else 1.8},
            "hovertemplate": "%{y:.1f} % within %{x:.1f} mm<extra>" + name + "</extra>",
        })  # fmt: skip
    marks = [_upright(radius, "") for radius in (2, 2.5, 3, 4)]
    return {
        "data": lines,
        "layout": {
            "xaxis": {"title": {"text": "radius, mm"}, "range": [0, 6]},
            "yaxis": {"title": {"text": "landmarks within it, %"}, "range": [0, 101]},
            "shapes": marks,
            "height": 380,
        },
    }


def sdr_interval(errors_mm: Errors, radius_mm: float) -> tuple[float, float]:
    """95 % interval of the share (percent) of landmarks within a radius, films drawn again."""
    within = np.where(np.isnan(errors_mm), np.nan, errors_mm <= radius_mm + 1e-9)
    low, high = bootstrap_interval(100 * within)
    return low, high


def reliability(by_level: Sequence[Coverage]) -> Figure:
    """Share of the test's points that radii hold, over the share they should hold at least."""
    should = [100 * each.level for each in by_level]
    holds = [100 * each.share for each in by_level]
    return {
        "data": [
            {
                "type": "scatter", "mode": "lines", "name": "as it should be", "x": [45, 100], "y": [45, 100],
                "line": {"color": GREY, "dash": "dash", "width": 1.4}, "hoverinfo": "skip",
            },
            {
                "type": "scatter", "mode": "markers+lines", "name": "ensemble", "x": should, "y": holds,
                "line": {"color": BLUE, "width": 1.6}, "marker": {"size": 8},
                "error_y": {
                    "type": "data", "symmetric": False, "color": BLUE, "thickness": 1.4,
                    "array": [100 * (each.high - each.share) for each in by_level],
                    "arrayminus": [100 * (each.share - each.low) for each in by_level],
                },
                "customdata": [each.mean_mm for each in by_level],
                "hovertemplate": "%{x:.0f} %: holds %{y:.1f} %, radius %{customdata:.2f} mm on average<extra></extra>",
            },
        ],
        "layout": {
            "xaxis": {"title": {"text": "share that radii should hold at least, %"}, "range": [45, 101]},
            "yaxis": {"title": {"text": "share of points they hold, %"}, "range": [40, 102]},
            "height": 360,
        },
    }  # fmt: skip


def learning_curves(run: Run) -> Figure | str:
    """Validation MRE by epoch: baseline and best trials in colour, stopped ones grey, rungs marked; or why there is none."""
    curves = run.curves.dropna(subset=["val_mre_mm"])
    if curves.empty:
        return "no trial has reported an epoch yet"
    trials = run.trials.set_index("trial")
    ended = trials[trials["status"] == "completed"].sort_values("best_mre_mm")
    baseline = list(trials.index[trials["is_baseline"]])
    shown = [trial for trial in ended.index if trial not in baseline][: len(_HIGHLIGHTS)]
    groups = [
        ("stopped early", [t for t in trials.index[trials["status"] == "stopped"] if t not in baseline], GREY, "solid", 0.45),
        ("still running", [t for t in trials.index[trials["status"] == "running"] if t not in baseline], PURPLE, "dot", 0.9),
        ("failed", [t for t in trials.index[trials["status"] == "failed"] if t not in baseline], VERMILLION, "dash", 0.7),
        ("other completed", [t for t in ended.index if t not in shown and t not in baseline], BLUE, "solid", 0.35),
    ]
    lines = [_curve(curves, members, name, colour, dash, opacity) for name, members, colour, dash, opacity in groups]
    lines += [_curve(curves, [trial], trial, colour, "solid", 1.0, 2.2) for trial, colour in zip(shown, _HIGHLIGHTS, strict=False)]
    lines.append(_curve(curves, baseline, "baseline", VERMILLION, "dot", 1.0, 3.0))
    lines.append(_guide(run.trials))
    lines = [line for line in lines if line["x"]]
    at_rungs = curves[curves["rung"].notna()]
    stopped = curves[curves["decision"] == "stop"]
    lines.append(_points(at_rungs, "judged at a rung", "circle-open", GREY, 6))
    lines.append(_points(stopped, "stopped here", "x", GREY, 8))
    rungs = sorted({(float(epoch), int(rung)) for epoch, rung in zip(at_rungs["epoch"], at_rungs["rung"], strict=True)})
    marks = [_upright(epoch, f"rung {rung}") for epoch, rung in rungs] if len(rungs) <= _MAX_RUNG_LINES else []
    return {
        "data": lines,
        "layout": {
            "xaxis": {"title": {"text": "epoch"}, "rangemode": "tozero"},
            "yaxis": {"title": {"text": "validation MRE, mm"}, "type": "log", "dtick": "D2"},
            "shapes": marks,
            "height": 460,
        },
    }


def importance_bars(importances: Mapping[str, float]) -> Figure:
    """How much each knob sets the best trials apart: shares that add up to 100 %."""
    order = sorted(importances, key=lambda knob: importances[knob])
    share = [100 * importances[knob] for knob in order]
    return {
        "data": [{
            "type": "bar", "orientation": "h", "x": share, "y": order, "marker": {"color": BLUE},
            "text": [f"{value:.0f} %" for value in share], "textposition": "outside", "cliponaxis": False,
            "hovertemplate": "%{y}: %{x:.1f} %<extra></extra>",
        }],
        "layout": {
            "xaxis": {"title": {"text": "importance, %"}, "range": [0, max([*share, 1]) * 1.15]},
            "yaxis": {"automargin": True},
            "showlegend": False,
            "height": 90 + 34 * len(order),
        },
    }  # fmt: skip


def coordinates(optuna_plot: Figure) -> Figure:
    """Optuna's parallel coordinates for light and dark paper: the best trial blue, the worst a faint grey."""
    lines = [trace for trace in optuna_plot["data"] if trace.get("mode") == "lines"]
    errors = [float(trace["y"][0]) for trace in lines]  # the first axis is the error, scaled to 0 to 1
    for trace, error in zip(lines, errors, strict=True):
        share = sum(other < error for other in errors) / max(1, len(errors) - 1)
        trace |= {"line": {"color": _between(BLUE, GREY, share), "width": 2.2 - 1.2 * share}, "opacity": 1 - 0.6 * share}
    own = optuna_plot["layout"]
    return {
        "data": lines,
        "layout": {
            "xaxis": own["xaxis"], "yaxis": own["yaxis"], "annotations": own["annotations"], "shapes": own["shapes"], "showlegend": False,
            "height": 420,
        },
    }  # fmt: skip


def _between(one: str, other: str, share: float) -> str:
    """A colour on the way from one to another."""
    ends = [[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in (one, other)]
    return "rgb({},{},{})".format(*(round(a + share * (b - a)) for a, b in zip(*ends, strict=True)))


def slices(run: Run) -> dict[str, Figure | str]:
    """By knob: validation MRE over its value, one mark a trial; or why there is none."""
    return {column.removeprefix(PARAM_PREFIX): _slice(run, column) for column in run.trials.columns if column.startswith(PARAM_PREFIX)}


def _slice(run: Run, column: str) -> Figure | str:
    knob = column.removeprefix(PARAM_PREFIX)
    given = run.trials.dropna(subset=[column, "best_mre_mm"])
    if given.empty:
        return "no trial that had it has reported an epoch yet"
    kinds = (
        ("stopped", given[(given["status"] != "completed") & ~given["is_baseline"]], GREY, "circle-open"),
        ("completed", given[(given["status"] == "completed") & ~given["is_baseline"]], BLUE, "circle"),
        ("baseline", given[given["is_baseline"]], VERMILLION, "star"),
    )
    number = pd.api.types.is_numeric_dtype(given[column])
    axis: Figure = {"title": {"text": knob}, "type": "category"}
    if number:
        axis["type"] = "log" if _is_log(run.plan, knob) else "linear"
    elif all(isinstance(value, str) for value in given[column]):
        axis |= {"categoryorder": "array", "categoryarray": sorted(set(given[column]))}
    return {
        "data": [
            {
                "type": "scatter", "mode": "markers", "name": name, "x": rows[column].tolist(), "y": rows["best_mre_mm"].tolist(),
                "customdata": rows[["trial", "epochs_done"]].to_numpy().tolist(),
                "marker": {"color": colour, "symbol": symbol, "size": 13 if symbol == "star" else 8},
                "hovertemplate": "%{customdata[0]}, %{customdata[1]} epochs: %{y:.2f} mm at %{x}<extra>" + name + "</extra>",
            }
            for name, rows, colour, symbol in kinds
            if len(rows)
        ],
        "layout": {
            "xaxis": axis,
            "yaxis": {"title": {"text": "best MRE, mm"}, "type": "log", "dtick": "D2"},
            "showlegend": False,
            "height": 280,
        },
    }  # fmt: skip


def _is_log(plan: Mapping[str, Any], knob: str) -> bool:
    search = (plan.get("space") or {}).get("search") or {}
    return bool(isinstance(search.get(knob), Mapping) and search[knob].get("log"))


def _curve(curves: pd.DataFrame, trials: Sequence[str], name: str, colour: str, dash: str, opacity: float, width: float = 1.4) -> Figure:
    """All curves of `trials` as one line with gaps: a thousand trials stay one trace."""
    x: list[int | None] = []
    y: list[float | None] = []
    label: list[str] = []
    chosen = curves[curves["trial"].isin(trials)]
    for trial, rows in chosen.groupby("trial", sort=False):
        x += [*rows["epoch"].tolist(), None]
        y += [*rows["val_mre_mm"].tolist(), None]
        label += [str(trial)] * (len(rows) + 1)
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "text": label, "opacity": opacity,
        "line": {"color": colour, "dash": dash, "width": width}, "connectgaps": False,
        "hovertemplate": "%{text}, epoch %{x}: %{y:.2f} mm<extra></extra>",
    }  # fmt: skip


def _guide(trials: pd.DataFrame) -> Figure:
    """What the guide expects, over the epochs that most trials are planned for."""
    epochs = int(trials["epochs"].mode().iloc[0])
    return {
        "type": "scatter", "mode": "lines", "name": "the guide", "x": [round(share * epochs, 2) for share, _ in GUIDE_MRE_MM],
        "y": [round(mre_mm, 2) for _, mre_mm in GUIDE_MRE_MM], "line": {"color": GREY, "dash": "dash", "width": 1.6},
        "hovertemplate": "%{y:.2f} mm at epoch %{x}<extra>the guide</extra>",
    }  # fmt: skip


def _band(x: NDArray[np.float64], limits: Sequence[tuple[float, float]], colour: str) -> Figure:
    """The area between two limits, out of the legend."""
    low, high = zip(*limits, strict=True)
    there_and_back = [*x.round(1).tolist(), *x.round(1).tolist()[::-1]]
    return {
        "type": "scatter", "mode": "lines", "x": there_and_back, "y": [*low, *high[::-1]], "fill": "toself", "fillcolor": colour,
        "opacity": 0.16, "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip


def _points(rows: pd.DataFrame, name: str, symbol: str, colour: str, size: int) -> Figure:
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": rows["epoch"].tolist(), "y": rows["val_mre_mm"].tolist(),
        "text": rows["trial"].tolist(), "marker": {"symbol": symbol, "color": colour, "size": size},
        "hovertemplate": "%{text}, epoch %{x}: %{y:.2f} mm<extra>" + name + "</extra>",
    }  # fmt: skip


def _upright(x: float, label: str) -> Figure:
    return {
        "type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "layer": "below",
        "line": {"color": GREY, "width": 1, "dash": "dot"},
        "label": {
            "text": label, "textposition": "end", "textangle": 0, "xanchor": "left", "yanchor": "top", "font": {"size": 11, "color": GREY},
        },
    }  # fmt: skip
