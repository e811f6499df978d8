"""Planes and boxes of a scan in the patient's directions, as images: radiological convention, CTA window."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk
from matplotlib.patheffects import Normal, Stroke

from ..volume import Volume

WINDOW_HU = (-150.0, 750.0)  # width 900, level 300: lumen, calcium and wall are three greys
OUTSIDE_HU = -1024.0
LETTER_COLOUR = "#ffd43b"
_EDGE = [Stroke(linewidth=2, foreground="black"), Normal()]  # legible on bone
_BAR_EDGE = [Stroke(linewidth=3.5, foreground="black"), Normal()]


class Plane(NamedTuple):
    """``across``, ``along``: LPS axes to the right and along rows; ``letters`` at left, right, top, bottom."""

    title: str
    across: int
    along: int
    downwards: bool
    letters: str


AXIAL = Plane("Axial", 0, 1, True, "RLAP")
CORONAL = Plane("Coronal", 0, 2, False, "RLHF")
SAGITTAL = Plane("Sagittal", 1, 2, False, "APHF")
PLANES = (AXIAL, CORONAL, SAGITTAL)


class Image(NamedTuple):
    """Grey values in HU, [along, across]; ``edges`` in LPS mm: left, right, first row, last row."""

    hu: np.ndarray
    edges: tuple[float, float, float, float]


class Box(NamedTuple):
    """A part of a scan on an LPS grid: ``hu`` [z, y, x], ``origin_lps`` of the first voxel, ``step_mm`` in all axes."""

    hu: np.ndarray
    origin_lps: np.ndarray
    step_mm: float

    def maximum(self, plane: Plane) -> Image:
        """The largest value along the axis that the plane lacks."""
        flat = self.hu.max(axis=2 - ({0, 1, 2} - {plane.across, plane.along}).pop())
        first = self.origin_lps - self.step_mm / 2
        last = first + self.step_mm * np.array(self.hu.shape[::-1])
        return Image(flat, (first[plane.across], last[plane.across], first[plane.along], last[plane.along]))

    def to_voxels(self, point_lps: Any) -> np.ndarray:
        """LPS millimetres to (x, y, z) in voxels."""
        return (np.asarray(point_lps) - self.origin_lps) / self.step_mm


def sample_box(volume: Volume, centre_lps: Any, lengths_mm: Any, step_mm: float) -> Box:
    """A box of ``lengths_mm`` (L-R, A-P, H-F) around a point; air where the scan ends."""
    size = np.maximum(np.rint(np.asarray(lengths_mm) / step_mm), 1).astype(int)
    origin = np.asarray(centre_lps, float) - (size - 1) / 2 * step_mm
    image, offset = _crop(volume, origin, origin + (size - 1) * step_mm)
    if image is None:
        return Box(np.full(size[::-1], OUTSIDE_HU, np.float32), origin, step_mm)
    moving = sitk.GetImageFromArray(image)
    moving.SetSpacing(volume.spacing_mm.tolist())
    moving.SetDirection((volume.affine_lps[:3, :3] / volume.spacing_mm).ravel().tolist())
    moving.SetOrigin(volume.to_lps(offset).tolist())
    identity = np.eye(3).ravel().tolist()
    steps, linear = [step_mm] * 3, sitk.sitkLinear
    box = sitk.Resample(moving, size.tolist(), sitk.Transform(), linear, origin.tolist(), steps, identity, OUTSIDE_HU)
    return Box(sitk.GetArrayFromImage(box), origin, step_mm)


def sample_plane(volume: Volume, centre_lps: Any, plane: Plane, field_mm: float, step_mm: float) -> Image:
    """A square of ``field_mm`` around a point."""
    lengths = np.full(3, step_mm)
    lengths[[plane.across, plane.along]] = field_mm
    return sample_box(volume, centre_lps, lengths, step_mm).maximum(plane)


def show_image(panel: Any, image: Image, plane: Plane, letter_size: float = 10) -> None:
    """Draw an image with the letters of the patient's directions; the panel's axes are LPS millimetres."""
    left, right, first, last = image.edges
    panel.imshow(
        image.hu,
        cmap="gray",
        vmin=WINDOW_HU[0],
        vmax=WINDOW_HU[1],
        origin="upper" if plane.downwards else "lower",
        extent=(left, right, last, first) if plane.downwards else (left, right, first, last),
        interpolation="bilinear",
    )
    panel.set(xticks=[], yticks=[])  # else laid out at each drawing, though they are not shown
    panel.set_axis_off()
    panel.autoscale(False)
    for letter, (x, y) in zip(plane.letters, ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02)), strict=True):
        panel.text(
            x, y, letter, transform=panel.transAxes, path_effects=_EDGE,
            color=LETTER_COLOUR, fontsize=letter_size, fontweight="bold",
            ha="left" if x < 0.1 else "right" if x > 0.9 else "center",
            va="top" if y > 0.9 else "bottom" if y < 0.1 else "center",
        )  # fmt: skip


def draw_scale_bar(panel: Any, length_mm: float, size: float = 8) -> None:
    """In the lower left corner of a panel whose axes are millimetres."""
    left, right = panel.get_xlim()
    x, y = left + 0.04 * (right - left), np.interp(0.04, (0, 1), panel.get_ylim())
    panel.plot([x, x + length_mm], [y, y], color="white", lw=1.5, solid_capstyle="butt", path_effects=_BAR_EDGE)
    panel.annotate(
        f"{length_mm:g} mm", (x, y), (0, 3), textcoords="offset points", color="white", fontsize=size,
        path_effects=_EDGE,
    )  # fmt: skip


def _crop(volume: Volume, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """The voxels around an LPS box, so that a slice does not cost a copy of the scan; and the first one's (i, j, k)."""
    corners = list(product(*zip(low, high, strict=True)))
    voxels = volume.to_voxels(corners)
    start = np.clip(np.floor(voxels.min(axis=0)) - 1, 0, volume.size).astype(int)
    stop = np.clip(np.ceil(voxels.max(axis=0)) + 2, 0, volume.size).astype(int)
    if np.any(stop <= start):
        return None, start
    (i0, j0, k0), (i1, j1, k1) = start, stop
    return volume.array[k0:k1, j0:j1, i0:i1], start
