"""The smallest scan that the detector takes for one."""

from __future__ import annotations

import numpy as np
from CarotidLandmarkLib.volume import Volume


def scan(number: int = 0) -> Volume:
    """A tube in soft tissue in air, 32 voxels of 3 mm, its middle at the origin."""
    z, y, x = np.mgrid[0:32, 0:32, 0:32].astype(float)
    array = np.full(z.shape, -1000)
    array[(x - 16) ** 2 + (y - 16) ** 2 < 14**2] = 40
    array[(x - 22) ** 2 + (y - 16) ** 2 < 3**2] = 350 + number
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = -46.5
    return Volume(array.astype(np.int16), affine, f"scan {number}")
