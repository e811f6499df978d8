"""Points in a scan: from whatever frame into LPS, and refused where they can not be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from .. import landmarks as names
from ..errors import UserError
from ..geometry import Geometry
from ..landmarks import Point

# ``voxel``: indices (i, j, k) of the scan, counted from 0
Frame = Literal["LPS", "RAS", "voxel"]
Triple = tuple[float, float, float]  # of any frame
FRAMES: tuple[Frame, ...] = ("LPS", "RAS")  # what coordinates in mm may be in


def to_lps(point: Triple, frame: Frame, geometry: Geometry) -> Point:
    """A point of any frame in LPS millimetres."""
    if frame == "voxel":
        x, y, z = geometry.to_lps(point).tolist()
    else:
        sign = 1 if frame == "LPS" else -1
        x, y, z = sign * point[0], sign * point[1], point[2]
    return x, y, z


def lie_in(points: Mapping[str, Triple | None], frame: Frame, geometry: Geometry) -> bool:
    """Whether all points are in the scan, if they are of that frame."""
    return all(geometry.contains(to_lps(point, frame, geometry)) for point in points.values() if point is not None)


def frame_of(points: Mapping[str, Triple | None], geometry: Geometry, source: str) -> tuple[Frame, str]:
    """In which frame points must be if they are in this scan, and a note. Raises UserError where both are possible.

    Only where they lie decides, never which is left: that is checked afterwards.
    """
    possible = [frame for frame in FRAMES if lie_in(points, frame, geometry)]
    if len(possible) != 1:
        where = "in both they are in the scan" if possible else "in neither are they in the scan"
        raise UserError(f"{source} does not say whether it is in LPS or RAS, and {where}; say it with --frame.")
    return possible[0], f"coordinates were taken as {possible[0]}: only so are they in the scan"


def check_places(points: Mapping[str, Point | None], geometry: Geometry, source: str, scan: str) -> None:
    """Raises UserError on a point (LPS mm) outside the scan, and on sides that are exchanged."""
    for name, point in points.items():
        if point is not None and not geometry.contains(point):
            away = max(0.1, round(_distance(point, geometry), 1))  # no point outside lies 0 mm outside
            raise UserError(
                f"{source}: {name} lies {away:g} mm outside the image of {scan}; "
                "check that it belongs to this scan, and its frame (--frame)."
            )
    for pair in names.pairs(points):
        left, right = points[pair.left], points[pair.right]
        if left is not None and right is not None and left[0] <= right[0]:
            raise UserError(
                f"{source}: {pair.left} and {pair.right} of {scan} are exchanged: left lies to the right of right; "
                "correct the labels (--label), or the frame (--frame)."
            )


def _distance(point: Point, geometry: Geometry) -> float:
    """From a point to the nearest place of a scan, mm."""
    voxel = geometry.to_voxels(point)
    nearest = np.clip(voxel, -0.5, np.array(geometry.size) - 0.5)
    return float(np.linalg.norm(geometry.to_lps(nearest) - geometry.to_lps(voxel)))
