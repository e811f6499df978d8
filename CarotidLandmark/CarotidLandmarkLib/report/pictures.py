"""Pictures of a landmark: three planes through it, near and nearer, and seven consecutive axial slices."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.markers import MarkerStyle
from matplotlib.patches import Rectangle
from matplotlib.path import Path

from ..detection import ConfidenceRegion
from ..landmarks import Point
from ..volume import Volume
from .figures import DPI, image_panels, png
from .planes import AXIAL, LETTER_COLOUR, PLANES, Plane, draw_scale_bar, sample_plane, show_image

FIELD_MM, INSET_MM = 80.0, 30.0
STEP_MM, INSET_STEP_MM = 0.3, 0.15
STRIP_MM = (-3, -2, -1, 0, 1, 2, 3)  # towards the feet first: the definition goes up
_PIXEL = 72 / DPI  # in points, as matplotlib counts lines
# A cross whose middle is free: what it marks is seen.
_OPEN_CROSS = MarkerStyle(
    Path(
        [(-1, 0), (-0.45, 0), (0.45, 0), (1, 0), (0, -1), (0, -0.45), (0, 0.45), (0, 1)],
        [Path.MOVETO, Path.LINETO] * 4,
    )
)


def slices_png(
    volume: Volume, centre_lps: Point, region: ConfidenceRegion | None, colour: str, truth_lps: Point | None = None
) -> bytes:
    """Axial, coronal, sagittal slice through a point, 80 mm wide, and below each the 30 mm around the point.

    The open cross is the point, the line the region's cut, ``x`` a known truth; one pixel each.
    """
    figure, (near, nearer) = image_panels(2, 3, 12.6, 8.86, 0.28)
    for plane, panel, inset in zip(PLANES, near, nearer, strict=True):
        for axes, field, step in ((panel, FIELD_MM, STEP_MM), (inset, INSET_MM, INSET_STEP_MM)):
            show_image(axes, sample_plane(volume, centre_lps, plane, field, step), plane)
            _mark(axes, centre_lps, region, colour, plane)
            if truth_lps is not None:
                axes.plot(truth_lps[plane.across], truth_lps[plane.along], "x", color="white", ms=7, mew=_PIXEL)
        panel.set_title(plane.title, color="white", fontsize=10)
        corner = (centre_lps[plane.across] - INSET_MM / 2, centre_lps[plane.along] - INSET_MM / 2)
        panel.add_patch(Rectangle(corner, INSET_MM, INSET_MM, fill=False, ec=LETTER_COLOUR, lw=_PIXEL, ls=(0, (2, 4))))
        inset.set_title(f"the {INSET_MM:.0f} mm around the point", color="white", fontsize=9)
        draw_scale_bar(panel, 10)
        draw_scale_bar(inset, 5)
    return png(figure)


def strip_png(volume: Volume, centre_lps: Point, region: ConfidenceRegion | None, colour: str) -> bytes:
    """Seven axial slices from 3 mm below a point to 3 mm above it; the line is the region's cut at each height."""
    figure, (panels,) = image_panels(1, len(STRIP_MM), 12.6, 2.05, 0.24)
    for offset, panel in zip(STRIP_MM, panels, strict=True):
        height = (centre_lps[0], centre_lps[1], centre_lps[2] + offset)
        show_image(panel, sample_plane(volume, height, AXIAL, INSET_MM, INSET_STEP_MM), AXIAL, 7)
        _mark(panel, centre_lps, region, colour, AXIAL, offset)
        draw_scale_bar(panel, 5, 6)
        number, _ = volume.geometry.axial_slice(height)
        inside = volume.contains(height)
        if not inside:
            panel.text(0.5, 0.6, "beyond the scan", transform=panel.transAxes, color="white", fontsize=8, ha="center")
        title = f"{offset:+d} mm".replace("-", "−") if offset else "point"
        panel.set_title(f"{title}, slice {number}" if inside else title, color="white", fontsize=8)
    return png(figure)


def ellipse_in_plane(region: ConfidenceRegion, across: int, along: int, offset_mm: float = 0.0) -> np.ndarray | None:
    """Where the region's surface cuts a plane along two LPS axes, ``offset_mm`` from the centre along the third.

    [73, 2] mm from the centre; None where the plane misses the region.
    """
    axes = np.asarray(region.axes_lps)
    precision = axes.T @ np.diag(np.asarray(region.semi_axes_mm) ** -2.0) @ axes
    third = ({0, 1, 2} - {across, along}).pop()
    plane, coupling = precision[np.ix_([across, along], [across, along])], precision[[across, along], third]
    middle = -np.linalg.solve(plane, coupling) * offset_mm
    rest = 1.0 - (precision[third, third] - coupling @ np.linalg.solve(plane, coupling)) * offset_mm**2
    if rest <= 0:
        return None
    values, vectors = np.linalg.eigh(plane)
    angle = np.linspace(0, 2 * np.pi, 73)
    return middle + np.sqrt(rest) * (vectors @ (np.stack([np.cos(angle), np.sin(angle)]) / np.sqrt(values)[:, None])).T


def _mark(
    panel: Any, centre_lps: Point, region: ConfidenceRegion | None, colour: str, plane: Plane, offset_mm: float = 0.0
) -> None:
    """The point, where the plane goes through it, and the region's cut."""
    x, y = centre_lps[plane.across], centre_lps[plane.along]
    outline = None if region is None else ellipse_in_plane(region, plane.across, plane.along, offset_mm)
    if outline is not None:
        panel.plot(x + outline[:, 0], y + outline[:, 1], color=colour, lw=_PIXEL)
    if offset_mm == 0:
        draw_cross(panel, x, y, colour)


def draw_cross(panel: Any, x: float, y: float, colour: str, width: int = 1) -> None:
    """An open cross at a place of a panel, its arms ``width`` pixels wide."""
    panel.plot(x, y, marker=_OPEN_CROSS, color=colour, ms=26 * _PIXEL, mew=width * _PIXEL)
