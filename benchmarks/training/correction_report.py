"""The curve of corrections as a table, a page and a picture: what `correction_curve.py` measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from carotid_training.evaluation.comparison import COST, MISTAKE_MM, RULE
from carotid_training.evaluation.figures import save
from carotid_training.evaluation.metrics import Estimate, bootstrap, error_statistics
from carotid_training.pages import csv_table, markdown_table
from CarotidLandmarkLib.dataset import Order
from CarotidLandmarkLib.files import write_text
from CarotidLandmarkLib.report.figures import new_figure
from matplotlib.figure import Figure

ORDERS: tuple[Order, ...] = ("uncertain", "random")
ALLOWED_LOSS_MM = 0.2  # on the original styles
NOT_SHOWN = "what an annotator does: he is simulated, and never wrong. Synthetic necks; nothing about patients."
STYLE, ORIGINAL = "corrected style", "original styles"


@dataclass(frozen=True)
class Mark:
    """One landmark of one case: the error in mm, None where either truth or answer is missing."""

    group: str
    present: bool
    detected: bool
    error_mm: float | None

    @property
    def cost_mm(self) -> float:
        """As `carotid_training.evaluation.comparison.cost_mm`."""
        if self.error_mm is not None:
            return self.error_mm
        return MISTAKE_MM if self.present or self.detected else 0.0


Marks = dict[str, Mark]  # "case/landmark" -> mark


@dataclass(frozen=True)
class Point:
    """One model on the curve: made from so many corrected cases (0: the first model), measured on both sets.

    ``listed``: whether the command found it good enough to be used, by its own test cases.
    """

    order: str
    cases: int
    listed: bool
    marks: dict[str, Marks]  # STYLE and ORIGINAL


@dataclass(frozen=True)
class Line:
    """What the curve shows of a point on one set. The cost is over all landmarks, the mean over those found, the change
    over those that both models found; intervals are 95 %, resampling patients."""

    order: str
    cases: int
    listed: bool
    measured_on: str
    present: int
    missed: int
    false_alarms: int
    cost_mm: Estimate
    mean_mm: Estimate
    median_mm: float
    p95_mm: float
    change_mm: Estimate


def change(before: Marks, after: Marks) -> Estimate:
    """Mean of after minus before over the landmarks that both models found, mm, with its 95 % interval."""
    errors = [(mark.group, mark.error_mm, after[key].error_mm) for key, mark in before.items()]
    moved = [(group, new - old) for group, old, new in errors if old is not None and new is not None]
    return mean_with_interval(np.array([mm for _, mm in moved], dtype=float), [group for group, _ in moved])


def cost_change(before: Marks, after: Marks) -> Estimate:
    """Mean of after minus before of all landmarks' costs, mm, with its 95 % interval."""
    values = np.array([after[key].cost_mm - mark.cost_mm for key, mark in before.items()])
    return mean_with_interval(values, [mark.group for mark in before.values()])


def mean_with_interval(values: np.ndarray, groups: Sequence[str]) -> Estimate:
    """The mean of values [n], NaN left out, with a 95 % interval that resamples patients (``groups``)."""

    def mean(rows: np.ndarray) -> dict[str, float]:
        known = values[rows][~np.isnan(values[rows])]
        return {"mean": float(known.mean()) if len(known) else math.nan}

    return bootstrap(groups, mean)["mean"]


def line(point: Point, before: Point, measured_on: str) -> Line:
    marks = point.marks[measured_on]
    there = [mark for mark in marks.values() if mark.present]
    errors = np.array([math.nan if mark.error_mm is None else mark.error_mm for mark in there], dtype=float)
    statistics = error_statistics(errors)
    costs = np.array([mark.cost_mm for mark in marks.values()])
    return Line(
        order=point.order,
        cases=point.cases,
        listed=point.listed,
        measured_on=measured_on,
        present=len(there),
        missed=int(np.isnan(errors).sum()),
        false_alarms=sum(mark.detected and not mark.present for mark in marks.values()),
        cost_mm=mean_with_interval(costs, [mark.group for mark in marks.values()]),
        mean_mm=mean_with_interval(errors, [mark.group for mark in there]),
        median_mm=statistics["median"],
        p95_mm=statistics["p95"],
        change_mm=change(before.marks[measured_on], marks),
    )


def write_curve(output: Path, before: Point, points: Sequence[Point], facts: dict[str, str]) -> list[Line]:
    """Write curve.csv, curve.md and curve.svg (and .png). ``before``: the first model; returns the lines."""
    lines = [line(point, before, name) for name in (STYLE, ORIGINAL) for point in (before, *points)]
    write_text(output / "curve.csv", curve_csv(lines))
    write_text(output / "curve.md", curve_markdown(lines, points, facts))
    save(curve_figure(lines), output, "curve")
    return lines


def curve_csv(lines: Sequence[Line]) -> str:
    """One row per model and set; millimetres."""
    columns = ["measured_on", "order", "cases", "listed", "present", "missed", "false_alarms", "mean_mm", "mean_low_95",
               "mean_high_95", "median_mm", "p95_mm", "change_mm", "change_low_95", "change_high_95", "cost_mm",
               "cost_low_95", "cost_high_95"]  # fmt: skip
    rows = []
    for row in lines:
        numbers = (*row.mean_mm, row.median_mm, row.p95_mm, *row.change_mm, *row.cost_mm)
        counts = [row.present, row.missed, row.false_alarms]
        shown = (number if math.isnan(number) else f"{number:.3f}" for number in numbers)
        rows.append([row.measured_on, row.order, row.cases, "yes" if row.listed else "no", *counts, *shown])
    return csv_table(columns, rows)


def curve_markdown(lines: Sequence[Line], points: Sequence[Point], facts: dict[str, str]) -> str:
    """The curve in words and tables."""
    text = ["# Do corrections make a better model?", "", f"Does not show: {NOT_SHOWN}", ""]
    text += ["    python -m benchmarks.training.correction_curve", ""]
    text += [f"- {key}: {value}" for key, value in facts.items()] + [""]
    for name in (STYLE, ORIGINAL):
        rows = [
            [row.order if row.cases else "before", f"{row.cases}", row.cost_mm.words(),
             f"{row.missed} of {row.present}", f"{row.false_alarms}", row.mean_mm.words(), f"{row.median_mm:.2f}",
             f"{row.p95_mm:.2f}", row.change_mm.words(sign="+") if row.cases else "–", "yes" if row.listed else "no"]
            for row in lines if row.measured_on == name
        ]  # fmt: skip
        columns = ["order", "corrected", COST, "missed", "false alarms", "mean (mm)", "median", "95th percentile",
                   "change (mm)", "listed"]  # fmt: skip
        text += [f"## On unseen cases of the {name}", "", markdown_table(columns, rows)]
    text += [
        f"{RULE.partition('. ')[0]}. Means are over the landmarks that were found;",
        "changes are after minus before over those that both models found. In brackets: 95 % intervals, resampling",
        "patients.", "",
        "## The questions", "",
    ]  # fmt: skip
    for row in lines:
        if row.cases and row.measured_on == ORIGINAL:
            judgement = "kept" if row.change_mm.value <= ALLOWED_LOSS_MM else "NOT KEPT"
            text.append(
                f"- {row.cases} cases, {row.order} order: original styles {row.change_mm.value:+.2f} mm "
                f"(at most {ALLOWED_LOSS_MM:+.1f} mm): {judgement}"
            )
    by_order = {(point.order, point.cases): point.marks[STYLE] for point in points}
    for cases in sorted({point.cases for point in points}):
        uncertain, random = (by_order.get((order, cases)) for order in ORDERS)
        if uncertain is not None and random is not None:
            gain = cost_change(random, uncertain).words(sign="+")
            text.append(f"- {cases} cases: cost of uncertainty-first minus that of random order {gain} mm")
    return "\n".join(text) + "\n"


def curve_figure(lines: Sequence[Line]) -> Figure:
    """Against the number of corrected cases, one line per order: left the style's mean cost, right the change of the
    original styles' distances and what of it is allowed."""
    figure = new_figure(9, 3.8)
    left, right = figure.subplots(1, 2)
    panels = ((left, STYLE, "cost_mm", "mean cost (mm)"), (right, ORIGINAL, "change_mm", "change of the distance (mm)"))
    for axes, name, what, words in panels:
        before = next(row for row in lines if row.measured_on == name and not row.cases)
        for order, colour, aside in zip(ORDERS, ("#1971c2", "#e8590c"), (-0.4, 0.4), strict=True):
            rows = [before, *(row for row in lines if row.measured_on == name and row.cases and row.order == order)]
            means = np.array([getattr(row, what) for row in rows], dtype=float)
            reach = np.abs(means[:, 1:] - means[:, :1]).T
            places = [row.cases + aside if row.cases else 0 for row in rows]
            axes.errorbar(
                places, means[:, 0], reach, color=colour, marker="o", ms=4, lw=1.6,
                elinewidth=0.8, capsize=2, label=f"{order} first" if order == "uncertain" else "random order",
            )  # fmt: skip
        axes.set_title(f"unseen cases of the {name}", fontsize=10, loc="left")
        axes.set(
            xlabel="corrected cases", ylabel=f"{words}, 95 % interval", xticks=sorted({row.cases for row in lines})
        )
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylim(bottom=0)
    right.axhline(ALLOWED_LOSS_MM, color="#868e96", lw=1, ls="--")
    edge = {"transform": right.get_yaxis_transform(), "ha": "right", "va": "bottom", "color": "#868e96", "fontsize": 8}
    right.text(1, ALLOWED_LOSS_MM, f"allowed: +{ALLOWED_LOSS_MM} mm", **edge)
    left.legend(frameon=False, fontsize=8)
    return figure
