"""The worst cases of an evaluation, as pictures: slices through the found point, + annotated, × found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from CarotidLandmarkLib.report.figures import new_figure
from CarotidLandmarkLib.report.planes import OUTSIDE_HU, PLANES, WINDOW_HU
from CarotidLandmarkLib.volume import Volume
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from scipy.ndimage import map_coordinates

from .outcomes import Outcome
from .summary import Model

SMALLEST_FIELD_MM = 60.0
PIXELS = 200
TRUE_COLOUR, FOUND_COLOUR = "#69db7c", "#ff8787"
OUTLINE = [Stroke(linewidth=2.2, foreground="black"), Normal()]  # legible on bone


def worst_cases(pairs: Sequence[Outcome], model: Model, read: Callable[[str], Volume]) -> Figure:
    """Axial, coronal and sagittal slice for each of ``pairs`` (outcomes with a truth and a point), two cases per row.

    ``read`` gives the scan of a case id; one scan is held at a time. A line under each slice says how far the annotated
    point lies off it. Raises what ``read`` raises.
    """
    rows = max(1, (len(pairs) + 1) // 2)
    figure = new_figure(13.2, 2.45 * rows, facecolor="black")
    panels = figure.subplots(rows, 6, squeeze=False).reshape(-1, 3)
    for axes in panels.flat:
        axes.set_axis_off()
    if not pairs:
        figure.text(0.5, 0.5, "No landmark was found.", ha="center", va="center", color="white")
    for number, (pair, row) in enumerate(zip(pairs, panels, strict=False), 1):
        _case(row, read(pair.case_id), pair)
        row[0].set_title(
            f"{number}. {pair.case_id}, {model.labels[pair.landmark]}: {pair.error_mm:.1f} mm, {pair.verdict}",
            color="white", fontsize=9, loc="left",
        )  # fmt: skip
    return figure


def slice_through(volume: Volume, point_lps: np.ndarray, across: int, along: int, field_mm: float) -> np.ndarray:
    """A square slice [along, across] in HU, `PIXELS` wide, whose middle is ``point_lps``, along two LPS axes.

    Trilinear; `OUTSIDE_HU` beyond the scan.
    """
    steps = ((np.arange(PIXELS) + 0.5) / PIXELS - 0.5) * field_mm
    places = np.tile(np.asarray(point_lps, dtype=float), (PIXELS, PIXELS, 1))
    places[..., across] += steps[None, :]
    places[..., along] += steps[:, None]
    voxels = volume.to_voxels(places)
    coordinates = np.moveaxis(voxels[..., ::-1], -1, 0)
    return map_coordinates(volume.array, coordinates, output=np.float32, order=1, cval=OUTSIDE_HU)


def _case(row: Iterable[Axes], volume: Volume, pair: Outcome) -> None:
    found, truth = np.array(pair.found.position_lps_mm), np.array(pair.truth_lps)
    offset = truth - found
    field = max(SMALLEST_FIELD_MM, 2.4 * float(np.abs(offset).max()))
    half = field / 2
    for axes, (_, across, along, downwards, letters) in zip(row, PLANES, strict=True):
        image = slice_through(volume, found, across, along, field)
        low, high = (half, -half) if downwards else (-half, half)
        axes.imshow(
            image, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], interpolation="bilinear",
            origin="upper" if downwards else "lower", extent=(-half, half, low, high),
        )  # fmt: skip
        axes.autoscale(False)
        axes.plot(offset[across], offset[along], "+", color=TRUE_COLOUR, ms=10, mew=1.5, path_effects=OUTLINE)
        axes.plot(0, 0, "x", color=FOUND_COLOUR, ms=7, mew=1.5, path_effects=OUTLINE)
        off = abs(offset[3 - across - along])
        style: dict[str, Any] = {"transform": axes.transAxes, "color": "white", "fontsize": 7, "path_effects": OUTLINE}
        axes.text(0.98, 0.98, f"+ {off:.1f} mm off the slice", ha="right", va="top", **style)
        for letter, (x, y) in zip(letters, ((0.02, 0.5), (0.94, 0.5), (0.48, 0.86), (0.48, 0.02)), strict=True):
            axes.text(x, y, letter, **{**style, "color": "#ffd43b"})
        start = -half + 0.04 * field
        height = low + (high - low) * 0.04
        axes.plot([start, start + 10], [height] * 2, color="white", lw=2, solid_capstyle="butt")
        axes.annotate("10 mm", (start, height), (0, 3), textcoords="offset points", color="white", fontsize=6)
