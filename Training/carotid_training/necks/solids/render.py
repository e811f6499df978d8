"""Painting solid shapes onto voxel grids: signed distances, partial volume, and no voxel touched that does not matter.

All grids are cut into blocks of 8 x 8 x 8 voxels. Blocks far from a shape are skipped, blocks deep inside a part are
filled, and only the rest is evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..neck import Grid
from .shapes import SIDE, TESTS_PER_CHUNK, Cones, Ellipsoids

_GROUP = 4  # blocks along a group of blocks, the coarse level of culling
_BLOCKS_PER_CHUNK = {"cpu": 32, "cuda": 1024}  # CPU: what stays in the cache; GPU: a few hundred MB
Solids = Cones | Ellipsoids
Pairs = tuple[Tensor, Tensor]  # of a block or its key, and a shape: [n] each


def paint(
    hu: Sequence[Tensor], grids: Sequence[Grid], shapes: Sequence[Solids], parts: Sequence[float]
) -> list[Tensor]:
    """Paint shapes over ``hu`` (float32 [k, j, i] on one device, one per grid); returns new tensors.

    ``parts``: HU of every part; later ones are painted over earlier ones. A voxel's share of a part is linear in the
    signed distance over the voxel's width along the surface normal; shapes thinner than a voxel are dimmed so that
    their volume is kept.
    Raises ValueError where a shape's part is not in the list or a grid does not fit its tensor.
    """
    if any(tuple(h.shape) != tuple(g.shape) for h, g in zip(hu, grids, strict=True)):
        raise ValueError("Every HU array must have the shape of its grid.")
    shapes = [own for own in shapes if len(own)]
    if any(int(own.part.min()) < 0 or int(own.part.max()) >= len(parts) for own in shapes):
        raise ValueError(f"A shape names a part that is not among the {len(parts)} parts.")
    if not hu or not shapes:
        return [h.clone() for h in hu]
    device = hu[0].device
    tiling = _Tiling.of(grids, device)
    materials = torch.tensor(parts, dtype=torch.float32, device=device)
    kinds = [own.to(device) for own in shapes]
    filled = torch.full((len(tiling.blocks.grid),), -1, device=device)
    near = [_near_pairs(kind, tiling, filled) for kind in kinds]
    # Pairs that a fill does not hide, in painting order: key (block * parts + part) and shape.
    pairs = []
    for kind, (block, shape) in zip(kinds, near, strict=True):
        inside = kind.part[shape] > filled[block]
        key, order = torch.sort(block[inside] * len(parts) + kind.part[shape[inside]], stable=True)
        pairs.append((key, shape[inside][order]))
    canvas = torch.cat([*(h.reshape(-1) for h in hu), hu[0].new_zeros(1)])  # the last entry takes what lies outside
    whole = (filled >= 0).nonzero(as_tuple=True)[0]
    for some in whole.split(8192):
        value = materials[filled[some]].repeat_interleave(SIDE**3)
        canvas.index_put_((tiling.addresses(some).reshape(-1),), value)
    _composite(canvas, tiling, materials, kinds, pairs)
    flat = canvas[:-1].split([h.numel() for h in hu])
    return [piece.reshape(h.shape) for piece, h in zip(flat, hu, strict=True)]


@dataclass(frozen=True)
class _Cubes:
    """Cubes of ``side`` voxels that together hold all grids: [n] each, or [n, 3]."""

    side: int
    grid: Tensor
    first: Tensor  # first voxel, (k, j, i)
    centre: Tensor  # LPS mm
    radius: Tensor  # of the sphere around the cube, mm
    real: Tensor  # whether any of it lies in the grid


@dataclass(frozen=True)
class _Tiling:
    """All grids as cubes of three sizes: groups of blocks, their halves, and blocks.

    Cube number n of one size holds the numbers 8 n ... 8 n + 7 of the next.
    """

    cubes: tuple[_Cubes, ...]
    matrix: Tensor  # [grids, 3, 3] columns are the voxel steps along i, j, k
    shape: Tensor  # [grids, 3] (k, j, i)
    offset: Tensor  # [grids] where the grid begins in the canvas
    end: int  # entry of the canvas that takes what lies outside

    @classmethod
    def of(cls, grids: Sequence[Grid], device: torch.device) -> _Tiling:
        side = SIDE * _GROUP
        firsts, owners = [], []
        for g, grid in enumerate(grids):
            axes = [torch.arange(0, n, side) for n in grid.shape]
            firsts.append(torch.cartesian_prod(*axes).reshape(-1, 3))
            owners.append(torch.full((len(firsts[-1]),), g))
        sizes = torch.tensor([0, *(math.prod(g.shape) for g in grids)]).cumsum(0)
        affine = torch.stack([g.affine for g in grids]).float()
        matrix, origin = affine[:, :3, :3], affine[:, :3, 3]
        shape = torch.tensor([g.shape for g in grids])
        diagonal = matrix.square().sum((1, 2)).sqrt() / 2
        owner, first, cubes = torch.cat(owners), torch.cat(firsts), []
        while True:
            middle = first.flip(-1).float() + (side - 1) / 2
            centre = torch.einsum("nxi,ni->nx", matrix[owner], middle) + origin[owner]
            parts = (owner, first, centre, diagonal[owner] * side, (first < shape[owner]).all(-1))
            cubes.append(_Cubes(side, *(part.to(device) for part in parts)))
            if side == SIDE:
                break
            side //= 2
            first = (first[:, None] + side * torch.cartesian_prod(*[torch.arange(2)] * 3)).reshape(-1, 3)
            owner = owner.repeat_interleave(8)
        matrix, shape, offset = (part.to(device) for part in (matrix, shape, sizes[:-1]))
        return cls(tuple(cubes), matrix, shape, offset, int(sizes[-1]))

    @property
    def blocks(self) -> _Cubes:
        return self.cubes[-1]

    @property
    def spacing(self) -> Tensor:
        return self.matrix.norm(dim=1)  # [grids, 3]

    def addresses(self, block: Tensor) -> Tensor:
        """Places in the canvas of the voxels of blocks [n]: [n, 8, 8, 8]."""
        grid, first = self.blocks.grid[block], self.blocks.first[block]
        steps = torch.arange(SIDE, device=block.device)
        k, j, i = (first[:, axis, None] + steps for axis in range(3))
        shape, offset = self.shape[grid], self.offset[grid]
        row = k[:, :, None] * shape[:, 1, None, None] + j[:, None, :]
        outside_row = (k >= shape[:, 0, None])[:, :, None] | (j >= shape[:, 1, None])[:, None, :]
        place = (row * shape[:, 2, None, None])[..., None] + (i + offset[:, None])[:, None, None, :]
        outside = outside_row[..., None] | (i >= shape[:, 2, None])[:, None, None, :]
        return place.masked_fill_(outside, self.end)


def _near_pairs(kind: Solids, tiling: _Tiling, filled: Tensor) -> Pairs:
    """Blocks and shapes that may meet, [n] and [n]; raises ``filled`` [blocks] to the last part that covers a block."""
    reach = tiling.spacing.sum(-1) / 2  # half the widest shadow of a voxel: beyond it a voxel is all in or all out
    every = torch.arange(len(kind.part), device=filled.device)
    groups = tiling.cubes[0]
    limit = groups.radius + reach[groups.grid]
    parts = []
    step = max(1, TESTS_PER_CHUNK // len(kind.part))
    for start in range(0, len(groups.grid), step):
        bound = kind.bound(groups.centre[start : start + step, None], every)
        cube, shape = (bound < limit[start : start + step, None]).nonzero(as_tuple=True)
        parts.append((cube + start, shape))
    eight = torch.arange(8, device=filled.device)
    for cubes in tiling.cubes[1:]:
        pairs, parts = [torch.cat(column) for column in zip(*parts, strict=True)], []
        limit = cubes.radius + reach[cubes.grid]
        for cube, shape in zip(*(column.split(TESTS_PER_CHUNK // 8) for column in pairs), strict=True):
            cube, shape = cube[:, None] * 8 + eight, shape[:, None]
            bound = kind.bound(cubes.centre[cube], shape)
            near = cubes.real[cube] & (bound < limit[cube])
            if cubes is tiling.blocks:
                inside = near & (bound < -limit[cube])
                filled.scatter_reduce_(0, cube[inside], kind.part[shape.expand_as(cube)[inside]], "amax")
            parts.append((cube[near], shape.expand_as(cube)[near]))
    block, shape = (torch.cat(column) for column in zip(*parts, strict=True))
    # The sphere around a block is much larger than the block: from here on its own extent counts.
    grid = tiling.blocks.grid[block]
    half = tiling.matrix[grid] * ((SIDE - 1) / 2)
    meets = kind.gap(tiling.blocks.centre[block], half, shape) < reach[grid]
    return block[meets], shape[meets]


def _composite(canvas: Tensor, tiling: _Tiling, materials: Tensor, kinds: list[Solids], pairs: list[Pairs]) -> None:
    """Blend the parts of all blocks that are not filled into the canvas, in painting order."""
    parts = len(materials)
    keys = torch.cat([key for key, _ in pairs]).unique()  # one for each part in each block
    if not len(keys):
        return
    for blocks in (keys // parts).unique().split(_BLOCKS_PER_CHUNK[canvas.device.type]):
        ends = torch.stack([blocks[0], blocks[-1] + 1]) * parts
        key = keys[slice(*torch.searchsorted(keys, ends).tolist())]
        owner = torch.searchsorted(blocks, key // parts)
        grid = tiling.blocks.grid[blocks]
        # Signed distance of one part in one block: [keys, 8, 8, 8].
        nearest = tiling.matrix.new_full((len(key), SIDE**3), math.inf)
        for kind, (pair_key, pair_shape) in zip(kinds, pairs, strict=True):
            mine = slice(*torch.searchsorted(pair_key, ends).tolist())
            row = torch.searchsorted(key, pair_key[mine])
            at = owner[row]
            steps, spacing = tiling.matrix[grid[at]], tiling.spacing[grid[at]]
            value = kind.on_block(tiling.blocks.centre[blocks[at]], steps, spacing, pair_shape[mine])
            nearest.scatter_reduce_(0, row[:, None].expand(-1, SIDE**3), value.flatten(1), "amin")
        distance = nearest.view(-1, SIDE, SIDE, SIDE)
        share = _shares(distance, tiling.spacing[grid[owner]])
        address = tiling.addresses(blocks)
        picture, hu = canvas[address], materials[key % parts][:, None, None, None]
        rank = torch.arange(len(key), device=key.device) - torch.searchsorted(owner, owner)  # within its block
        for level in range(int(rank.max()) + 1):
            row = (rank == level).nonzero()[:, 0]
            picture[owner[row]] = torch.lerp(picture[owner[row]], hu[row], share[row])
        canvas.index_put_((address.reshape(-1),), picture.reshape(-1))


def _shares(distance: Tensor, spacing: Tensor) -> Tensor:
    """Share of each voxel inside, by the signed distances [n, 8, 8, 8] on blocks with voxels of ``spacing`` [n, 3]."""
    down, back, side = torch.gradient(distance, dim=(1, 2, 3))
    width = down.abs_() + back.abs_() + side.abs_()
    least, most = spacing.amin(-1), spacing.norm(dim=-1)  # first-order distances can be steep deep inside
    width = width.clamp(least[:, None, None, None], most[:, None, None, None])
    return (0.5 - distance / width).clamp_(0.0, 1.0)
