"""Cutting voxel grids into blocks on which fields are evaluated, refined and pooled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..neck import Grid

FINEST_MM = 1.5  # fields are evaluated no denser than this and interpolated: their own lattices are coarser still
MOST_PARTS = 4  # of a long voxel


@dataclass(frozen=True)
class Block:
    """Part of a grid: the lattice its fields are evaluated on, and the one its voxels are coloured on."""

    place: tuple[slice, slice]  # planes and rows of the grid
    coarse: Grid
    fine: Grid
    stride: tuple[int, int, int]  # of the coarse lattice against the fine one, along k, j, i
    parts: tuple[int, int, int]  # fine voxels per voxel of the grid, along k, j, i
    voxel_mm: float

    def refine(self, fields: Tensor) -> Tensor:
        """Fields [channel, n] on the coarse lattice, interpolated on the fine one."""
        if self.stride == (1, 1, 1):
            return fields
        fields = fields.reshape(-1, *self.coarse.shape)
        for axis, factor in enumerate(self.stride, start=1):
            fields = _stretched(fields, axis, factor)
        k, j, i = self.fine.shape
        return fields[:, :k, :j, :i].reshape(len(fields), -1)

    def pool(self, values: Tensor) -> Tensor:
        """Values [n] on the fine lattice, averaged over the grid's voxels: [k, j, i]."""
        values = values.reshape(self.fine.shape)
        return values if self.parts == (1, 1, 1) else F.avg_pool3d(values[None, None], self.parts)[0, 0]


def blocks(grid: Grid, voxels: int) -> Iterator[Block]:
    """Blocks of whole rows that make up a grid, about ``voxels`` each.

    Long voxels are split; short ones share the points of fields.
    """
    spacing = grid.spacing_mm.flip(0).tolist()
    parts = tuple(max(1, min(MOST_PARTS, round(s / (1.5 * min(spacing))))) for s in spacing)
    finer = [s / p for s, p in zip(spacing, parts, strict=True)]
    stride = tuple(max(1, math.floor(FINEST_MM / s + 1e-6)) for s in finer)
    row = grid.shape[2] * math.prod(parts)
    # At least a few coarse steps a side: the planes that neighbours share are then a small part.
    tall = min(grid.shape[0], max(4 * stride[0], voxels // (row * grid.shape[1])))
    wide = min(grid.shape[1], max(4 * stride[1], voxels // (row * tall)))
    for k in range(0, grid.shape[0], tall):
        for j in range(0, grid.shape[1], wide):
            size = (min(tall, grid.shape[0] - k), min(wide, grid.shape[1] - j), grid.shape[2])
            shape = tuple(n * p for n, p in zip(size, parts, strict=True))
            nodes = tuple(math.ceil((n - 1) / s) + 1 for n, s in zip(shape, stride, strict=True))
            start = [0.5 / part - 0.5 + first for part, first in zip(parts, (k, j, 0), strict=True)]
            coarse = grid.part(start, [s / part for s, part in zip(stride, parts, strict=True)], nodes)
            fine = grid.part(start, [1 / part for part in parts], shape)
            place = (slice(k, k + size[0]), slice(j, j + size[1]))
            yield Block(place, coarse, fine, stride, parts, math.prod(finer) ** (1 / 3))


def _stretched(fields: Tensor, axis: int, factor: int) -> Tensor:
    """Linear interpolation along one axis to ``factor`` steps per step, ends kept; thrice as fast as torch's own."""
    steps = fields.shape[axis] - 1
    shape = list(fields.shape)
    shape[axis] = steps * factor + 1
    result = fields.new_empty(shape)
    low, high = fields.narrow(axis, 0, steps), fields.narrow(axis, 1, steps)
    place = [slice(None)] * fields.ndim
    for n in range(factor):
        place[axis] = slice(n, n + (steps - 1) * factor + 1 if steps else n, factor)
        result[tuple(place)] = torch.lerp(low, high, n / factor)
    result.select(axis, -1).copy_(fields.select(axis, -1))
    return result
