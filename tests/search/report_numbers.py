"""Every number on a report, recomputed from the tables of its run: parquet files, splits.csv, and what the export and the ledger wrote.

Nothing of `search.report` is used.  Texts of health findings are left to tests/search/test_trial_health.py.
"""

import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from ceph_core.inference.calibration import Calibration
from ceph_core.inference.refine import Reviewer
from ceph_core.landmarks import Protocol
from ceph_core.measurements import measure, read_definitions
from ceph_core.metrics import TIERS, bootstrap_interval

Table = list[list[str]]


class Page(HTMLParser):
    """Tables by id, cards, figures' JSON, texts by id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, Table] = {}
        self.texts: dict[str, str] = {}
        self.figures: dict[str, Any] = {}
        self.captions: list[str] = []
        self.paths: list[tuple[str, str]] = []
        self._table, self._cell, self._script, self._in_head = "", None, "", False
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attributes}
        if tag == "table":
            self._table = given["id"]
            self.tables[self._table] = []
        elif tag in ("thead", "tbody", "tfoot"):
            self._in_head = tag == "thead"
        elif tag == "tr" and not self._in_head:
            self.tables[self._table].append([])
        elif tag in ("td", "th") and not self._in_head:
            self.tables[self._table][-1].append("")
            self._cell = self.tables[self._table][-1]
        elif tag == "script":
            self._script = given.get("id", "other")
            self.figures[self._script] = ""
        elif tag in ("p", "figcaption", "div", "dd", "li") and (tag != "div" or given.get("class", "").startswith("card")):
            name = given.get("id") or f"{tag}{len(self.texts)}"
            self.texts[name] = ""
            self._open.append(name)
        elif tag == "path":
            self.paths.append((given.get("class", ""), given.get("d", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = None
        elif tag == "script":
            self._script = ""
        elif tag in ("p", "figcaption", "dd", "li") and self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._script:
            self.figures[self._script] += data
        elif self._cell is not None:
            self._cell[-1] += data
        else:
            for name in self._open:
                self.texts[name] += data

    def figure(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.figures[f"figure-{name}"])
        return found

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts.values()).split())


class Run:
    """A run's tables, read anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trials = pd.read_parquet(folder / "trials.parquet")
        self.curves = pd.read_parquet(folder / "curves.parquet")
        self.predictions = pd.read_parquet(folder / "predictions.parquet")
        self.splits = pd.read_csv(
            folder / "splits.csv", dtype={"film": str, "device": str}, keep_default_na=False, na_values={"difficulty": [""]}
        )
        self.plan = yaml.safe_load((folder / "plan.yaml").read_text())
        events = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
        self.promotion = next(event for event in reversed(events) if event["event"] == "promotion")

    def points(self, role: str) -> tuple[list[str], list[str], dict[str, np.ndarray], np.ndarray]:
        """Films, landmarks, (N, K, 2) by model, (N, 2) mm a pixel."""
        rows = self.predictions[self.predictions["role"] == role]
        reference = rows[rows["model"] == "reference"]
        films, landmarks = list(dict.fromkeys(reference["film"])), list(dict.fromkeys(reference["landmark"]))
        found = {}
        for model, own in rows.groupby("model", sort=False):
            both = [
                own.pivot(index="film", columns="landmark", values=axis).reindex(index=films, columns=landmarks)
                for axis in ("x_px", "y_px")
            ]
            found[str(model)] = np.stack([each.to_numpy() for each in both], axis=-1)
        spacing = self.splits.set_index("film").loc[films, ["spacing_x_mm", "spacing_y_mm"]].to_numpy()
        return films, landmarks, found, spacing


def errors_of(points: Mapping[str, np.ndarray], one: str, other: str, spacing: np.ndarray) -> np.ndarray:
    """(N, K) mm."""
    return np.sqrt((((points[one] - points[other]) * spacing[:, None, :]) ** 2).sum(-1))


def fixed(value: float, digits: int = 2) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def signed(value: float, digits: int = 2) -> str:
    return "–" if np.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")


def within(errors: np.ndarray, radius: float) -> float:
    return 100 * float((errors[~np.isnan(errors)] <= radius).mean())


def tier(mre: float, sdr2: float, sdr4: float) -> str:
    if np.isnan(mre):
        return "–"
    return next((name for name, a, b, c in TIERS if mre < a and sdr2 > b and sdr4 > c), "below minimum")


def tier_of(errors: np.ndarray) -> str:
    return tier(float(np.nanmean(errors)), within(errors, 2), within(errors, 4))


def clean(table: Table) -> Table:
    return [[" ".join(cell.split()) for cell in row] for row in table]


def compared(run: Run) -> dict[str, np.ndarray]:
    """(N, K) errors of the comparison's rows, by the name shown."""
    _, _, points, spacing = run.points("test")
    found = {}
    for model in points.keys() - {"reference"}:
        errors = errors_of(points, model, "reference", spacing)
        if not (model.startswith("reader:") and np.nanmean(errors) < 1e-6):
            found[model.replace(":", ": ")] = errors
    readers = [model for model in points if model.startswith("reader:")]
    for one, other in combinations(readers, 2):
        found[f"{one.removeprefix('reader:')} against {other.removeprefix('reader:')}"] = errors_of(points, one, other, spacing)
    return found


def check_comparison(run: Run, page: Page) -> None:
    expected = compared(run)
    shown = {row[0]: row[1:] for row in clean(page.tables["comparison-table"])}
    assert shown.keys() == expected.keys()
    for name, errors in expected.items():
        known = errors[~np.isnan(errors)]
        low, high = bootstrap_interval(errors)
        shares = [within(errors, radius) for radius in (2, 2.5, 3, 4)]
        assert shown[name] == [
            fixed(known.mean()), f"{fixed(low)}–{fixed(high)}", fixed(np.median(known)), fixed(np.percentile(known, 95)),
            *(fixed(share, 1) for share in shares), fixed(100 * (known > 4).mean(), 1), fixed(100 * (known > 10).mean(), 1),
            tier_of(errors),
        ], name  # fmt: skip


def check_success(run: Run, page: Page) -> None:
    rows, shown = compared(run), {row[0]: row[1:] for row in clean(page.tables["success-table"])}
    lines = {trace["name"].replace(":", ": "): trace["y"] for trace in page.figure("success")["data"] if trace.get("name")}
    assert shown.keys() == rows.keys() and lines.keys() == {name for name in rows if not name.startswith("member")}
    for name, errors in rows.items():
        cells = []
        for radius in (2.0, 2.5, 3.0, 4.0):
            low, high = bootstrap_interval(np.where(np.isnan(errors), np.nan, 100.0 * (errors <= radius)))
            cells.append(f"{within(errors, radius):.1f} [{low:.1f}–{high:.1f}]")
        assert shown[name] == cells
        if name in lines:
            np.testing.assert_allclose(lines[name], [within(errors, radius + 1e-9) for radius in np.arange(0, 6.01, 0.1)])


def check_headline(run: Run, page: Page) -> None:
    rows = compared(run)
    ensemble = rows["ensemble"]
    low, high = bootstrap_interval(ensemble)
    assert f"{np.nanmean(ensemble):.2f} mm mean radial error of the ensemble95 % interval {low:.2f}–{high:.2f} mm" in page.text.replace(
        "mmmean", "mm mean"
    )
    assert f"{within(ensemble, 2):.1f} %of landmarks within 2 mm{within(ensemble, 4):.1f} % within 4 mm" in page.text
    for name, words in (("baseline", "the baseline"), ("best single", "the best single model")):
        apart = np.nanmean(ensemble, axis=1) - np.nanmean(rows[name], axis=1)
        low, high = bootstrap_interval(apart[:, None])
        p_value = stats.wilcoxon(apart).pvalue if np.any(apart != 0) else 1.0
        said = f"{signed(apart.mean())} mmagainst {words}95 % interval {signed(low)} to {signed(high)} mmp = {p_value:.2g}"
        assert said in page.text, said


def check_leaderboard(run: Run, page: Page) -> None:
    knobs = [column for column in run.trials.columns if column.startswith("param/")]
    table = run.trials.sort_values(["best_mre_mm", "number"], na_position="last")
    shown = clean(page.tables["leaderboard-table"])
    for row, told in zip(shown, table.to_dict("records"), strict=False):
        curve = run.curves[run.curves["trial"] == told["trial"]]
        best = curve["val_mre_mm"].min()
        validated = curve[curve["validated"]]  # none of a final training: no film is held out from it
        last = validated.iloc[-1] if len(validated) else {}
        assert row[0].split()[0] == told["trial"]
        assert row[2:6] == [
            f"{int(curve['epoch'].max()) if len(curve) else 0} / {told['epochs']}", fixed(best), fixed(last.get("val_mre_mm", np.nan)),
            fixed(last.get("val_sdr_2mm", np.nan), 1),
        ]  # fmt: skip
        assert row[6] == tier(*(last.get(key, np.nan) for key in ("val_mre_mm", "val_sdr_2mm", "val_sdr_4mm")))
        assert row[7 : 7 + len(knobs)] == [knob_text(told[knob]) for knob in knobs]
        assert row[-2:] == [fixed(curve["seconds"].mean() if len(curve) else np.nan, 1), fixed(curve["peak_memory_mb"].max(), 0)]
    films, _, points, spacing = run.points("validation")
    yardsticks = {
        name: errors_of(points, name, "reference", spacing) for name in points if name == "mean shape" or name.startswith("reader:")
    }
    assert len(shown) == len(table) + len(yardsticks)
    for row in shown[len(table) :]:
        errors = yardsticks[row[0].replace(": ", ":")]
        assert row[1] == f"on {len(films)} films" and row[3] == fixed(np.nanmean(errors)) and row[5] == fixed(within(errors, 2), 1)
        assert row[6] == tier_of(errors)


def knob_text(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def check_confirmation(run: Run, page: Page) -> None:
    told = run.promotion
    rows = []
    for each in told["confirmed"]:
        spread = each["expected_deviation_mm"] or 0
        anew = "–"
        if each["fresh"]:
            deviation = "" if each["deviation_mm"] is None else f" ± {each['deviation_mm']:.3f}"
            anew = f"{each['confirmed_mm']:.3f}{deviation} ({each['fresh']})"
        name = each["candidate"] + (" baseline" if each["is_baseline"] else "")
        rows.append([name, fixed(each["searched_mm"], 3), f"{each['expected_mm']:.3f}" + (f" ± {spread:.3f}" if spread else ""), anew])
    assert clean(page.tables["confirmation-table"]) == rows
    ensemble = told["expected_mm"]["ensemble"]
    assert (
        f"chosen with {told['validation_mre_mm']:.3f} mm on {told['validation_films']} films; {ensemble['mre_mm']:.3f} mm "
        f"[{ensemble['low_mm']:.3f}–{ensemble['high_mm']:.3f}] expected" in page.text
    )
    assert f"{np.nanmean(compared(run)['ensemble']):.3f} mm found on the locked test" in page.text


def check_landmarks(run: Run, page: Page) -> None:
    films, landmarks, points, spacing = run.points("test")
    errors = errors_of(points, "ensemble", "reference", spacing)
    for row, symbol, own in zip(clean(page.tables["landmark-table"]), landmarks, errors.T, strict=True):
        known = own[~np.isnan(own)]
        worst = int(np.nanargmax(own))
        assert row[0] == symbol
        assert row[2:] == [
            fixed(known.mean()), fixed(np.median(known)), fixed(within(own, 2), 1), fixed(own[worst], 1), films[worst], str(len(known)),
        ]  # fmt: skip


def check_groups(run: Run, page: Page) -> None:
    films, _, points, spacing = run.points("test")
    errors = errors_of(points, "ensemble", "reference", spacing)
    told = run.splits.set_index("film").loc[films]
    rows = []
    for kind, names in (("device", told["device"]), ("difficulty", told["difficulty"].map("{:g}".format))):
        for name in sorted(names.unique()) if names.nunique() > 1 else ():
            own = errors[(names == name).to_numpy()]
            low, high = bootstrap_interval(own)
            known = own[~np.isnan(own)]
            interval = f"{fixed(low)}–{fixed(high)}"
            figures = [fixed(known.mean()), interval, fixed(np.median(known)), fixed(within(own, 2), 1), fixed(within(own, 4), 1)]
            rows.append([name, kind, str(len(own)), *figures])
    assert clean(page.tables.get("group-table", [])) == rows


def check_doubts(run: Run, page: Page) -> None:
    films, landmarks, points, spacing = run.points("test")
    errors = errors_of(points, "ensemble", "reference", spacing)
    rows = run.predictions[(run.predictions["role"] == "test") & (run.predictions["model"] == "ensemble")]
    confidence = rows.pivot(index="film", columns="landmark", values="confidence").reindex(index=films, columns=landmarks).to_numpy()
    if not (run.folder / "ensemble" / "calibration.json").is_file():
        assert "The ensemble has no radii" in page.text
        return
    learned = Calibration.model_validate_json((run.folder / "ensemble" / "calibration.json").read_text())
    usual = np.exp(np.array(learned.intercepts) + learned.slope * np.log(np.maximum(confidence, 1e-3)))
    marked = ~np.isnan(errors)
    dots = next(trace for trace in page.figure("reliability")["data"] if trace["name"] == "ensemble")
    for level, share in zip((0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98), dots["y"], strict=True):
        radius = usual * np.interp(level, np.linspace(0, 1, len(learned.scores)), learned.scores) * learned.inflation
        held = (errors <= radius)[marked].mean()
        assert abs(share - 100 * held) < 1e-9
        if level == 0.9:
            low, high = bootstrap_interval(np.where(marked, errors <= radius, np.nan))
            constant = np.broadcast_to(learned.constant_mm, errors.shape)[marked]
            alike = constant.mean() * np.quantile(errors[marked] / constant, held)
            said = (
                f"it holds {100 * held:.1f} % (95 % interval {100 * low:.1f}–{100 * high:.1f} %, films drawn again) and is "
                f"{radius[marked].mean():.2f} mm on average; one constant radius a landmark that holds as many, learned on the same "
                f"films, is {alike:.2f} mm"
            )
            assert said in page.text, said
    review = Reviewer.load(run.folder / "ensemble" / "shape.safetensors").review(points["ensemble"], confidence, spacing)
    large = (errors > 4) & marked
    for row, flags in zip(clean(page.tables["flag-table"]), [*np.moveaxis(review.flags, -1, 0), review.flags.any(-1)], strict=True):
        own = flags & marked
        caught = int((own & large).sum())
        assert row[1:] == [
            str(own.sum()), fixed(100 * own.sum() / marked.sum(), 1), str(large.sum()), str(caught),
            fixed(100 * caught / large.sum(), 1) if large.any() else "–", fixed(100 * caught / own.sum(), 1) if own.any() else "–",
            fixed(errors[own].mean()) if own.any() else "–",
        ]  # fmt: skip


def check_measurements(run: Run, page: Page) -> None:
    _, landmarks, points, spacing = run.points("test")
    protocol, definitions = Protocol("", tuple(landmarks), tuple(landmarks)), read_definitions()
    found = {name: measure(definitions, protocol, own, spacing) for name, own in points.items()}
    readers = sorted(name for name in points if name.startswith("reader:"))
    pairs = [("ensemble", "reference"), *combinations(readers, 2)]
    for row in clean(page.tables["measurement-table"]):
        place = list(definitions.measurements).index(row[0])
        digits = 1 if row[1] != "–" else 3
        cells = []
        for one, other in pairs:
            apart = found[one].values[:, place] - found[other].values[:, place]
            known = ~np.isnan(apart)
            half = 1.96 * apart[known].std(ddof=1)
            cells.append(f"{signed(apart[known].mean(), digits)} ± {half:.{digits}f}")
            cells.append(fixed(100 * (np.abs(apart[known]) <= 2).mean(), 0) if row[1] != "–" else "–")
            same = np.array([a == b for a, b in zip(found[one].classes(place), found[other].classes(place), strict=True)])
            cells.append(fixed(100 * same[known].mean(), 0) if definitions.measurements[row[0]].classes else "–")
        assert row[2:] == cells, row[0]


def check_targets(run: Run, page: Page) -> None:
    _, landmarks, points, spacing = run.points("test")
    offsets = (points["ensemble"] - points["reference"]) * spacing[:, None, :]
    dots = [path for kind, path in page.paths if kind == "points"]
    for symbol, own, path in zip(landmarks, np.moveaxis(offsets, 1, 0), dots, strict=True):
        own = own[~np.isnan(own).any(axis=1)]
        inside = own[np.hypot(*own.T) <= 5]
        drawn = np.array([[float(x), float(y)] for x, y in re.findall(r"M(-?[\d.]+) (-?[\d.]+)h0", path)]).reshape(-1, 2)
        np.testing.assert_allclose(drawn, inside, atol=0.0051)
        beyond = f", {len(own) - len(inside)} beyond" if len(own) > len(inside) else ""
        assert f"{symbol} bias {np.hypot(*own.mean(axis=0)):.2f} mm{beyond}" in page.text


def check_films(run: Run, page: Page) -> None:
    films, landmarks, points, spacing = run.points("test")
    errors = errors_of(points, "ensemble", "reference", spacing)
    for row in np.argsort(-np.nanmean(errors, axis=1))[:6]:
        worst = int(np.nanargmax(errors[row]))
        assert f"{films[row]} mean {np.nanmean(errors[row]):.2f} mm, worst {landmarks[worst]} {errors[row, worst]:.1f} mm" in page.text


def check_curves(run: Run, page: Page) -> None:
    figure = page.figure("curves")["data"]
    drawn = sorted(
        (x, y)
        for trace in figure
        if trace["mode"] == "lines" and trace["name"] != "the guide"
        for x, y in zip(trace["x"], trace["y"], strict=True)
        if x
    )
    known = run.curves.dropna(subset=["val_mre_mm"])
    assert drawn == sorted(zip(known["epoch"], known["val_mre_mm"], strict=True))
    stopped = next((trace for trace in figure if trace["name"] == "stopped here"), {"x": []})
    assert sorted(stopped["x"]) == sorted(known.loc[known["decision"] == "stop", "epoch"])


def check_knobs(run: Run, page: Page) -> None:
    knobs = [column.removeprefix("param/") for column in run.trials.columns if column.startswith("param/")]
    for place, knob in enumerate(knobs):
        shown = sorted((y, str(x)) for trace in page.figure(f"slice-{place}")["data"] for x, y in zip(trace["x"], trace["y"], strict=True))
        known = run.trials.dropna(subset=["best_mre_mm", f"param/{knob}"])
        assert shown == sorted((y, str(x)) for x, y in zip(known[f"param/{knob}"].tolist(), known["best_mre_mm"].tolist(), strict=True))
    if "figure-importance" in page.figures:
        assert abs(sum(page.figure("importance")["data"][0]["x"]) - 100) < 1e-6
    lines = page.figure("parallel")["data"]
    searched = run.trials[(run.trials["role"] == "search") & run.trials["status"].isin(["completed", "stopped"])]
    errors = searched["last_mre_mm"].to_numpy()
    scaled = (errors - errors.min()) / (errors.max() - errors.min())
    np.testing.assert_allclose(sorted(line["y"][0] for line in lines), sorted(scaled), atol=1e-9)


def check_facts(run: Run, page: Page) -> None:
    counts = run.trials["status"].value_counts()
    assert f"{len(run.trials)} ({counts.get('completed', 0)} completed" in page.text
    assert str(len(run.curves)) in page.text
    for split, count in run.splits["split"].value_counts().items():
        assert f"{count} {split}" in page.text
    resources = run.plan["space"]["resources"]
    share = resources["gpus_per_trial"] or resources["cpus_per_trial"]
    stopped = run.trials[(run.trials["status"] == "stopped") & ~run.trials["reason"].str.contains("time for the search is up")]
    left = ((stopped["epochs"] - stopped["epochs_done"]) * stopped["seconds_per_epoch"]).sum() * share / 3600
    spent = run.trials["seconds"].sum() * share / 3600
    assert f"{spent:.2f}, stopping early saved {left:.2f} ({left / (left + spent):.0%})" in page.text


def check_tiers(run: Run, page: Page) -> None:
    reached = tier_of(compared(run)["ensemble"])
    order = [name for name, *_ in TIERS]
    expected = {name: reached in order and order.index(name) >= order.index(reached) for name in order}
    assert {row[0]: "yes" in row[4] for row in clean(page.tables["tier-table"])} == expected
    for name, *marks in TIERS:
        assert [name, *map(str, marks)] in [row[:4] for row in clean(page.tables["tier-table"])]


CHECKS: dict[str, Callable[[Run, Page], None]] = {
    name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")
}
"""One a part of the page."""

TABLES = {"comparison", "success", "confirmation", "leaderboard", "health", "landmark", "group", "flag", "measurement", "tier"}


def check_report(folder: Path) -> None:
    """All of them, on the report of a promoted run; a table that nobody checks is an error."""
    run, page = Run(folder), Page((folder / "report.html").read_text(encoding="utf-8"))
    assert {name.removesuffix("-table") for name in page.tables} <= TABLES
    for check in CHECKS.values():
        check(run, page)
