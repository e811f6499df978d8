"""The vessel tree: its truth against an independent segmentation, its statistics, and that it follows from its seed."""

from functools import cache

import numpy as np
import pytest
import torch
from carotid_training.necks.neck import Grid
from carotid_training.necks.render import Cones, Ellipsoids, Part, paint
from carotid_training.necks.vessels import VesselTree
from scipy import ndimage

UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
SPACING = 0.4


@cache
def tree(seed, wild=0.0):
    return VesselTree.draw(torch.Generator().manual_seed(seed), wild)


def segmented_split(carotid, truth, up=UP):
    """The split found in a rendered scan of one side's carotids: LPS, or None. The slices are the axial levels along ``up``."""
    tilt = torch.linalg.qr(
        torch.stack([up, torch.tensor([1.0, 0.0, 0.0]).double(), torch.tensor([0.0, 1.0, 0.0]).double()], 1)
    )[0]
    axes = torch.stack([tilt[:, 1], tilt[:, 2], up], 1)
    shape, fine = (110, 70, 70), 3
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = axes * SPACING
    affine[:3, 3] = truth - affine[:3, :3] @ torch.tensor([34.5, 34.5, 60.0]).double()
    tubes = (carotid.common, carotid.internal, carotid.external)
    cones = Cones.empty().concat(
        *(Cones.chain(torch.from_numpy(t.points), torch.from_numpy(t.radii), 0) for t in tubes)
    )
    lumen = paint([torch.zeros(shape)], [Grid(affine, shape)], cones, Ellipsoids.empty(), [Part("lumen", 1.0)])[
        0
    ].numpy()
    levels = [ndimage.label(ndimage.zoom(level, fine, order=1) > 0.5)[0] for level in lumen]
    scale = (shape[1] - 1) / (levels[0].shape[0] - 1)
    below = levels[0] > 0
    for k, labels in enumerate(levels):
        mine = [n for n in np.unique(labels[below]) if n]
        if len(mine) > 1 and k > 0:
            first, second = (np.argwhere(labels == n) for n in mine[:2])
            gap = np.linalg.norm(first[:, None] - second[None], axis=-1)
            a, b = np.unravel_index(gap.argmin(), gap.shape)
            j, i = (first[a] + second[b]) / 2 * scale
            return affine[:3, :3].numpy() @ np.array([i, j, k]) + affine[:3, 3].numpy()
        below = np.isin(labels, mine)
    return None
