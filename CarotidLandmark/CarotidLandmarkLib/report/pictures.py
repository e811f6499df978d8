"""Pictures of a scan and its landmarks: slices and a maximum projection, radiological convention, CTA window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk
from matplotlib.patheffects import Normal, Stroke

from ..detection import ConfidenceRegion
from ..landmarks import Point
from ..volume import Volume
from .figures import new_figure, png

WINDOW_HU = (-150.0, 550.0)
SLICE_FIELD_MM = 80.0
SLICE_STEP_MM = 0.4
OVERVIEW_STEP_MM = 1.0
OVERVIEW_SLAB_MM = 30.0
OUTSIDE_HU = -1024.0

# name, LPS axis to the right, LPS axis along rows, rows grow downwards, letters at left, right, top, bottom
PLANES = (
    ("Axial", 0, 1, True, "RLAP"),
    ("Coronal", 0, 2, False, "RLHF"),
    ("Sagittal", 1, 2, False, "APHF"),
)


class Overview(NamedTuple):
    png: bytes
    caption: str


def slices_png(
    volume: Volume, centre_lps: Point, region: ConfidenceRegion | None, colour: str, truth_lps: Point | None = None
) -> bytes:
    """Axial, coronal, sagittal slice through a point: ``+`` the point, line the region's cut, ``x`` a known truth."""
    figure, axes = _panels(3, 3.4, 3.4)
    for panel, (title, across, along, downwards, letters) in zip(axes, PLANES, strict=True):
        lengths = np.full(3, SLICE_STEP_MM)
        lengths[[across, along]] = SLICE_FIELD_MM
        image, extent = _plane(volume, np.asarray(centre_lps), lengths, across, along, SLICE_STEP_MM)
        _show(panel, image, extent, downwards, letters)
        panel.set_title(title, color="white", fontsize=9)
        if region is not None:
            outline = ellipse_in_plane(region, across, along)
            panel.plot(centre_lps[across] + outline[:, 0], centre_lps[along] + outline[:, 1], color=colour, lw=1.4)
        panel.plot(centre_lps[across], centre_lps[along], "+", color=colour, ms=11, mew=1.4)
        if truth_lps is not None:
            panel.plot(truth_lps[across], truth_lps[along], "x", color="white", ms=7, mew=1.2)
        _scale_bar(panel, extent, downwards, 10)
    return png(figure)


def overview_png(volume: Volume, points: Mapping[str, tuple[Point, str]]) -> Overview:
    """Coronal maximum projection of a slab of 30 mm around the depths of the points (name -> (LPS mm, colour)).

    Without points the slab lies in the middle of the scan.
    """
    corners = volume.to_lps(
        [[i, j, k] for i in (0, volume.size[0] - 1) for j in (0, volume.size[1] - 1) for k in (0, volume.size[2] - 1)]
    )
    low, high = corners.min(axis=0), corners.max(axis=0)
    centre = (low + high) / 2
    lengths = high - low
    depths = [position[1] for position, _ in points.values()] or [centre[1]]
    centre[1] = (max(depths) + min(depths)) / 2
    lengths[1] = OVERVIEW_SLAB_MM + max(depths) - min(depths)
    image, extent = _plane(volume, centre, lengths, 0, 2, OVERVIEW_STEP_MM)
    figure, (panel,) = _panels(1, 5.2, 5.2 * lengths[2] / lengths[0])
    _show(panel, image, extent, False, "RLHF")
    for position, colour in points.values():
        panel.plot(position[0], position[2], "+", color=colour, ms=13, mew=1.8)
    _scale_bar(panel, extent, False, 50)
    where = "at the depth of the points" if points else "in the middle of the scan"
    return Overview(png(figure), f"Coronal maximum projection of a {lengths[1]:.0f} mm slab {where}.")


def ellipse_in_plane(region: ConfidenceRegion, across: int, along: int) -> np.ndarray:
    """Where the region's surface cuts the plane through its centre along two LPS axes: [73, 2] mm from the centre."""
    axes = np.asarray(region.axes_lps)
    precision = axes.T @ np.diag(np.asarray(region.semi_axes_mm) ** -2.0) @ axes
    values, vectors = np.linalg.eigh(precision[np.ix_([across, along], [across, along])])
    angle = np.linspace(0, 2 * np.pi, 73)
    return (vectors @ (np.stack([np.cos(angle), np.sin(angle)]) / np.sqrt(values)[:, None])).T


def _plane(
    volume: Volume, centre: np.ndarray, lengths_mm: np.ndarray, across: int, along: int, step_mm: float
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Maximum over the third axis of an LPS-aligned box: image [along, across], edges (left, right, first, last)."""
    size = np.maximum(np.rint(lengths_mm / step_mm), 1).astype(int)
    origin = centre - (size - 1) / 2 * step_mm
    image, offset = _crop(volume, origin, origin + (size - 1) * step_mm)
    if image is None:
        box = np.full(size[::-1], OUTSIDE_HU, np.float32)
    else:
        moving = sitk.GetImageFromArray(image)
        moving.SetSpacing(volume.spacing_mm.tolist())
        moving.SetDirection((volume.affine_lps[:3, :3] / volume.spacing_mm).ravel().tolist())
        moving.SetOrigin(volume.to_lps(offset).tolist())
        identity = np.eye(3).ravel().tolist()
        box = sitk.GetArrayFromImage(
            sitk.Resample(
                moving,
                size.tolist(),
                sitk.Transform(),
                sitk.sitkLinear,
                origin.tolist(),
                [step_mm] * 3,
                identity,
                OUTSIDE_HU,
            )
        )
    flat = box.max(axis=2 - ({0, 1, 2} - {across, along}).pop())
    first, last = origin - step_mm / 2, origin + (size - 0.5) * step_mm
    return flat, (first[across], last[across], first[along], last[along])


def _crop(volume: Volume, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """The voxels around an LPS box, so that a slice does not cost a copy of the scan; and the first one's (i, j, k)."""
    corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    voxels = volume.to_voxels(corners)
    start = np.clip(np.floor(voxels.min(axis=0)) - 1, 0, volume.size).astype(int)
    stop = np.clip(np.ceil(voxels.max(axis=0)) + 2, 0, volume.size).astype(int)
    if np.any(stop <= start):
        return None, start
    (i0, j0, k0), (i1, j1, k1) = start, stop
    return volume.array[k0:k1, j0:j1, i0:i1], start


def _panels(count: int, width: float, height: float) -> tuple[Any, list[Any]]:
    figure = new_figure(count * width, height, dpi=110, facecolor="black")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _show(panel: Any, image: np.ndarray, extent: tuple[float, ...], downwards: bool, letters: str) -> None:
    left, right, first, last = extent
    panel.imshow(
        image,
        cmap="gray",
        vmin=WINDOW_HU[0],
        vmax=WINDOW_HU[1],
        origin="upper" if downwards else "lower",
        extent=(left, right, last, first) if downwards else (left, right, first, last),
        interpolation="bilinear",
    )
    panel.set_axis_off()
    panel.autoscale(False)
    outline = [Stroke(linewidth=2, foreground="black"), Normal()]  # legible on bone
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02))
    for letter, (x, y) in zip(letters, places, strict=True):
        panel.text(
            x, y, letter, transform=panel.transAxes, path_effects=outline,
            color="#ffd43b", fontsize=10, fontweight="bold",
            ha="left" if x < 0.1 else "right" if x > 0.9 else "center",
            va="top" if y > 0.9 else "bottom" if y < 0.1 else "center",
        )  # fmt: skip


def _scale_bar(panel: Any, extent: tuple[float, ...], downwards: bool, length_mm: float) -> None:
    left, right, first, last = extent
    x = left + 0.04 * (right - left)
    y = last - 0.05 * (last - first) if downwards else first + 0.05 * (last - first)
    panel.plot([x, x + length_mm], [y, y], color="white", lw=2, solid_capstyle="butt")
    panel.annotate(f"{length_mm:g} mm", (x, y), (0, 3), textcoords="offset points", color="white", fontsize=7)
