"""The agreement report of a dataset: agreement.csv (per case), agreement.json, agreement.html with its charts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from ..dataset import Dataset
from ..dataset.agreement import AXES, Agreement, Reading, agreement
from ..documents import csv_text, write
from ..files import staged_folder, write_text
from ..landmarks import colour
from .figures import inline, new_figure, render, svg

SCHEMA_VERSION = 1
TOWARDS = {"L": "left", "P": "behind", "S": "above"}
_INK = "#5b636d"  # legible on white
CSV_COLUMNS = (
    "case", "landmark", "present", "missing", "consensus_l_mm", "consensus_p_mm", "consensus_s_mm",
    "farthest_annotator", "farthest_from_consensus_mm", "largest_distance_mm", "discuss",
)  # fmt: skip


def write_agreement(
    dataset: Dataset,
    output: str | os.PathLike[str],
    annotators: Sequence[str] | None = None,
    limit_mm: float | None = None,
) -> Agreement:
    """Compare the annotators of a dataset and write the three files into ``output``, all or none.

    ``annotators``, ``limit_mm``: see `agreement.agreement`. Raises AgreementError, DatasetError, OSError.
    """
    readings = readings_of(dataset)
    result = agreement(readings, dataset.landmarks, annotators, limit_mm)
    document = {"schema_version": SCHEMA_VERSION, **_rounded(asdict(result))}
    files = {
        "agreement.csv": cases_csv(result),
        "agreement.json": write(document),
        "agreement.html": agreement_html(result, readings, dataset.path.resolve().name),
    }
    with staged_folder(output) as folder:
        for name, text in files.items():
            write_text(folder / name, text)
    return result


def readings_of(dataset: Dataset) -> list[Reading]:
    """Every annotated case with what each annotator says; what can not be read is left out, `problems` names it."""
    readings = []
    for case in dataset.cases():
        points = {who: annotation.points for who, annotation in case.annotations().items()}
        if points:
            readings.append(Reading(case.id, tuple(case.geometry.centre_lps.tolist()), points, tuple(case.asking())))
    return readings


def cases_csv(result: Agreement) -> str:
    """One row per landmark of each compared case; positions and distances in mm."""
    rank = {discussion.case_id: number for number, discussion in enumerate(result.discuss, start=1)}
    rows = (
        (case.case_id, case.landmark, " ".join(case.present), " ".join(case.missing),
         *map(_cell, case.consensus_lps or (None,) * 3), case.farthest or "", _cell(case.farthest_mm),
         _cell(case.largest_distance_mm), rank.get(case.case_id, ""))
        for case in result.cases
    )  # fmt: skip
    return csv_text(CSV_COLUMNS, (dict(zip(CSV_COLUMNS, row, strict=True)) for row in rows))


def agreement_html(result: Agreement, readings: Sequence[Reading], title: str) -> str:
    """The page, charts inline. ``readings``: the points behind ``result``; ``title``: of the dataset."""
    return render(
        "agreement.html.j2",
        result=result,
        title=title,
        axes=TOWARDS,
        words={name: _words(name) for name in result.landmarks},
        distances=inline(distances_svg(result), "svg+xml"),
        bland_altman=[
            (first, second, inline(chart, "svg+xml"))
            for first, second in combinations(result.annotators, 2)
            if (chart := bland_altman_svg(result, readings, first, second)) is not None
        ],
    )


def bland_altman_svg(result: Agreement, readings: Sequence[Reading], first: str, second: str) -> bytes | None:
    """Second minus first against their mean (from the scan's middle) along L, P, S; None without a common point."""
    marks: list[tuple[str, str, np.ndarray, np.ndarray]] = []
    for number, name in enumerate(result.landmarks):
        triples = [
            (reading.points.get(first, {}).get(name), reading.points.get(second, {}).get(name), reading.centre_lps)
            for reading in readings
        ]
        placed = np.array([each for each in triples if None not in each], dtype=float)
        if len(placed):
            one, other, centre = placed.swapaxes(0, 1)
            marks.append((name, colour(number), (one + other) / 2 - centre, other - one))
    if not marks:
        return None
    limits = {pair.landmark: pair.limits for pair in result.pairs if (pair.first, pair.second) == (first, second)}
    figure = new_figure(10.5, 3.4)
    for number, (axis, panel) in enumerate(zip(AXES, figure.subplots(1, 3, sharey=True), strict=True)):
        for name, shade, mean, difference in marks:
            panel.plot(mean[:, number], difference[:, number], "o", color=shade, ms=4, alpha=0.8, label=_words(name))
            if (known := limits[name][axis]) is not None:
                for value, style in ((known.bias_mm, "-"), (known.lower_mm, "--"), (known.upper_mm, "--")):
                    panel.axhline(value, color=shade, lw=1, ls=style)
        panel.axhline(0, color="#ced4da", lw=0.8, zorder=0)
        panel.set_xlabel(f"{TOWARDS[axis]} of the scan's middle (mm)")
    figure.axes[0].set_ylabel(f"{second} minus {first} (mm)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return _plain(figure)


def distances_svg(result: Agreement) -> bytes:
    """The largest distance between two annotators, per landmark, cases in ascending order; the limit as a line."""
    figure = new_figure(7.0, 3.4)
    panel = figure.subplots()
    for number, name in enumerate(result.landmarks):
        values = sorted(
            case.largest_distance_mm
            for case in result.cases
            if case.landmark == name and case.largest_distance_mm is not None
        )
        share = 100 * np.arange(1, len(values) + 1) / max(1, len(values))
        panel.step([0.0, *values], [0.0, *share], where="post", color=colour(number), label=_words(name))
    if result.limit_mm is not None:
        panel.axvline(result.limit_mm, color=_INK, lw=1, ls="--", label=f"discuss above {result.limit_mm:.1f} mm")
    panel.set(xlabel="largest distance between two annotators (mm)", ylabel="cases at or below (%)", ylim=(0, 102))
    panel.set_xlim(left=0)
    panel.legend(loc="lower right", frameon=False)
    return _plain(figure)


def _plain(figure: Any) -> bytes:
    """As SVG, without the lines on top and at the right."""
    for panel in figure.axes:
        panel.spines[["top", "right"]].set_visible(False)
    return svg(figure)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _rounded(value: Any) -> Any:
    """Numbers to a micrometre (1e-3 mm), or 1e-3."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value
