"""What is no tissue: table, pad, dental metal; in randomised necks also tubes and blobs that resemble vessels."""

from __future__ import annotations

import torch
from torch import Tensor

from ..dice import Dice
from ..neck import Grid
from .body import Outline
from .fields import Waves, interp, lay

METAL_HU = 9000.0


class Distractors:
    """Tubes where two random fields vanish together, and blobs where a third is high."""

    def __init__(self, dice: Dice, lumen: float, clear: Tensor):
        """As bright as the arteries, or brighter, or dark; none around the points ``clear`` [2, 3], LPS mm."""
        self.scale_mm = scale = dice.uniform(40, 110)
        self.tubes = [Waves.draw(dice, 6, scale, 2 * scale, (1, 1, dice.uniform(1, 4))) for _ in range(2)]
        self.blobs = Waves.draw(dice, 8, 14, 40)
        self.tube_hu = lumen + dice.normal(0, 60) if dice.chance(0.6) else dice.uniform(-300, 700)
        self.blob_hu = lumen + dice.normal(0, 100) if dice.chance(0.5) else dice.uniform(-400, 900)
        self.tube_mm = dice.uniform(1.0, 5.0) * dice.chance(0.7)
        self.blob_mm = dice.uniform(1.7, 2.6) if dice.chance(0.6) else 9.0
        self.clear = clear.float()

    def over(self, hu: Tensor, grid: Grid, x: Tensor, y: Tensor, z: Tensor, edge: float) -> None:
        """Painted over soft tissue, ``hu`` [n]; in place."""
        away = torch.full_like(x, 1e6)
        for cx, cy, cz in self.clear.tolist():
            away = torch.minimum(away, (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2)
        room = away.sqrt_().sub_(14).clamp_(-9, 0)
        first, second, blob = (waves.on(grid, 0.0, hu.device) for waves in (*self.tubes, self.blobs))
        off = (first * first + second * second).sqrt_() * (self.scale_mm / 5)
        lay(hu, self.blob_hu, (blob - self.blob_mm) * 4 + room, edge)
        lay(hu, self.tube_hu, self.tube_mm - off + room, edge)


class Things:
    """The table, the pad on it, metal and distractors of one neck."""

    def __init__(self, dice: Dice, outline: Outline, metal: Tensor, distractors: Distractors | None):
        """Lying on a table, usually on a pad. ``metal``: [n, 4]."""
        z = outline.frame.z
        shoulder = interp(torch.tensor([-118.0]), outline.nominal, z)
        x, y = (interp(shoulder, z, row) for row in (outline.half_width * 0.82, outline.centre))
        place = torch.stack([x, y, shoulder, torch.full_like(x, 30.0)], 1)
        # [2, 4]: centre and radius of the shoulders' bone
        self.shoulders = torch.cat([place, place * torch.tensor([-1.0, 1, 1, 1])])
        self.table_y = float((outline.centre + outline.back).max()) + dice.uniform(2, 14)
        self.table_bend = dice.uniform(-1, 1) / 1400  # 1 / mm
        self.table_hu = dice.uniform(-400, 100)
        self.foam_hu = dice.uniform(-990, -850)
        self.thick_mm = dice.uniform(25, 70)
        self.half_width_mm = dice.uniform(190, 280)
        self.pad_hu = dice.uniform(-990, -880) if dice.chance(0.7) else -1000.0
        self.arms: tuple[float, ...] | None = None  # distance to the side, y, radius (mm), lean share of the radius
        if dice.chance(0.1):  # raised beside the head
            radius = dice.uniform(35, 55)
            aside = float(outline.half_width[outline.nominal > 0].max()) + radius + dice.uniform(4, 40)
            self.arms = (aside, float(outline.centre.mean()) + dice.uniform(-10, 40), radius, dice.uniform(0.6, 0.9))
        self.metal, self.distractors = metal, distractors

    def outside(self, x: Tensor, y: Tensor, z: Tensor, voxel_mm: float) -> Tensor:
        """HU around the body: air, pad, table."""
        depth = y - self.table_y - x * x * self.table_bend
        wide = self.half_width_mm - x.abs()
        block = torch.minimum(torch.minimum(depth, self.thick_mm - depth), wide)
        hu = torch.full_like(x, -1000.0)
        pad = torch.minimum(torch.minimum(depth + 30, -depth), wide - 40)
        lay(hu, self.pad_hu, pad, voxel_mm)
        lay(hu, self.table_hu, block, voxel_mm)
        lay(hu, self.foam_hu, block - 2.0, voxel_mm)
        if self.arms is not None:
            side, back, radius, lean = self.arms
            off = ((x.abs() - side - 0.1 * z) ** 2 + (y - back) ** 2).sqrt_()
            for part, tissue in ((1.0, -100.0), (lean, 60.0), (0.24, 1100.0), (0.13, 50.0)):
                within = torch.minimum(radius * part - off, z + 90)
                lay(hu, tissue, within, voxel_mm)
        return hu

    def metal_over(self, hu: Tensor, x: Tensor, y: Tensor, z: Tensor, voxel_mm: float) -> Tensor:
        """HU with the dental metal; in place."""
        for cx, cy, cz, radius in self.metal.tolist():
            distance = ((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2).sqrt_()
            lay(hu, METAL_HU, radius - distance, voxel_mm)
        return hu
