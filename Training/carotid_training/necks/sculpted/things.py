"""What is no tissue: table, pad, dental metal; in randomised necks also tubes and blobs that resemble vessels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..neck import Grid
from .body import Outline
from .fields import Dice, Waves, cover, interp
from .frame import Frame

METAL_HU = 9000.0


@dataclass(frozen=True)
class Distractors:
    """Tubes where two random fields vanish together, and blobs where a third is high."""

    tubes: tuple[Waves, Waves]
    blobs: Waves
    tube_hu: float
    blob_hu: float
    tube_mm: float
    blob_mm: float
    scale_mm: float
    clear: Tensor  # [2, 3] points around which there are none, LPS mm

    @classmethod
    def draw(cls, dice: Dice, lumen: float, clear: Tensor) -> Distractors:
        """As bright as the arteries, or brighter, or dark."""
        scale = dice.uniform(40, 110)
        return cls(
            tubes=(
                Waves.draw(dice, 6, scale, 2 * scale, (1, 1, dice.uniform(1, 4))),
                Waves.draw(dice, 6, scale, 2 * scale, (1, 1, dice.uniform(1, 4))),
            ),
            blobs=Waves.draw(dice, 8, 14, 40),
            tube_hu=lumen + dice.normal(0, 60) if dice.chance(0.6) else dice.uniform(-300, 700),
            blob_hu=lumen + dice.normal(0, 100) if dice.chance(0.5) else dice.uniform(-400, 900),
            tube_mm=dice.uniform(1.0, 5.0) * dice.chance(0.7),
            blob_mm=dice.uniform(1.7, 2.6) if dice.chance(0.6) else 9.0,
            scale_mm=scale,
            clear=clear.float(),
        )

    def over(self, hu: Tensor, grid: Grid, x: Tensor, y: Tensor, z: Tensor, edge: float) -> Tensor:
        """Painted over soft tissue."""
        away = torch.full_like(x, 1e6)
        for cx, cy, cz in self.clear.tolist():
            away = torch.minimum(away, (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2)
        room = away.sqrt_().sub_(14).clamp_(-9, 0)
        first, second, blob = (waves.on(grid, 0.0, hu.device) for waves in (*self.tubes, self.blobs))
        off = (first * first + second * second).sqrt_() * (self.scale_mm / 5)
        hu = torch.lerp(hu, torch.full_like(hu[:1], self.blob_hu), cover((blob - self.blob_mm) * 4 + room, edge))
        return torch.lerp(hu, torch.full_like(hu[:1], self.tube_hu), cover(self.tube_mm - off + room, edge))


@dataclass(frozen=True)
class Things:
    """The table, the pad on it, metal and distractors of one neck."""

    table_y: float
    table_bend: float  # 1 / mm
    table_hu: float
    foam_hu: float
    thick_mm: float
    half_width_mm: float
    pad_hu: float
    air_hu: float
    arms: tuple[float, float, float, float] | None  # raised: distance to the side, y, radius, lean share
    metal: Tensor  # [n, 4]
    shoulders: Tensor  # [2, 4]: centre and radius of the shoulders' bone
    distractors: Distractors | None

    @classmethod
    def draw(cls, dice: Dice, frame: Frame, outline: Outline, metal: Tensor, distractors: Distractors | None) -> Things:
        """Lying on a table, usually on a pad."""
        back = outline.centre + outline.back
        shoulder = interp(torch.tensor([-118.0]), outline.nominal, frame.z)
        x, y = (interp(shoulder, frame.z, row) for row in (outline.half_width * 0.82, outline.centre))
        place = torch.stack([x, y, shoulder, torch.full_like(x, 30.0)], 1)
        return cls(
            table_y=float(back.max()) + dice.uniform(2, 14),
            table_bend=dice.uniform(-1, 1) / 1400,
            table_hu=dice.uniform(-400, 100),
            foam_hu=dice.uniform(-990, -850),
            thick_mm=dice.uniform(25, 70),
            half_width_mm=dice.uniform(190, 280),
            pad_hu=dice.uniform(-990, -880) if dice.chance(0.7) else -1000.0,
            air_hu=-1000.0,
            arms=_arms(dice, outline) if dice.chance(0.1) else None,
            metal=metal,
            shoulders=torch.cat([place, place * torch.tensor([-1.0, 1, 1, 1])]),
            distractors=distractors,
        )

    def inside(self, hu: Tensor, grid: Grid, x: Tensor, y: Tensor, z: Tensor, edge: float) -> Tensor:
        """HU of soft tissue with the distractors."""
        return hu if self.distractors is None else self.distractors.over(hu, grid, x, y, z, edge)

    def outside(self, x: Tensor, y: Tensor, z: Tensor, voxel_mm: float) -> Tensor:
        """HU around the body: air, pad, table."""
        depth = y - self.table_y - x * x * self.table_bend
        wide = self.half_width_mm - x.abs()
        block = torch.minimum(torch.minimum(depth, self.thick_mm - depth), wide)
        hu = torch.full_like(x, self.air_hu)
        pad = torch.minimum(torch.minimum(depth + 30, -depth), wide - 40)
        hu.lerp_(torch.full_like(x[:1], self.pad_hu), cover(pad, voxel_mm))
        hu.lerp_(torch.full_like(x[:1], self.table_hu), cover(block, voxel_mm))
        hu.lerp_(torch.full_like(x[:1], self.foam_hu), cover(block - 2.0, voxel_mm))
        if self.arms is not None:
            side, back, radius, lean = self.arms
            off = ((x.abs() - side - 0.1 * z) ** 2 + (y - back) ** 2).sqrt_()
            for part, tissue in ((1.0, -100.0), (lean, 60.0), (0.24, 1100.0), (0.13, 50.0)):
                within = torch.minimum(radius * part - off, z + 90)
                hu.lerp_(torch.full_like(x[:1], tissue), cover(within, voxel_mm))
        return hu

    def metal_over(self, hu: Tensor, x: Tensor, y: Tensor, z: Tensor, voxel_mm: float) -> Tensor:
        """HU with the dental metal."""
        for cx, cy, cz, radius in self.metal.tolist():
            distance = ((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2).sqrt_()
            hu = torch.lerp(hu, torch.full_like(hu[:1], METAL_HU), cover(radius - distance, voxel_mm))
        return hu


def _arms(dice: Dice, outline: Outline) -> tuple[float, float, float, float]:
    """Arms raised beside the head: distance to the side, y, radius (mm), and the lean share of the radius."""
    radius = dice.uniform(35, 55)
    clear = float(outline.half_width[outline.nominal > 0].max()) + radius
    return (
        clear + dice.uniform(4, 40),
        float(outline.centre.mean()) + dice.uniform(-10, 40),
        radius,
        dice.uniform(0.6, 0.9),
    )
