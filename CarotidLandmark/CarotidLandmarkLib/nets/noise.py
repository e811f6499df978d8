"""How noisy a scan is."""

from __future__ import annotations

import math

import numpy as np

from ..volume import Volume

SOFT_TISSUE_HU = (-20.0, 120.0)
SQUARE_MM = 4.0
SLICES = 20  # of the scan, evenly
FEWEST_SQUARES = 100


def noise_hu(volume: Volume) -> float:
    """The standard deviation of the noise in soft tissue, HU; 0 where there is too little to tell.

    The lower quartile over squares of 4 mm whose means are soft tissue's, most of which hold no edge
    (docs/results/noise.md).
    """
    values = volume.array[:: math.ceil(len(volume.array) / SLICES)]
    side_i, side_j = (max(3, round(SQUARE_MM / spacing)) for spacing in volume.spacing_mm[:2])
    slices, rows, columns = len(values), values.shape[1] // side_j, values.shape[2] // side_i
    squares = values[:, : rows * side_j, : columns * side_i].astype(np.float32)
    squares = squares.reshape(slices, rows, side_j, columns, side_i).swapaxes(2, 3).reshape(-1, side_j * side_i)
    if not len(squares):
        return 0.0
    means, noise = squares.mean(axis=1), squares.std(axis=1)
    noise = noise[(means > SOFT_TISSUE_HU[0]) & (means < SOFT_TISSUE_HU[1])]
    some = noise[noise > 0]  # what was filled in has none
    return float(np.percentile(some, 25)) if len(some) >= max(FEWEST_SQUARES, len(noise) / 10) else 0.0
