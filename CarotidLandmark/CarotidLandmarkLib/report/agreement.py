"""The agreement report of a dataset: agreement.csv (per case), agreement.json, agreement.html with its charts."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ..dataset import Case, Dataset
from ..dataset.agreement import AXES, Agreement, Reading, agreement, differences
from ..files import staged_folder
from .page import COLOURS

TEMPLATE = Path(__file__).with_name("agreement.html.j2")
SCHEMA_VERSION = 1
TOWARDS = {"L": "left", "P": "behind", "S": "above"}
_INK = "#5b636d"  # legible on white


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
    with staged_folder(output) as folder:
        (folder / "agreement.csv").write_text(cases_csv(result), encoding="utf-8", newline="\n")
        (folder / "agreement.json").write_text(agreement_json(result), encoding="utf-8", newline="\n")
        page = agreement_html(result, readings, dataset.path.resolve().name)
        (folder / "agreement.html").write_text(page, encoding="utf-8", newline="\n")
    return result


def readings_of(dataset: Dataset) -> list[Reading]:
    """Every annotated case with what each annotator says. Raises DatasetError."""
    found = []
    for case in map(dataset.case, dataset.case_ids()):
        said = {who: annotation.points for who, annotation in dataset.annotations(case.id).items()}
        if said:
            found.append(Reading(case.id, _centre(case), said))
    return found


def cases_csv(result: Agreement) -> str:
    """One row per landmark of each compared case; positions and distances in mm."""
    rank = {discussion.case_id: number for number, discussion in enumerate(result.discuss, start=1)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["case", "landmark", "present", "missing", "consensus_l_mm", "consensus_p_mm", "consensus_s_mm",
         "farthest_annotator", "farthest_from_consensus_mm", "largest_distance_mm", "discuss"]
    )  # fmt: skip
    for case in result.cases:
        position = case.consensus_lps or (None,) * 3
        writer.writerow(
            [case.case_id, case.landmark, " ".join(case.present), " ".join(case.missing), *map(_cell, position),
             case.farthest or "", _cell(case.farthest_mm), _cell(case.largest_distance_mm),
             rank.get(case.case_id, "")]
        )  # fmt: skip
    return text.getvalue()


def agreement_json(result: Agreement) -> str:
    """Every number, rounded to a micrometre (1e-3 mm) or 1e-3."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **_rounded(asdict(result))}, indent=2, allow_nan=False) + "\n"


def agreement_html(result: Agreement, readings: Sequence[Reading], title: str) -> str:
    """The page, charts inline. ``readings``: the points behind ``result``; ``title``: of the dataset."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        result=result,
        title=title,
        axes=TOWARDS,
        words={name: name.replace("_", " ") for name in result.landmarks},
        distances=_inline(distances_svg(result)),
        bland_altman=[
            (first, second, _inline(svg))
            for first, second in combinations(result.annotators, 2)
            if (svg := bland_altman_svg(result, readings, first, second)) is not None
        ],
    )


def bland_altman_svg(result: Agreement, readings: Sequence[Reading], first: str, second: str) -> bytes | None:
    """Second minus first against their mean (from the scan's middle) along L, P, S; None without a common point."""
    marks: list[tuple[str, str, np.ndarray, np.ndarray]] = []
    for number, name in enumerate(result.landmarks):
        both, centres = [], []
        for reading in readings:
            a, b = (reading.said.get(who, {}).get(name) for who in (first, second))
            if a is not None and b is not None:
                both.append((a, b))
                centres.append(reading.centre_lps)
        if both:
            mean = np.mean(both, axis=1) - np.array(centres)
            marks.append((name, COLOURS[number % len(COLOURS)], mean, differences(both)))
    if not marks:
        return None
    limits = {pair.landmark: pair.limits for pair in result.pairs if (pair.first, pair.second) == (first, second)}
    figure = _figure(10.5, 3.4)
    for number, (axis, panel) in enumerate(zip(AXES, figure.subplots(1, 3, sharey=True), strict=True)):
        for name, colour, mean, difference in marks:
            panel.plot(mean[:, number], difference[:, number], "o", color=colour, ms=4, alpha=0.8, label=_label(name))
            known = limits[name][axis]
            for value, style in () if known is None else (
                (known.bias_mm, "-"), (known.lower_mm, "--"), (known.upper_mm, "--")
            ):  # fmt: skip
                panel.axhline(value, color=colour, lw=1, ls=style)
        panel.axhline(0, color="#ced4da", lw=0.8, zorder=0)
        panel.set_xlabel(f"{TOWARDS[axis]} of the scan's middle (mm)")
    figure.axes[0].set_ylabel(f"{second} minus {first} (mm)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return _svg(figure)


def distances_svg(result: Agreement) -> bytes:
    """The largest distance between two annotators, per landmark, cases in ascending order; the limit as a line."""
    figure = _figure(7.0, 3.4)
    panel = figure.subplots()
    for number, name in enumerate(result.landmarks):
        values = sorted(
            case.largest_distance_mm
            for case in result.cases
            if case.landmark == name and case.largest_distance_mm is not None
        )
        share = 100 * np.arange(1, len(values) + 1) / max(1, len(values))
        panel.step(
            [0.0, *values], [0.0, *share], where="post", color=COLOURS[number % len(COLOURS)], label=_label(name)
        )
    if result.limit_mm is not None:
        panel.axvline(result.limit_mm, color=_INK, lw=1, ls="--", label=f"discuss above {result.limit_mm:.1f} mm")
    panel.set(xlabel="largest distance between two annotators (mm)", ylabel="cases at or below (%)", ylim=(0, 102))
    panel.set_xlim(left=0)
    panel.legend(loc="lower right", frameon=False)
    return _svg(figure)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _svg(figure: Any) -> bytes:
    """The same figure gives the same bytes."""
    import matplotlib

    for panel in figure.axes:
        panel.spines[["top", "right"]].set_visible(False)
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "carotid"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _inline(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def _label(name: str) -> str:
    return name.replace("_", " ")


def _centre(case: Case) -> tuple[float, float, float]:
    x, y, z = (case.affine_lps[:3, :3] @ (np.array(case.size) - 1) / 2 + case.affine_lps[:3, 3]).tolist()
    return x, y, z


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return round(value, 3) if isinstance(value, float) and math.isfinite(value) else value
