"""Figures 3 and 4 of the paper, redrawn from this run; Figure 5 is `evaluation.figures.volume_against_error`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from CarotidLandmarkLib.landmarks import PALETTE as COLOURS
from CarotidLandmarkLib.report.figures import new_figure
from CarotidLandmarkLib.volume import Volume
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..evaluation.figures import STYLE, show_places, show_slice, violin, violin_ticks
from .maps import PLANES, Layer, Shown
from .protocol import METHODS
from .report import Row

SLICE_MM = 80.0


def violins(rows: Sequence[Row]) -> Figure:
    """Figure 4: the errors of every method: a dot per landmark, a line at the median, a cross at the paper's mean."""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(1.5 + 1.25 * len(rows), 4.4)
        axes = figure.subplots()
        for place, row in enumerate(rows):
            colour = COLOURS[0] if row.key in ("ours", "shipped") else "#868e96"
            violin(axes, place, row.errors_mm[np.isfinite(row.errors_mm)], colour)
            paper = METHODS[row.key].paper_mm
            if paper:
                axes.plot(place, np.log10(paper[0]), "x", color="#e03131", ms=7, mew=1.6)
        axes.plot([], [], "x", color="#e03131", ms=7, mew=1.6, ls="", label="the paper's mean (other scans)")
        axes.hlines([], 0, 0, color="black", label="median")
        axes.legend(loc="upper right", fontsize=8)
        axes.set_xticks(range(len(rows)), [_wrapped(row.title) for row in rows], fontsize=7.5)
        violin_ticks(axes)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.12 * (high - low))  # room for the legend
        axes.set_ylabel("Error on the test scans (mm)")
        return figure


def slices(volume: Volume, place: np.ndarray, rows: Mapping[str, Path]) -> Figure:
    """Figure 3: an axial and a sagittal slice through the true place, + true, × found; and the heatmap on them.

    ``place``: LPS mm [3]. ``rows``: method -> file of `maps.Shown`. A method's row: slices, then the map that its
    answer was read from, on the same planes.
    """
    figure = new_figure(8.8, 2.6 * len(rows), facecolor="black")
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (key, path) in zip(parts, rows.items(), strict=True):
        row, shown = part.subplots(1, 4), Shown.read(path)
        for plane, axes, mapped, layer in zip(PLANES, row[:2], row[2:], shown.layers, strict=True):
            for one, title in ((axes, plane.title), (mapped, f"{plane.title}, heatmap")):
                show_slice(one, volume, place, plane, SLICE_MM)
                one.set_title(title, color="white", fontsize=7)
            show_places(axes, plane, place, shown.found_lps)
            _heatmap(mapped, layer)  # alone: our map is no larger than the marks
        distance = float(np.linalg.norm(shown.found_lps - place))
        part.suptitle(f"{METHODS[key].title}: {distance:.1f} mm", color="white", fontsize=9, x=0.01, ha="left")
    return figure


def _heatmap(axes: Axes, layer: Layer) -> None:
    """Colours over a slice where the map is above a fiftieth of its highest value, in the map's frame."""
    if not layer.shares.size:
        words = "the heatmap lies elsewhere"
        axes.text(0.5, 0.05, words, transform=axes.transAxes, color="white", ha="center", fontsize=7)
        return
    left, right, low, high = layer.extent
    axes.imshow(
        np.ma.masked_less(layer.shares, 0.02), cmap="inferno", vmin=0, vmax=1, alpha=0.75, origin="lower",
        interpolation="nearest", extent=layer.extent,
    )  # fmt: skip
    axes.add_patch(Rectangle((left, low), right - left, high - low, fill=False, ec="#ffd43b", lw=0.6))


def _wrapped(title: str) -> str:
    """Lines as narrow as a violin, broken before brackets and after commas."""
    parts = title.replace(", ", ",\n").replace(" (", "\n(").replace(" + ", "\n+ ").splitlines()
    return "\n".join(line for part in parts for line in textwrap.wrap(part, 22, break_on_hyphens=False))
