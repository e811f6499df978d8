"""Maximum projections from in front: as the scan is, and without its bone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from ..landmarks import Point
from ..volume import Volume, lumen_hu
from .figures import image_panels, png
from .pictures import draw_cross
from .planes import CORONAL, OUTSIDE_HU, Box, draw_scale_bar, sample_box, show_image

STEP_MM, SLAB_MM = 1.0, 30.0
_MARGIN_MM = 12.0  # judged along with the slab, so that bone at its faces is not a piece as small as a plaque
# Bone is what is brighter than a lumen in pieces larger than plaques, with its marrow, its blurred edge,
# and what goes on from it where its cortex is too thin to be bright.
_CORTEX, _LEAST_BONE_MM3, _CLOSING_MM, _MARROW_MM, _EDGE_MM, _THIN_CORTEX_MM = 1.2, 250, 3, 14, 2, 10
# A vessel is what has a lumen's HU, is at least 3 mm wide and goes on from a point: to where it enters the skull.
_LUMEN, _NEAR_MM, _FAR_MM = (0.55, 1.35), 5.0, 50.0


class Overview(NamedTuple):
    png: bytes
    caption: str


def overview_png(volume: Volume, points: Mapping[str, tuple[Point, str]], without_bone: bool = True) -> Overview:
    """A slab of 30 mm around the depths of the points (name -> (LPS mm, colour)), as the scan is and ``without_bone``.

    Without points the slab lies in the middle of the scan, and nothing is taken out of it.
    """
    corners = volume.to_lps(list(product(*((0, count - 1) for count in volume.size))))
    low, high = corners.min(axis=0), corners.max(axis=0)
    centre = (low + high) / 2
    lengths = high - low
    depths = [position[1] for position, _ in points.values()] or [centre[1]]
    centre[1] = (max(depths) + min(depths)) / 2
    lengths[1] = SLAB_MM + max(depths) - min(depths)
    box = sample_box(volume, centre, lengths + np.array([0.0, 2 * _MARGIN_MM, 0.0]), STEP_MM)
    shown = {"as the scan is": box.hu}
    if points and without_bone:  # points tell vessels from bone
        places = [position for position, _ in points.values()]
        bone = bone_of(box, places, lumen_hu(volume, places))
        shown["without bone"] = np.where(bone, OUTSIDE_HU, box.hu)
    slab = slice(round(_MARGIN_MM / STEP_MM), -round(_MARGIN_MM / STEP_MM))
    width = min(6.3, 9.0 * lengths[0] / lengths[2])
    figure, (panels,) = image_panels(1, len(shown), len(shown) * width, width * lengths[2] / lengths[0] + 0.3, 0.28)
    for panel, (title, hu) in zip(panels, shown.items(), strict=True):
        show_image(panel, box._replace(hu=hu[:, slab]).maximum(CORONAL), CORONAL)
        panel.set_title(title, color="white", fontsize=10)
        for position, colour in points.values():
            draw_cross(panel, position[0], position[2], colour, 2)
        draw_scale_bar(panel, 50 if lengths[0] > 120 else 20)
    where = "at the depth of the points" if points else "in the middle of the scan"
    caption = f"Coronal maximum projection of a {lengths[1]:.0f} mm slab {where}."
    if len(shown) > 1:
        caption += (
            " Bone is taken out by brightness and size: small vessels that touch it, and large calcifications, may be "
            "gone with it, and bone that touches a carotid may stay."
        )
    return Overview(png(figure), caption)


def bone_of(box: Box, points: Sequence[Point], lumen: float) -> np.ndarray:
    """Which voxels of a box are bone, [z, y, x], judged by brightness and size; vessels through ``points`` are not.

    ``lumen``: HU of the vessels.
    """
    image = sitk.GetImageFromArray(box.hu.astype(np.float32))
    pieces = sitk.RelabelComponent(
        sitk.ConnectedComponent(image > _CORTEX * lumen), minimumObjectSize=round(_LEAST_BONE_MM3 / box.step_mm**3)
    )
    cortex = sitk.GetArrayFromImage(pieces) > 0
    solid = sitk.GetArrayFromImage(sitk.BinaryMorphologicalClosing(pieces > 0, [_voxels(_CLOSING_MM, box)] * 3)) > 0
    solid |= _enclosed(solid, _voxels(_MARROW_MM, box))
    whole = sitk.GetImageFromArray(solid.astype(np.uint8))
    away_mm = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(whole, False, False)) * box.step_mm
    vessels = _vessels(image, box, points, lumen) & ~cortex
    goes_on = (away_mm <= _THIN_CORTEX_MM) & (box.hu > _LUMEN[0] * lumen) & ~vessels | solid
    spongy = sitk.BinaryReconstructionByDilation(whole, sitk.GetImageFromArray(goes_on.astype(np.uint8)))
    blurred = sitk.GetArrayFromImage(sitk.BinaryDilate(spongy, [_voxels(_EDGE_MM, box)] * 3))
    return (blurred > 0) & ~vessels


def _vessels(image: sitk.Image, box: Box, points: Sequence[Point], lumen: float) -> np.ndarray:
    """The lumen that goes on from the points, with its edge; [z, y, x]."""
    even = (image > _LUMEN[0] * lumen) & (image < _LUMEN[1] * lumen)
    wide = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.BinaryMorphologicalOpening(even, [1] * 3)))
    z, y, x = np.ogrid[tuple(map(slice, wide.shape))]
    tree = np.zeros(wide.shape, bool)
    for point in points:
        at = box.to_voxels(point)
        away_mm = np.sqrt((x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2) * box.step_mm
        names = np.unique(wide[away_mm <= _NEAR_MM])
        tree |= np.isin(wide, names[names > 0]) & (away_mm <= _FAR_MM)
    return sitk.GetArrayFromImage(sitk.BinaryDilate(sitk.GetImageFromArray(tree.astype(np.uint8)), [1] * 3)) > 0


def _enclosed(solid: np.ndarray, reach: int) -> np.ndarray:
    """Marrow: what has bone within ``reach`` voxels to the left, the right, in front and behind; [z, y, x]."""
    inside = np.ones(solid.shape, bool)
    for axis in (1, 2):
        count = solid.shape[axis]
        edges = [(reach + 1, reach) if side == axis else (0, 0) for side in range(3)]
        total = np.moveaxis(np.cumsum(np.pad(solid, edges), axis, dtype=np.int32), axis, 0)
        behind = total[reach : reach + count] - total[:count]
        ahead = total[2 * reach + 1 : 2 * reach + 1 + count] - total[reach + 1 : reach + 1 + count]
        inside &= np.moveaxis((behind > 0) & (ahead > 0), 0, axis)
    return inside


def _voxels(length_mm: float, box: Box) -> int:
    return max(1, round(length_mm / box.step_mm))
