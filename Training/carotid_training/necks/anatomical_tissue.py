"""What fills the anatomical style's body: outline, skin, fat and deep tissue in closed form; all tissue's texture.

Outline and table are smooth, so they are computed on a lattice of about 4 mm and interpolated. Texture is a sum of
plane waves in patient space: on an affine grid the phase is linear in (i, j, k), so the sum of n waves is one matrix
product, and its mean over a voxel is known in closed form. The same neck looks the same on every grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .anatomical_body import Dice, Person, Warp
from .neck import Grid

_LATTICE_MM = 4.0
_TABLE_STEP = 2.0  # mm between the entries of the outline's tables
# The slim body under its fat. z, half width, front, back, exponent, how much wider behind than in front.
_OUTLINE = (
    (-260, 158, -112, 98, 2.8, 0.0), (-230, 160, -108, 98, 2.8, 0.0), (-190, 166, -96, 98, 2.8, 0.0),
    (-150, 178, -84, 97, 2.7, 0.05), (-120, 184, -72, 95, 2.5, 0.08), (-100, 180, -64, 92, 2.3, 0.1),
    (-88, 158, -58, 90, 2.1, 0.15), (-78, 122, -54, 88, 2.0, 0.2), (-66, 88, -51, 86, 2.0, 0.2),
    (-52, 70, -50, 83, 2.0, 0.15), (-36, 61, -52, 79, 2.1, 0.1), (-18, 57, -55, 75, 2.1, 0.05),
    (-12, 57, -59, 74, 2.1, 0.03), (-5, 58, -78, 74, 2.1, 0.02), (3, 60, -88, 75, 2.1, 0.05),
    (20, 62, -91, 76, 2.1, 0.12), (36, 65, -98, 79, 2.1, 0.15), (55, 68, -97, 84, 2.1, 0.15),
    (75, 70, -94, 91, 2.1, 0.12), (100, 74, -92, 97, 2.2, 0.08), (130, 75, -92, 97, 2.1, 0.05),
    (155, 66, -78, 84, 2.1, 0.0), (172, 48, -56, 62, 2.0, 0.0), (184, 24, -30, 34, 2.0, 0.0),
    (191, 3, -8, 8, 2.0, 0.0),
)  # fmt: skip
# Subcutaneous fat: z, times the nape's thickness.
_FAT = (
    (-260, 1.6),
    (-150, 1.5),
    (-100, 1.3),
    (-60, 1.0),
    (-10, 0.9),
    (10, 0.75),
    (40, 0.5),
    (80, 0.3),
    (120, 0.2),
    (190, 0.15),
)


class Waves:
    """A random field of unit variance: plane waves with wavelengths in a band, isotropic but for ``lengthwise``, which
    stretches the grain along z where it is below one."""

    def __init__(self, dice: Dice, count: int, shortest_mm: float, longest_mm: float, lengthwise: float = 1.0) -> None:
        rows = []
        for _ in range(count):
            way = torch.tensor([dice.normal() for _ in range(3)], dtype=torch.float64)
            way[2] *= lengthwise
            length = shortest_mm * (longest_mm / shortest_mm) ** dice.uniform()
            rows.append(
                torch.cat(
                    [way / (way.norm() + 1e-9) * 2 * math.pi / length, torch.tensor([dice.uniform(0, 2 * math.pi)])]
                )
            )
        table = torch.stack(rows)
        self._vectors, self._phases = table[:, :3], table[:, 3]

    def on(self, grid: Grid, device: torch.device | str) -> Tensor:
        """The field's mean over every voxel of the grid: float32 [k, j, i]."""
        steps = self._vectors @ grid.affine[:3, :3]  # radians per voxel along i, j, k
        start = self._vectors @ grid.affine[:3, 3] + self._phases
        gain = torch.sinc(steps / (2 * math.pi)).prod(-1) * math.sqrt(2 / len(start))

        def phases(axis: int, count: int) -> Tensor:
            return torch.arange(count, dtype=torch.float64)[:, None] * steps[:, axis]

        columns, rows, slices = phases(0, grid.shape[2]), phases(1, grid.shape[1]), phases(2, grid.shape[0]) + start
        plane = (slices[:, None] + rows).remainder(2 * math.pi).float().to(device)
        line = columns.remainder(2 * math.pi).float().to(device)
        gain = gain.float().to(device)
        left = torch.cat([plane.cos() * gain, -plane.sin() * gain], -1).reshape(-1, 2 * len(gain))
        right = torch.cat([line.cos(), line.sin()], -1)
        return (left @ right.T).reshape(grid.shape)


@dataclass(frozen=True)
class Table:
    """The tabletop and headrest: height of the lowest point, curvature, thickness, stuff; ``kind`` may be "none"."""

    kind: str
    top_mm: float
    curvature: float
    thick_mm: float
    shell_hu: float
    core_hu: float
    headrest: bool


class Outline:
    """Skin, subcutaneous fat and the surface of the deep tissue, from tables over z in the patient."""

    def __init__(self, dice: Dice, person: Person, warp: Warp, arms: np.ndarray, widest: np.ndarray) -> None:
        """``arms`` [n, 8]: ends and radii of the arms; ``widest`` [n, 4]: centres and radii of vessels.

        The vessels must stay inside the deep tissue. All in the patient.
        """
        table = np.array(_OUTLINE)
        z = np.arange(-260.0, 192.0, _TABLE_STEP)
        half, front, back, power, taper = (np.interp(z, table[:, 0], column) for column in table[:, 1:].T)
        smooth = np.hanning(7) / np.hanning(7).sum()

        def soften(values: np.ndarray) -> np.ndarray:
            return np.convolve(np.pad(values, 3, mode="edge"), smooth, mode="valid")

        bulk = 0.6 + 0.4 * person.muscle
        half = half * np.where(np.abs(z + 25) < 45, bulk * dice.normal(1, 0.04), dice.normal(1, 0.02)) * person.width
        shoulder = np.interp(z, [-130, -85, -50], [1.0, dice.normal(1, 0.1), 1.0])
        shift_front = warp.shift(np.full_like(z, -60.0), z)
        shift_back = warp.shift(np.full_like(z, 60.0), z)
        fat = person.fat_mm * np.interp(z, *np.array(_FAT).T)
        chin = (
            np.interp(z, [-40, -12, 5, 20], [0.0, 1.0, 0.6, 0.0]) * max(0.0, person.fat_mm - 6) * dice.uniform(0.3, 1.3)
        )
        front = front * person.depth + shift_front[:, 1] - chin
        back = back * person.depth + shift_back[:, 1]
        high = warp.height(z) + person.shoulders * np.interp(z, [-190, -130, -82, -40], [0.0, 1.0, 1.0, 0.0])
        taper = taper + np.where(z > -15, dice.uniform(-0.05, 0.12), 0.0)
        self._low = float(high[0])
        even = np.arange(high[0], high[-1], _TABLE_STEP)
        rows = [
            np.interp(even, high, row) for row in (half * shoulder, shift_back[:, 0], front, back, power, taper, fat)
        ]
        half, middle, front, back, power, taper, fat = (soften(row) for row in rows)
        half, front = _make_room(widest, even, half, middle, front, back, fat)
        half, front = soften(half), soften(front)
        self._columns = np.stack([half, middle, (front + back) / 2, (back - front) / 2, power, taper, fat])
        self._arms = arms
        nose = dice.uniform(-8, 6)
        tip, root = warp(np.array([(0.0, -96.0 + nose, 60.0), (0.0, -91.0, 92.0)]))
        self._nose = np.array([[*tip, *root, 11.0, 7.0]])
        self._bumps = Waves(dice, 12, 45, 160)
        self._asymmetry = Waves(dice, 10, 40, 130)
        self.bump_mm = dice.uniform(0.4, 1.3)
        self.skin_mm = dice.uniform(1.3, 2.6)
        self.skin_hu = dice.uniform(10, 70)
        self.fat_hu = person.fat_hu
        # Deep tissue between the drawn organs: muscle, crossed by sheets of fat, more of it in front.
        self._sheets = Waves(dice, 20, 14, 45, lengthwise=0.4)
        self.sheet = dice.uniform(0.05, 0.25)
        self.layer_mm = dice.uniform(9, 18)
        self.marbling = dice.uniform(0.15, 0.9)
        self.muscle_hu = person.muscle_hu
        self._fatty = Waves(dice, 16, 30, 90)
        self.fatty = dice.uniform(-1.0, 0.6)
        nape = int(np.argmin(np.abs(even + 10)))
        occiput = int(np.argmin(np.abs(even - 100)))
        reach = [
            self._columns[2, index] + self._columns[3, index] + self._columns[6, index] for index in (occiput, nape, 20)
        ]
        self.table = Table(
            kind="curved" if dice.chance(0.75) else "none",
            top_mm=max(reach) + dice.uniform(2, 18),
            curvature=dice.uniform(0.0, 0.0022),
            thick_mm=dice.uniform(18, 60),
            shell_hu=dice.uniform(-750, 150),
            core_hu=dice.uniform(-985, -860),
            headrest=dice.chance(0.6),
        )

    def _lattice(self, grid: Grid) -> tuple[Grid, list[int]]:
        strides = [max(1, int(_LATTICE_MM / float(mm) + 0.5)) for mm in grid.spacing_mm]
        affine = grid.affine.clone()
        affine[:3, :3] *= torch.tensor(strides, dtype=torch.float64)
        counts = [(n - 1 + s - 1) // s + 1 for n, s in zip(grid.shape, strides[::-1], strict=True)]
        return Grid(affine, (counts[0], counts[1], counts[2])), strides

    def _fields(self, lattice: Grid, device: torch.device | str) -> Tensor:
        """Depth below the deep surface, fat thickness, depth in the table, share of muscle, fascia: [5, k, j, i]."""
        x, y, z = lattice.points(device).unbind(-1)
        columns = torch.as_tensor(self._columns, dtype=torch.float32, device=device)
        place = ((z - self._low) / _TABLE_STEP).clamp(0, columns.shape[1] - 1.001)
        index = place.long()
        part = place - index
        slope = torch.diff(columns, dim=1, append=columns[:, -1:])
        half, cx, cy, deep, power, taper, fat = (
            column[index] + part * step[index] for column, step in zip(columns, slope, strict=True)
        )
        rise = slope[:, :] / _TABLE_STEP
        bumps = self._bumps.on(lattice, device) * self.bump_mm
        v = (y - cy) / deep
        width = half * (1 + taper * v.clamp(-1, 1))
        u = (x - cx) / width
        pu, pv = u.abs().clamp(min=1e-4), v.abs().clamp(min=1e-4)
        g = (pu**power + pv**power) ** (1 / power)
        gu, gv = (pu / g) ** (power - 1), (pv / g) ** (power - 1)
        gz = gu * pu / half * rise[0][index] + gv * (pv / deep * rise[3][index] + v.sign() * rise[2][index] / deep)
        steep = ((gu / width) ** 2 + (gv / deep) ** 2 + gz**2).sqrt()
        above = (z - self._low) / _TABLE_STEP - (columns.shape[1] - 1)
        depth = (1 - g) / steep + bumps
        depth = torch.where(above > 0, -above * _TABLE_STEP, depth)
        limbs = torch.tensor(np.concatenate([self._arms, self._nose]), dtype=torch.float32, device=device)
        where = torch.stack([x, y, z], -1)
        for start, end, wide, narrow in zip(limbs[:, :3], limbs[:, 3:6], limbs[:, 6], limbs[:, 7], strict=True):
            line = end - start
            along = ((where - start) @ line / line.dot(line)).clamp(0, 1)
            reach = wide + (narrow - wide) * along - (where - start - along[..., None] * line).norm(dim=-1)
            apart = (7.0 - (depth - reach).abs()).clamp(min=0)
            depth = torch.maximum(depth, reach) + apart.square() / 28
        fat = fat * (1 + 0.12 * self._asymmetry.on(lattice, device)).clamp(0.2) * (1 + 0.35 * v.clamp(-1, 1))
        table = self.table
        bed = y - table.top_mm + table.curvature * (x.abs().clamp(max=260) ** 2)
        below = torch.minimum(bed, table.thick_mm - bed)
        below = torch.minimum(below, 230 - x.abs())
        if table.headrest:
            bowl = (x**2 + (y - table.top_mm + 125) ** 2).sqrt() - 122
            rest = torch.minimum(torch.minimum(bowl, 14 - bowl), torch.minimum(y - table.top_mm + 95, z - 20))
            below = torch.maximum(below, rest)
        # In front of the spine and beside it there is more fat between the organs than in the nape.
        fatty = self._fatty.on(lattice, device) + self.fatty - 1.6 * v + (pu - 0.6).clamp(0) * 1.5
        muscle = torch.sigmoid(-4 * fatty)
        # Muscles of the nape lie in layers parallel to the skin.
        layer = (depth / self.layer_mm + 0.6 * self._asymmetry.on(lattice, device) + 0.5).mul(math.pi).sin() / (
            2.5 * self.sheet
        )
        return torch.stack([depth, fat, below, muscle, layer])

    def layers(self, grid: Grid, device: torch.device | str) -> Layers:
        """The closed-form tissues on one grid."""
        lattice, strides = self._lattice(grid)
        coarse = self._fields(lattice, device)
        fine = [(n - 1) * s + 1 for n, s in zip(lattice.shape, strides[::-1], strict=True)]
        if tuple(fine) != lattice.shape:
            coarse = functional.interpolate(coarse[None], size=fine, mode="trilinear", align_corners=True)[0]
        depth, fat, below, muscle, layer = coarse[:, : grid.shape[0], : grid.shape[1], : grid.shape[2]]
        voxel = float(grid.spacing_mm.prod()) ** (1 / 3)

        def share(inside_mm: Tensor) -> Tensor:
            return (inside_mm * (1 / voxel) + 0.5).clamp_(0, 1)

        around = torch.full(grid.shape, -1000.0, device=device)
        if self.table.kind != "none":
            around += share(below) * (self.table.shell_hu + 1000)
            around += share(below - 1.6) * (self.table.core_hu - self.table.shell_hu)
        sheets = torch.minimum(self._sheets.on(grid, device).abs_().mul_(1 / self.sheet), layer.abs()).clamp_(max=1)
        planes = sheets.mul_(self.marbling).add_(1 - self.marbling)
        deep = planes.mul_(muscle).mul_(self.muscle_hu - self.fat_hu).add_(self.fat_hu)
        outer = depth + fat
        around += share(outer + self.skin_mm) * (self.skin_hu - around)
        around += share(outer) * (self.fat_hu - around)
        return Layers(deep, around, share(depth))


@dataclass(frozen=True)
class Layers:
    """HU of the deep tissue, HU of what is around it (air, table, skin, fat), the deep tissue's share: [k, j, i]."""

    deep: Tensor
    around: Tensor
    inside: Tensor

    def wrap(self, deep: Tensor) -> Tensor:
        """The deep tissue, organs and all, in its fat and skin; organs that reach beyond are cut off there."""
        return torch.lerp(self.around, deep, self.inside)


def _make_room(vessels: np.ndarray, z: np.ndarray, half, middle, front, back, fat) -> tuple[np.ndarray, np.ndarray]:
    """Half width and front of the deep tissue over ``z``, such that vessels [n, 4] stay inside, or in the fat."""
    at = ((vessels[:, 2] - z[0]) / _TABLE_STEP).round().astype(int)
    vessels, at = vessels[(at >= 0) & (at < len(z))], at[(at >= 0) & (at < len(z))]
    x, y, radius = np.abs(vessels[:, 0] - middle[at]), vessels[:, 1], vessels[:, 3]
    wide, fore = half.copy(), front.copy()
    np.maximum.at(wide, at, x + radius + 7)
    cy = (front + back)[at] / 2
    reach = np.sqrt(1 - np.minimum(0.85, x / wide[at]) ** 2)
    np.minimum.at(fore, at, np.where(y < cy, cy - (cy - y + radius + 3) / reach + 0.7 * fat[at], 1e3))
    for _ in range(6):  # room for 12 mm above and below each
        wide = np.maximum(wide, np.maximum(np.roll(wide, 1), np.roll(wide, -1)) - 1.5)
        fore = np.minimum(fore, np.minimum(np.roll(fore, 1), np.roll(fore, -1)) + 4.0)
    return wide, fore


class Texture:
    """Grain of the tissues: trabeculae in bone, strands in fat, slow drifts everywhere; nothing in air."""

    def __init__(self, dice: Dice, wild: float) -> None:
        self._grain = Waves(dice, 40, 1.2, 4.0)
        self._strands = Waves(dice, 24, 4.0, 14.0)
        self._drift = Waves(dice, 12, 25.0, 90.0)
        self.bone = dice.uniform(30, 140)
        self.soft = dice.uniform(1.0, 7.0) * (1 + 2 * wild)
        self.strand = dice.uniform(0, 30) if dice.chance(0.6) else 0.0
        self.slow = dice.uniform(0, 7) * (1 + 3 * wild)

    def add(self, hu: Tensor, grid: Grid) -> Tensor:
        """``hu`` [k, j, i] with its texture; changes it in place and returns it."""
        grain, strands = self._grain.on(grid, hu.device), self._strands.on(grid, hu.device)
        matter = ((hu + 600) / 300).clamp_(0, 1)
        bone = ((hu - 160) / 150).clamp_(0, 1)
        dense = ((hu - 500) / 500).clamp_(0, 0.7)
        change = grain * (bone * (1 - dense)).mul_(self.bone - self.soft).add_(self.soft)
        change += strands * (self.soft * 0.7)
        if self.strand:
            fat = ((-10 - hu) / 60).clamp_(0, 1)
            change += fat * (1 - strands.abs_().mul_(5)).clamp_(0) * (self.strand * 2)
        change += self._drift.on(grid, hu.device) * self.slow
        return hu.add_(change.mul_(matter))
