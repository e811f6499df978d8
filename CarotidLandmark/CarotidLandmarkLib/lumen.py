"""How bright the vessels of a CT angiography are: contrast differs from scan to scan."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .volume import Volume

USUAL_LUMEN_HU = 350.0
_RADIUS_MM, _LEAST_HU, _FEWEST_VOXELS = 5.0, 150.0, 20


def lumen_hu(volume: Volume, points_lps: Iterable[Any]) -> float:
    """HU of the lumen within 5 mm of points at vessels (LPS mm); the usual 350 where nothing there is enhanced."""
    values = []
    for point in points_lps:
        near = _within(volume, point)
        near = near[near > _LEAST_HU]
        if near.size > _FEWEST_VOXELS:
            values.append(float(np.percentile(near, 75)))  # below it what is half lumen, above it calcium
    return float(np.median(values)) if values else USUAL_LUMEN_HU


def _within(volume: Volume, centre_lps: Any) -> np.ndarray:
    """The voxels of a ball, flat."""
    centre, reach = volume.to_voxels(centre_lps), _RADIUS_MM / volume.spacing_mm
    start = np.clip(np.floor(centre - reach), 0, volume.size).astype(int)
    stop = np.clip(np.ceil(centre + reach) + 1, 0, volume.size).astype(int)
    (i0, j0, k0), (i1, j1, k1) = start, stop
    k, j, i = np.ogrid[k0:k1, j0:j1, i0:i1]
    away = [(n - c) * s for n, c, s in zip((i, j, k), centre, volume.spacing_mm, strict=True)]
    return volume.array[k0:k1, j0:j1, i0:i1][sum(distance**2 for distance in away) <= _RADIUS_MM**2]
