"""Masks of a fork that is made of round tubes, so that its apex is known."""

from __future__ import annotations

import numpy as np
from CarotidLandmarkLib.geometry import Geometry

SIZE = (120, 70, 110)  # i, j, k
VOXEL_MM = 0.6
COMMON, INTERNAL, EXTERNAL, VEIN = 1, 2, 3, 4
RADII = {COMMON: 3.2, INTERNAL: 2.7, EXTERNAL: 2.2, VEIN: 4.0}
SLOPE = 0.3  # mm sideways for each mm up, of each daughter
JUNCTION_MM = 20.0  # above the lowest level: where the daughters leave
APEX_MM = JUNCTION_MM + (RADII[INTERNAL] + RADII[EXTERNAL]) / (2 * SLOPE)


def geometry(size: tuple[int, int, int] = SIZE, voxel: float = VOXEL_MM) -> Geometry:
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = [-(size[0] - 1) * voxel / 2, 10.0, 200.0]
    return Geometry(affine, size)


def fork(x: float, y: float = 30.0, grid: Geometry | None = None, low: float = 0.0, high: float = 1e3) -> np.ndarray:
    """Labels [k, j, i] of one side's carotids, their common one at (x, y) LPS mm, from ``low`` to ``high`` mm."""
    grid = grid or geometry()
    i, j, k = np.meshgrid(*map(np.arange, grid.size), indexing="ij")
    place = grid.to_lps(np.stack([i, j, k], axis=-1)).transpose(2, 1, 0, 3)
    height = place[..., 2] - grid.to_lps((0, 0, 0))[2]
    labels = np.zeros(height.shape, np.uint8)
    for label, way in ((COMMON, 0.0), (INTERNAL, 1.0), (EXTERNAL, -1.0)):
        aside = way * SLOPE * np.maximum(height - JUNCTION_MM, 0)
        inside = (place[..., 0] - x - aside) ** 2 + (place[..., 1] - y) ** 2 <= RADII[label] ** 2
        inside &= (height <= JUNCTION_MM) if label == COMMON else (height > JUNCTION_MM)
        labels[inside & (height >= low) & (height <= high)] = label
    return labels


def apex(x: float, y: float = 30.0, grid: Geometry | None = None) -> np.ndarray:
    """Where the two lumens of `fork` just touch, LPS mm."""
    bottom = (grid or geometry()).to_lps((0, 0, 0))[2]
    between = (RADII[EXTERNAL] - RADII[INTERNAL]) / 2  # the wall is nearer to the narrower one
    return np.array([x + between, y, bottom + APEX_MM])
