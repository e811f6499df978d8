"""Figures 3 and 4 of the paper, redrawn from this run; Figure 5 is `evaluation_figures.volume_against_error`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from CarotidLandmarkLib.landmarks import PALETTE as COLOURS
from CarotidLandmarkLib.report.figures import new_figure
from CarotidLandmarkLib.report.planes import WINDOW_HU
from CarotidLandmarkLib.volume import Volume
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ..evaluation.figures import SMALLEST_MM, STYLE
from ..evaluation.gallery import FOUND_COLOUR, OUTLINE, TRUE_COLOUR, slice_through
from .report import Row
from .rows import METHODS

FIELD_MM = 80.0
TICKS_MM = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
# (title, across, along): LPS axes of the paper's two planes; the head is up in a sagittal slice, the nose in an axial.
PLANES = (("axial", 0, 1), ("sagittal", 1, 2))


def violins(rows: Sequence[Row]) -> Figure:
    """Figure 4: the errors of every method: a dot per landmark, a line at the median, a cross at the paper's mean."""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(1.5 + 1.25 * len(rows), 4.4)
        axes = figure.subplots()
        draw = np.random.default_rng(0)  # sideways places of the dots
        for place, row in enumerate(rows):
            logs = np.log10(np.clip(row.errors_mm[np.isfinite(row.errors_mm)], SMALLEST_MM, None))
            colour = COLOURS[0] if row.key in ("ours", "shipped") else "#868e96"
            if len(logs) > 2 and np.ptp(logs) > 0:
                for body in axes.violinplot(logs, [place], widths=0.85, showextrema=False)["bodies"]:  # type: ignore[attr-defined]
                    body.set(facecolor=colour, alpha=0.35)
            axes.plot(place + draw.uniform(-0.07, 0.07, len(logs)), logs, ".", color=colour, ms=3, alpha=0.7)
            if len(logs):
                axes.hlines(np.median(logs), place - 0.25, place + 0.25, color="black", lw=1.5)
            paper = METHODS[row.key].paper_mm
            if paper:
                axes.plot(place, np.log10(paper[0]), "x", color="#e03131", ms=7, mew=1.6)
        axes.plot([], [], "x", color="#e03131", ms=7, mew=1.6, ls="", label="the paper's mean (other scans)")
        axes.hlines([], 0, 0, color="black", label="median")
        axes.legend(loc="upper right", fontsize=8)
        axes.set_xticks(range(len(rows)), [_wrapped(row.title) for row in rows], fontsize=7.5)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda log, _: f"{10**log:.3g}"))
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.12 * (high - low))  # room for the legend
        axes.set_yticks([tick for tick in np.log10(TICKS_MM) if low <= tick <= high])
        axes.set_ylabel("Error on the test scans (mm)")
        axes.grid(axis="x", visible=False)
        return figure


def slices(volume: Volume, truth: Mapping[str, tuple[float, float, float] | None], maps: Mapping[str, Path]) -> Figure:
    """Figure 3: an axial and a sagittal slice through the true place, + true, × found; and the heatmap on them.

    ``truth``: landmark -> LPS mm [3]; the first that is present is shown. ``maps``: method -> file of
    `predict.predict`. A method's row: slices, then the map that its answer was read from, on the same planes.
    """
    name, place = next((n, np.asarray(p)) for n, p in truth.items() if p is not None)
    figure = new_figure(8.8, 2.6 * len(maps), facecolor="black")
    parts = figure.subfigures(len(maps), 1, squeeze=False)[:, 0]
    for part, (key, path) in zip(parts, maps.items(), strict=True):
        row = part.subplots(1, 4)
        with np.load(path) as kept:
            found, middle = kept[f"{name}_found_lps"], kept[f"{name}_middle_lps"]
            heatmap, spacing = kept[f"{name}_values"].astype(np.float32), float(kept[f"{name}_spacing_mm"])
        for n, (plane, across, along) in enumerate(PLANES):
            image = slice_through(volume, place, across, along, FIELD_MM)
            for axes in row[n], row[2 + n]:
                _scan(axes, image, place, found, across, along)
            cut = _plane(heatmap, spacing, middle, place, across, along)
            _heatmap(row[2 + n], cut, float(heatmap.max()), spacing, middle - place, across, along)
            row[n].set_title(plane, color="white", fontsize=7)
            row[2 + n].set_title(f"{plane}, heatmap", color="white", fontsize=7)
        distance = float(np.linalg.norm(found - place))
        part.suptitle(f"{METHODS[key].title}: {distance:.1f} mm", color="white", fontsize=9, x=0.01, ha="left")
    return figure


def _scan(axes: Axes, image: np.ndarray, true: np.ndarray, found: np.ndarray, across: int, along: int) -> None:
    half = FIELD_MM / 2
    upwards = along == 2  # y leads to the back, z to the head
    low, high = (-half, half) if upwards else (half, -half)
    axes.set_axis_off()
    axes.imshow(
        image, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], origin="lower" if upwards else "upper",
        extent=(-half, half, low, high), interpolation="bilinear",
    )  # fmt: skip
    axes.autoscale(False)
    axes.plot(0, 0, "+", color=TRUE_COLOUR, ms=10, mew=1.5, path_effects=OUTLINE)
    offset = found - true
    axes.plot(offset[across], offset[along], "x", color=FOUND_COLOUR, ms=7, mew=1.5, path_effects=OUTLINE)


def _plane(
    heatmap: np.ndarray, spacing: float, middle: np.ndarray, place: np.ndarray, across: int, along: int
) -> np.ndarray | None:
    """The layer of the map [k, j, i] nearest to the slice, [along, across]; None where the map does not reach it."""
    axis = 3 - across - along  # LPS axis across the slice: array axis 2 - axis
    index = round((place[axis] - middle[axis]) / spacing + (heatmap.shape[2 - axis] - 1) / 2)
    if not 0 <= index < heatmap.shape[2 - axis]:
        return None
    return np.take(heatmap, index, axis=2 - axis)


def _heatmap(
    axes: Axes, cut: np.ndarray | None, highest: float, spacing: float, middle: np.ndarray, across: int, along: int
) -> None:
    """Colours over the slice where the map is above a fiftieth of its highest value; ``middle`` from the true place."""
    if cut is None or highest <= 0:
        axes.text(
            0.5, 0.05, "the heatmap lies elsewhere", transform=axes.transAxes, color="white", ha="center", fontsize=7
        )
        return
    height, width = (n * spacing / 2 for n in cut.shape)
    x, y = middle[across], middle[along]
    shown = np.ma.masked_less(cut / highest, 0.02)
    axes.imshow(
        shown, cmap="inferno", vmin=0, vmax=1, alpha=0.75, origin="lower", interpolation="nearest",
        extent=(x - width, x + width, y - height, y + height),
    )  # fmt: skip
    axes.plot([x - width, x + width, x + width, x - width, x - width],
              [y - height, y - height, y + height, y + height, y - height], color="#ffd43b", lw=0.6)  # fmt: skip


def _wrapped(title: str) -> str:
    """Lines as narrow as a violin, broken before brackets and after commas."""
    parts = title.replace(", ", ",\n").replace(" (", "\n(").replace(" + ", "\n+ ").splitlines()
    return "\n".join(line for part in parts for line in textwrap.wrap(part, 22, break_on_hyphens=False))
