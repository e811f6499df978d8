"""Painting solid shapes onto voxel grids: signed distances, partial volume, and no voxel touched that does not matter.

All grids are cut into blocks of 8 x 8 x 8 voxels. Blocks far from a shape are skipped, blocks deep inside a part are
filled, and only the rest is evaluated. Positions within a block are integer steps of the grid, so a squared distance is
a quadratic polynomial in (i, j, k) whose coefficients cost nothing per voxel: grids of any orientation cost the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .neck import Grid

_SIDE = 8  # voxels along a block
_GROUP = 4  # blocks along a group of blocks, the coarse level of culling
_PAIRS_PER_CHUNK = {"cpu": 768, "cuda": 32768}  # CPU: what stays in the cache; GPU: about 200 MB
_TESTS_PER_CHUNK = 1 << 20


@dataclass(frozen=True)
class Cones:
    """Round cones: a sphere that moves from ``a`` to ``b`` while its radius goes linearly from ``ra`` to ``rb``.

    ``a``, ``b`` are [n, 3] LPS mm, ``ra``, ``rb`` [n] mm, all float32 on the CPU; ``part`` is [n] long, the index of
    what they are made of.
    """

    a: Tensor
    b: Tensor
    ra: Tensor
    rb: Tensor
    part: Tensor

    @classmethod
    def empty(cls) -> Cones:
        return cls(
            torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0), torch.zeros(0), torch.zeros(0, dtype=torch.long)
        )

    @classmethod
    def chain(cls, points: Tensor, radii: Tensor, part: int) -> Cones:
        """A tube through ``points`` [n, 3] with ``radii`` [n]: n - 1 cones."""
        points, radii = points.float(), radii.float()
        return cls(points[:-1], points[1:], radii[:-1], radii[1:], torch.full((len(points) - 1,), part))

    def __len__(self) -> int:
        return len(self.part)

    def concat(self, *others: Cones) -> Cones:
        """These and the others, in this order."""
        every = (self, *others)
        return Cones(*(torch.cat([getattr(c, name) for c in every]) for name in ("a", "b", "ra", "rb", "part")))

    def to(self, device: torch.device | str) -> Cones:
        return Cones(*(getattr(self, name).to(device) for name in ("a", "b", "ra", "rb", "part")))


@dataclass(frozen=True)
class Ellipsoids:
    """Ellipsoids: ``centre`` [n, 3] LPS mm, ``axes`` [n, 3, 3] whose rows are the semi-axis vectors in mm; float32, CPU.

    Rows that are not orthogonal give the image of the unit ball under those three vectors. ``part`` is [n] long.
    """

    centre: Tensor
    axes: Tensor
    part: Tensor

    @classmethod
    def empty(cls) -> Ellipsoids:
        return cls(torch.zeros(0, 3), torch.zeros(0, 3, 3), torch.zeros(0, dtype=torch.long))

    def __len__(self) -> int:
        return len(self.part)

    def concat(self, *others: Ellipsoids) -> Ellipsoids:
        """These and the others, in this order."""
        every = (self, *others)
        return Ellipsoids(*(torch.cat([getattr(e, name) for e in every]) for name in ("centre", "axes", "part")))

    def to(self, device: torch.device | str) -> Ellipsoids:
        return Ellipsoids(*(getattr(self, name).to(device) for name in ("centre", "axes", "part")))


@dataclass(frozen=True)
class Part:
    """What the shapes that share a part index are made of.

    ``hu`` fills the part, or, where ``core_hu`` is given, its outer ``shell_mm``, over a core of ``core_hu`` (bone).
    ``blend_mm`` rounds the joints between the part's own shapes; two coinciding surfaces then swell by a quarter of it.
    """

    name: str
    hu: float
    core_hu: float | None = None
    shell_mm: float = 0.0
    blend_mm: float = 0.0


def paint(
    hu: Sequence[Tensor], grids: Sequence[Grid], cones: Cones, ellipsoids: Ellipsoids, parts: Sequence[Part]
) -> list[Tensor]:
    """Paint the shapes over ``hu`` (float32 [k, j, i] on one device, one per grid); returns new tensors.

    Parts are painted in list order, later over earlier. A voxel's share of a part is linear in the signed distance over
    the voxel's width along the surface normal; shapes thinner than a voxel are dimmed so that their volume is kept.
    Raises ValueError where a shape's part is not in the list or a grid does not fit its tensor.
    """
    if any(tuple(h.shape) != tuple(g.shape) for h, g in zip(hu, grids, strict=True)):
        raise ValueError("Every HU array must have the shape of its grid.")
    for shapes in (cones, ellipsoids):
        if len(shapes) and not 0 <= int(shapes.part.min()) <= int(shapes.part.max()) < len(parts):
            raise ValueError(f"A shape names a part that is not among the {len(parts)} parts.")
    if not hu or not (len(cones) or len(ellipsoids)):
        return [h.clone() for h in hu]
    device = hu[0].device
    lattice = _Lattice.of(grids, device)
    materials = _Materials.of(parts, device)
    kinds = [_ConeKernel.of(cones.to(device)), _EllipsoidKernel.of(ellipsoids, device)]
    kinds = [kind for kind in kinds if len(kind.part)]

    filled = torch.full((lattice.blocks,), -1, device=device)
    pairs = [_near_pairs(kind, lattice, materials, filled) for kind in kinds]
    canvas = torch.cat([*(h.reshape(-1) for h in hu), hu[0].new_zeros(1)])  # the last entry takes what lies outside
    _fill(canvas, lattice, materials, filled)
    pairs = [
        _sorted(block, shape, kind.part, filled, len(parts)) for kind, (block, shape) in zip(kinds, pairs, strict=True)
    ]
    _composite(canvas, lattice, materials, kinds, pairs)
    flat = canvas[:-1].split([h.numel() for h in hu])
    return [piece.reshape(h.shape) for piece, h in zip(flat, hu, strict=True)]


def signed_distance(points: Tensor, cones: Cones, ellipsoids: Ellipsoids) -> Tensor:
    """Distance in mm from ``points`` [..., 3] (LPS) to the nearest shape's surface, negative inside: [...].

    Exact for cones outside and inside each cone, of first order for ellipsoids; parts and blending play no role.
    """
    flat = points.reshape(-1, 3).float()
    best = torch.full((len(flat),), math.inf, device=flat.device)
    for kind in (_ConeKernel.of(cones.to(flat.device)), _EllipsoidKernel.of(ellipsoids, flat.device)):
        if not len(kind.part):
            continue
        step = max(1, _TESTS_PER_CHUNK // len(kind.part))
        shapes = torch.arange(len(kind.part), device=flat.device)
        for start in range(0, len(flat), step):
            chunk = flat[start : start + step]
            nearest = kind.distance(chunk[:, None], shapes).amin(1)
            best[start : start + step] = torch.minimum(best[start : start + step], nearest)
    return best.reshape(points.shape[:-1])


@dataclass(frozen=True)
class _Materials:
    hu: Tensor
    core_hu: Tensor  # equals hu where there is no core
    has_core: Tensor
    shell: Tensor
    blend: Tensor

    @classmethod
    def of(cls, parts: Sequence[Part], device: torch.device) -> _Materials:
        rows = [
            (p.hu, p.hu if p.core_hu is None else p.core_hu, p.core_hu is not None, p.shell_mm, p.blend_mm)
            for p in parts
        ]
        hu, core, has, shell, blend = torch.tensor(rows, dtype=torch.float32).T.to(device).unbind()
        return cls(hu, core, has > 0, shell * has, blend)


@dataclass(frozen=True)
class _Lattice:
    """All grids as one list of groups of blocks. Block number = 64 times its group's number plus its place in it."""

    grid: Tensor  # [groups]
    first: Tensor  # [groups, 3] first voxel of the group, (k, j, i)
    matrix: Tensor  # [grids, 3, 3] columns are the voxel steps along i, j, k
    origin: Tensor  # [grids, 3]
    shape: Tensor  # [grids, 3] (k, j, i)
    offset: Tensor  # [grids] where the grid begins in the canvas
    end: int  # entry of the canvas that takes what lies outside

    @classmethod
    def of(cls, grids: Sequence[Grid], device: torch.device) -> _Lattice:
        wide = _SIDE * _GROUP
        firsts, owners = [], []
        for g, grid in enumerate(grids):
            axes = [torch.arange(0, n, wide) for n in grid.shape]
            firsts.append(torch.cartesian_prod(*axes).reshape(-1, 3))
            owners.append(torch.full((len(firsts[-1]),), g))
        sizes = torch.tensor([0, *(math.prod(g.shape) for g in grids)]).cumsum(0)
        affine = torch.stack([g.affine for g in grids]).float()
        return cls(
            torch.cat(owners).to(device),
            torch.cat(firsts).to(device),
            affine[:, :3, :3].to(device),
            affine[:, :3, 3].to(device),
            torch.tensor([g.shape for g in grids]).to(device),
            sizes[:-1].to(device),
            int(sizes[-1]),
        )

    @property
    def blocks(self) -> int:
        return len(self.grid) * _GROUP**3

    @property
    def spacing(self) -> Tensor:
        return self.matrix.norm(dim=1)  # [grids, 3]

    def corner(self, block: Tensor) -> tuple[Tensor, Tensor]:
        """Grid and first voxel (k, j, i) of blocks [...]: [...] and [..., 3]."""
        group, place = block // _GROUP**3, block % _GROUP**3
        step = torch.stack([place // _GROUP**2, place // _GROUP % _GROUP, place % _GROUP], -1)
        return self.grid[group], self.first[group] + _SIDE * step

    def centre(self, grid: Tensor, first: Tensor, side: int) -> Tensor:
        """LPS centre of cubes of ``side`` voxels."""
        middle = first.flip(-1).float() + (side - 1) / 2
        return torch.einsum("...xi,...i->...x", self.matrix[grid], middle) + self.origin[grid]

    def addresses(self, block: Tensor) -> Tensor:
        """Places in the canvas of the voxels of blocks [n]: [n, 8, 8, 8]."""
        grid, first = self.corner(block)
        steps = torch.arange(_SIDE, device=block.device)
        k, j, i = (first[:, axis, None] + steps for axis in range(3))
        shape, offset = self.shape[grid], self.offset[grid]
        row = k[:, :, None] * shape[:, 1, None, None] + j[:, None, :]
        outside_row = (k >= shape[:, 0, None])[:, :, None] | (j >= shape[:, 1, None])[:, None, :]
        place = (row * shape[:, 2, None, None])[..., None] + (i + offset[:, None])[:, None, None, :]
        outside = outside_row[..., None] | (i >= shape[:, 2, None])[:, None, None, :]
        return place.masked_fill_(outside, self.end)


def _near_pairs(kind, lattice: _Lattice, materials: _Materials, filled: Tensor) -> tuple[Tensor, Tensor]:
    """Blocks and shapes that may meet, [n] and [n]; raises ``filled`` [blocks] to the last part that covers a block."""
    device = filled.device
    spacing = lattice.spacing
    reach = spacing.sum(-1) / 2  # half the widest shadow of a voxel: beyond it a voxel is all in or all out
    half_diagonal = spacing.square().sum(-1).sqrt() / 2
    blend = materials.blend[kind.part]
    shell = materials.shell[kind.part]
    count = len(kind.part)
    every = torch.arange(count, device=device)
    coarse_group, coarse_shape = [], []
    step = max(1, _TESTS_PER_CHUNK // count)
    centre = lattice.centre(lattice.grid, lattice.first, _SIDE * _GROUP)
    limit = (half_diagonal * _SIDE * _GROUP + reach)[lattice.grid]
    for start in range(0, len(lattice.grid), step):
        bound = kind.bound(centre[start : start + step, None], every)
        group, shape = (bound < limit[start : start + step, None] + blend).nonzero(as_tuple=True)
        coarse_group.append(group + start)
        coarse_shape.append(shape)
    group, shape = torch.cat(coarse_group), torch.cat(coarse_shape)
    places = torch.arange(_GROUP**3, device=device)
    blocks, shapes = [], []
    step = _TESTS_PER_CHUNK // _GROUP**3
    for start in range(0, len(group), step):
        block = group[start : start + step, None] * _GROUP**3 + places
        grid, first = lattice.corner(block)
        each = shape[start : start + step, None]
        bound = kind.bound(lattice.centre(grid, first, _SIDE), each)
        real = (first < lattice.shape[grid]).all(-1)
        radius = half_diagonal[grid] * _SIDE + reach[grid]
        near = real & (bound < radius + blend[each])
        inside = near & (bound < -radius - shell[each])
        filled.scatter_reduce_(0, block[inside], kind.part[each.expand_as(block)[inside]], "amax")
        blocks.append(block[near])
        shapes.append(each.expand_as(block)[near])
    if not blocks:
        return group, shape
    return torch.cat(blocks), torch.cat(shapes)


def _fill(canvas: Tensor, lattice: _Lattice, materials: _Materials, filled: Tensor) -> None:
    """Write the value of the last part that covers each block as a whole."""
    block = (filled >= 0).nonzero(as_tuple=True)[0]
    value = materials.core_hu[filled[block]]
    for some, one in zip(block.split(8192), value.split(8192), strict=True):
        canvas.index_put_((lattice.addresses(some).reshape(-1),), one.repeat_interleave(_SIDE**3))


def _sorted(block: Tensor, shape: Tensor, part: Tensor, filled: Tensor, parts: int) -> tuple[Tensor, Tensor]:
    """Pairs that a fill does not hide, in painting order: key (block * parts + part) and shape."""
    kept = part[shape] > filled[block]
    block, shape = block[kept], shape[kept]
    key, order = torch.sort(block * parts + part[shape], stable=True)
    return key, shape[order]


def _composite(canvas: Tensor, lattice: _Lattice, materials: _Materials, kinds: list, pairs: list) -> None:
    parts = len(materials.hu)
    keys = torch.cat([key for key, _ in pairs]).sort().values
    if not len(keys):
        return
    slot_key, slot_pairs = torch.unique_consecutive(keys, return_counts=True)
    slot_block = slot_key // parts
    block, block_slots = torch.unique_consecutive(slot_block, return_counts=True)
    last_slot = block_slots.cumsum(0)
    rank = torch.arange(len(slot_key), device=canvas.device) - (last_slot - block_slots).repeat_interleave(block_slots)

    # Whole blocks go into a chunk until it holds enough pairs.
    budget = _PAIRS_PER_CHUNK[canvas.device.type]
    chunk = (slot_pairs.cumsum(0)[last_slot - 1] - 1) // budget
    last_block = torch.cat([(chunk[1:] != chunk[:-1]).nonzero()[:, 0] + 1, chunk.new_tensor([len(chunk)])])
    slot_edge = last_slot[last_block - 1]
    edge_key = slot_key[slot_edge - 1]
    pair_edges = [torch.searchsorted(key, edge_key, right=True) for key, _ in pairs]
    depth = torch.zeros_like(last_block).scatter_reduce_(
        0,
        torch.searchsorted(last_block, torch.arange(len(block), device=canvas.device), right=True),
        block_slots,
        "amax",
    )
    table = torch.stack([last_block, slot_edge, depth, *pair_edges]).T.tolist()

    begin = [0] * (2 + len(kinds))
    for block_end, slot_end, ranks, *pair_ends in table:
        ends = [block_end, slot_end, *pair_ends]
        key = slot_key[begin[1] : slot_end]
        part = key % parts
        mine = []
        for kind, (pair_key, pair_shape), lo, hi in zip(kinds, pairs, begin[2:], pair_ends, strict=True):
            if hi > lo:
                mine.append((kind, torch.searchsorted(key, pair_key[lo:hi]), pair_shape[lo:hi]))
        blocks = block[begin[0] : block_end]
        slot_of_block = torch.searchsorted(blocks, slot_block[begin[1] : slot_end])
        grid, first = lattice.corner(blocks)
        distance = _part_distance(mine, part, slot_of_block, lattice, grid, first, materials)
        _blend_in(
            canvas, lattice, materials, distance, part, slot_of_block, rank[begin[1] : slot_end], blocks, grid, ranks
        )
        begin = ends


def _part_distance(mine: list, part, slot_of_block, lattice: _Lattice, grid, first, materials: _Materials) -> Tensor:
    """Signed distance of one part in one block: [slots, 8, 8, 8]."""
    slots = len(part)
    rounding = materials.blend[part] * (0.25 / math.log(2.0))  # so that two equal distances swell by blend_mm / 4
    smooth = rounding > 0
    nearest = lattice.matrix.new_full((slots, _SIDE**3), math.inf)
    total = None
    centre = lattice.centre(grid, first, _SIDE)
    for kind, slot, shape in mine:
        owner = slot_of_block[slot]
        value = kind.on_block(centre[owner], lattice.matrix[grid[owner]], lattice.spacing[grid[owner]], shape).flatten(
            1
        )
        blended = smooth[slot]
        plain = (~blended).nonzero(as_tuple=True)[0]
        if len(plain) == len(slot):
            nearest.scatter_reduce_(0, slot[:, None].expand_as(value), value, "amin")
            continue
        nearest.scatter_reduce_(0, slot[plain, None].expand(-1, _SIDE**3), value[plain], "amin")
        blended = blended.nonzero(as_tuple=True)[0]
        total = torch.zeros_like(nearest) if total is None else total
        power = (value[blended] / -rounding[slot[blended], None]).clamp_(-80.0, 80.0).exp_()
        total.index_add_(0, slot[blended], power)
    if total is not None:
        rounded = total.log_().mul_(-rounding[:, None])
        nearest = torch.where(smooth[:, None], rounded, nearest)
    return nearest.view(slots, _SIDE, _SIDE, _SIDE)


def _blend_in(canvas, lattice, materials, distance, part, slot_of_block, rank, blocks, grid, ranks: int) -> None:
    """Composite the parts of some blocks, each block's parts in list order, into the canvas."""
    spacing = lattice.spacing[grid[slot_of_block]]
    width = sum(slope.abs_() for slope in torch.gradient(distance, dim=(1, 2, 3)))
    width = torch.maximum(width, spacing.amin(-1)[:, None, None, None])
    share = (0.5 - distance / width).clamp_(0.0, 1.0)
    outer, core = materials.hu[part], materials.core_hu[part]
    value = outer[:, None, None, None].expand_as(share).clone()
    hollow = materials.has_core[part].nonzero(as_tuple=True)[0]
    inner = (0.5 - (distance[hollow] + materials.shell[part[hollow], None, None, None]) / width[hollow]).clamp_(
        0.0, 1.0
    )
    value.index_add_(0, hollow, inner.mul_((core - outer)[hollow, None, None, None]))
    address = lattice.addresses(blocks)
    picture = canvas[address]
    for level in range(ranks):
        slot = (rank == level).nonzero(as_tuple=True)[0] if ranks > 1 else slice(None)
        owner = slot_of_block[slot]
        picture[owner] = torch.lerp(picture[owner], value[slot], share[slot])
    canvas.index_put_((address.reshape(-1),), picture.reshape(-1))


def _steps(like: Tensor) -> Tensor:
    return torch.arange(_SIDE, dtype=torch.float32, device=like.device) - (_SIDE - 1) / 2


def _linear(constant: Tensor, slope: Tensor) -> Tensor:
    """constant [n] + slope [n, 3] . (i, j, k) on a block: [n, 8, 8, 8]."""
    x = _steps(slope)
    i, j, k = (slope[:, axis, None] * x for axis in range(3))
    return (constant[:, None, None] + k[:, :, None] + j[:, None, :])[..., None] + i[:, None, None, :]


def _quadratic(constant: Tensor, linear: Tensor, square: Tensor) -> Tensor:
    """constant + linear . x + x . square x (symmetric [n, 3, 3]) for x = (i, j, k) on a block: [n, 8, 8, 8]."""
    x = _steps(linear)
    k = linear[:, 2, None] * x + square[:, 2, 2, None] * x * x + constant[:, None]
    j = linear[:, 1, None] * x + square[:, 1, 1, None] * x * x
    plane = k[:, :, None] + j[:, None, :] + 2 * square[:, 1, 2, None, None] * (x[:, None] * x)
    slope = (
        linear[:, 0, None, None]
        + 2 * (square[:, 0, 2, None] * x)[:, :, None]
        + 2 * (square[:, 0, 1, None] * x)[:, None]
    )
    i = square[:, 0, 0, None] * x * x
    return torch.addcmul(plane[..., None] + i[:, None, None, :], slope[..., None], x)


def _dimming(radius: Tensor, width: Tensor, thin_axes: int) -> Tensor:
    """How much a shape thinner than a voxel is dimmed, so that its volume is kept.

    Without dimming, the occupancy clamp(1/2 - d / w) of a shape of radius r < w / 2 is a cone of base r + w / 2 and
    height 1/2 + r / w: its integral in ``thin_axes`` dimensions is compared with the shape's own volume. Full from r = w on.
    """
    reach = radius + width / 2
    kept = (thin_axes + 1) * (radius / reach) ** thin_axes * width / reach
    at_half = (thin_axes + 1) * 0.5**thin_axes
    ramp = torch.lerp(torch.full_like(kept, at_half), torch.ones_like(kept), (2 * radius / width - 1).clamp(0, 1))
    return torch.where(radius < width / 2, kept, ramp).clamp(max=1.0)


@dataclass(frozen=True)
class _ConeKernel:
    a: Tensor
    axis: Tensor  # unit vector from a to b
    length: Tensor
    ra: Tensor
    taper: Tensor  # loss of radius per mm of axis
    lean: Tensor  # the nearest sphere's centre lies this many times the distance from the axis further back
    part: Tensor

    @classmethod
    def of(cls, cones: Cones) -> _ConeKernel:
        span = cones.b - cones.a
        length = span.norm(dim=-1)
        taper = (cones.ra - cones.rb) / length.clamp(min=1e-6)
        sine = taper.clamp(-0.999, 0.999)
        axis = span / length.clamp(min=1e-6)[:, None]
        return cls(cones.a, axis, length, cones.ra, taper, sine / (1 - sine * sine).sqrt(), cones.part)

    def distance(self, points: Tensor, shape: Tensor) -> Tensor:
        """Exact signed distance; points [..., 3] broadcast against shape [...]."""
        from_a = points - self.a[shape]
        along = (from_a * self.axis[shape]).sum(-1)
        aside = (from_a.square().sum(-1) - along * along).clamp_(min=0).sqrt_()
        foot = torch.minimum((along - self.lean[shape] * aside).clamp_(min=0), self.length[shape])
        return torch.hypot(aside, along - foot) - self.ra[shape] + self.taper[shape] * foot

    bound = distance

    def on_block(self, centre: Tensor, matrix: Tensor, spacing: Tensor, shape: Tensor) -> Tensor:
        """Distances on the voxels of the block at ``centre`` [n, 3]: [n, 8, 8, 8]; thin shapes dimmed."""
        axis, ra, taper = self.axis[shape], self.ra[shape], self.taper[shape]
        from_a = centre - self.a[shape]
        steps = torch.einsum("nxi,nx->ni", matrix, axis)
        along_centre = (from_a * axis).sum(-1)
        along = _linear(along_centre, steps)
        # Everything across the axis, so that far ends of long cones do not cost digits.
        across = from_a - along_centre[:, None] * axis
        sideways = matrix - axis[:, :, None] * steps[:, None, :]
        aside2 = _quadratic(
            across.square().sum(-1),
            2 * torch.einsum("nxi,nx->ni", sideways, across),
            torch.einsum("nxi,nxj->nij", sideways, sideways),
        ).clamp_(min=0)

        def wide(values: Tensor) -> Tensor:
            return values[:, None, None, None]

        foot = torch.addcmul(along, aside2.sqrt(), wide(-self.lean[shape])).clamp_(min=0)
        foot = torch.minimum(foot, wide(self.length[shape]))
        distance = along.sub_(foot).square_().add_(aside2).sqrt_().sub_(wide(ra)).addcmul_(foot, wide(taper))
        width = (spacing * (1 - (steps / spacing).square()).clamp(min=0).sqrt()).sum(-1) / 2
        radius = ra - taper * along_centre.clamp(min=0).minimum(self.length[shape])
        kept = _dimming(radius.clamp(min=1e-3), width, 2)
        return distance.mul_(wide(kept)).add_(wide((1 - kept) * width / 2))


@dataclass(frozen=True)
class _EllipsoidKernel:
    centre: Tensor
    inverse: Tensor  # maps an offset (row vector) to the unit ball
    least: Tensor  # the smallest semi-axis
    semi: Tensor  # [n, 3] semi-axes, smallest first
    part: Tensor

    @classmethod
    def of(cls, ellipsoids: Ellipsoids, device: torch.device | str) -> _EllipsoidKernel:
        semi = torch.linalg.svdvals(ellipsoids.axes).flip(-1) if len(ellipsoids) else torch.zeros(0, 3)
        inverse = torch.linalg.inv(ellipsoids.axes)
        here = ellipsoids.to(device)
        return cls(here.centre, inverse.to(device), semi[:, 0].to(device), semi.to(device), here.part)

    def _ball(self, points: Tensor, shape: Tensor) -> Tensor:
        return torch.einsum("...x,...xq->...q", points - self.centre[shape], self.inverse[shape])

    def bound(self, points: Tensor, shape: Tensor) -> Tensor:
        """No more than the distance outside, no less than minus the depth inside."""
        offset = points - self.centre[shape]
        radius = torch.einsum("...x,...xq->...q", offset, self.inverse[shape]).norm(dim=-1)
        return torch.maximum((radius - 1) * self.least[shape], offset.norm(dim=-1) - self.semi[shape, 2])

    def distance(self, points: Tensor, shape: Tensor) -> Tensor:
        """First-order signed distance; points [..., 3] broadcast against shape [...]."""
        ball = self._ball(points, shape)
        radius = ball.norm(dim=-1)
        slope = torch.einsum("...q,...xq->...x", ball, self.inverse[shape]).norm(dim=-1)
        return (radius - 1) * radius.clamp(min=1e-6) / slope.clamp(min=1e-6 / self.least[shape])

    def on_block(self, centre: Tensor, matrix: Tensor, spacing: Tensor, shape: Tensor) -> Tensor:
        """Distances on the voxels of the block at ``centre`` [n, 3]: [n, 8, 8, 8]; thin shapes dimmed."""
        inverse = self.inverse[shape]
        ball = torch.einsum("nx,nxq->nq", centre - self.centre[shape], inverse)
        steps = torch.einsum("nxi,nxq->nqi", matrix, inverse)
        normal = torch.einsum("nq,nxq->nx", ball, inverse)
        normal_steps = torch.einsum("nqi,nxq->nxi", steps, inverse)

        def norm(constant: Tensor, slope: Tensor) -> Tensor:
            return (
                _quadratic(
                    constant.square().sum(-1),
                    2 * torch.einsum("nqi,nq->ni", slope, constant),
                    torch.einsum("nqi,nqj->nij", slope, slope),
                )
                .clamp_(min=1e-12)
                .sqrt_()
            )

        radius = norm(ball, steps)
        distance = (radius - 1).mul_(radius).div_(norm(normal, normal_steps))
        semi, width = self.semi[shape], spacing.mean(-1)
        kept = torch.stack([_dimming(semi[:, :axes].log().mean(-1).exp(), width, axes) for axes in (1, 2, 3)]).amin(0)
        return distance.mul_(kept[:, None, None, None]).add_(((1 - kept) * width / 2)[:, None, None, None])
