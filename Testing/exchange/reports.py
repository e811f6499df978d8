"""A DICOM structured report read back with highdicom: the points that a workstation would see in it."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
from CarotidLandmarkLib.landmarks import Point


def read_report(path: Path) -> dict[str, Point | None]:
    """The points of a report: LPS mm by landmark, None for a missing one."""
    content = highdicom.sr.srread(path).content
    points: dict[str, Point | None] = {
        str(group.tracking_identifier): None for group in content.get_image_measurement_groups()
    }
    for group in content.get_planar_roi_measurement_groups():
        x, y, z = np.asarray(group.roi.value, float).reshape(3).tolist()
        points[str(group.tracking_identifier)] = (x, y, z)
    return points
