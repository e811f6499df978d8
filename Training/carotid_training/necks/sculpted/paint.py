"""From fields to HU: what each tissue class looks like in one neck, plausibly or domain-randomised."""

from __future__ import annotations

import torch
from torch import Tensor

from ..dice import Dice
from ..neck import Grid
from .body import FAT, MUCOSA, MUSCLE, NODE, PAROTID, SUBMANDIBULAR, THYROID
from .fields import Waves, lay
from .things import Things

AIR_HU = -1000.0


class Palette:
    """What every tissue class looks like in one neck: mean HU, and how strongly each is textured (HU, one sd)."""

    def __init__(self, dice: Dice, lumen: float, septum_mm: float, wild: bool):
        """Plausible HU of a CTA, or, where ``wild``, nearly any; soft tissue keeps 120 HU from the ``lumen``."""
        muscle = dice.normal(60, 9)
        self.cells = torch.zeros(7)  # by kind of cell
        self.cells[MUSCLE], self.cells[FAT] = muscle, dice.normal(-105, 9)
        self.cells[PAROTID], self.cells[SUBMANDIBULAR] = dice.uniform(-40, 60), muscle + dice.uniform(5, 45)
        self.cells[THYROID], self.cells[NODE] = dice.uniform(70, 210), muscle + dice.uniform(-10, 40)
        self.cells[MUCOSA] = muscle + dice.uniform(-5, 30)
        self.skin = dice.uniform(0, 70)
        self.disc = dice.normal(90, 12)
        self.canal = dice.uniform(10, 35)
        self.brain = dice.normal(38, 5)
        self.cortex = dice.uniform(600, 1500)
        self.marrow = dice.uniform(160, 450)
        self.cortex_mm = dice.uniform(0.7, 2.2)
        self.enamel = dice.uniform(1500, 2800)
        self.lung = dice.normal(-850, 40)
        self.gas = AIR_HU
        self.grain = dice.uniform(1, 7)  # fine texture of soft tissue
        self.cloud = dice.uniform(1, 8)  # broad texture of soft tissue
        self.marbling_mm = max(0.0, dice.normal(0.25, 0.4))  # how far fat runs into muscle
        self.marrow_grain = dice.uniform(10, 55)
        self.septum_mm = septum_mm  # half thickness of the fat between muscles
        self.blur_mm = self.stripes = self.bias = 0.0
        if wild:
            self._randomise(dice, lumen)
        self.fat, self.mucosa = float(self.cells[FAT]), float(self.cells[MUCOSA])
        self.fine = Waves.draw(dice, 12, 2.5, 9, (1, 1, 1.5))
        self.broad = Waves.draw(dice, 6, 14, 60)
        self.streaks = Waves.draw(dice, 8, 4, 14, (1, 1, 4))

    def _randomise(self, dice: Dice, lumen: float) -> None:
        """Classes of any brightness, order and texture; some classes flat, some left as they are."""

        def soft() -> float:
            while True:
                value = dice.uniform(-350, 350)
                if abs(value - lumen) > 120:
                    return value

        if dice.chance(0.7):
            self.cells = torch.tensor([value if dice.chance(0.4) else soft() for value in self.cells.tolist()])
        for name in ("skin", "disc", "canal", "brain"):
            if dice.chance(0.5):
                setattr(self, name, soft())
        if dice.chance(0.5):
            self.cortex, self.marrow = dice.uniform(-100, 2200), dice.uniform(-300, 900)
        if dice.chance(0.3):
            self.gas, self.lung = dice.uniform(-1000, -100), dice.uniform(-1000, 100)
        if dice.chance(0.2):  # a cartoon
            self.grain = self.cloud = self.marbling_mm = self.marrow_grain = 0.0
            return
        self.grain = dice.uniform(0, 40) ** 2 / 40
        self.cloud = dice.uniform(0, 60) ** 2 / 60
        self.marrow_grain = dice.uniform(0, 300)
        self.marbling_mm = dice.uniform(0, 2.5)
        self.cortex_mm = dice.uniform(0, 5)
        self.blur_mm = dice.uniform(0, 2.2) ** 2 / 2.2
        self.stripes = dice.uniform(5, 45) if dice.chance(0.25) else 0.0
        self.bias = dice.uniform(0, 60) if dice.chance(0.4) else 0.0


def colour(palette: Palette, things: Things, grid: Grid, fields: Tensor, voxel_mm: float) -> Tensor:
    """HU [n] of a grid's voxels of about ``voxel_mm``; ``fields`` [15, n] in the order of `Carving.at`."""
    skin, lean, first, second, lean_hu, lung, bones, column, column_hu, gas, cavity, enamel = fields[:12]
    cartilage, cartilage_hu, mucosa = fields[12:]
    edge = (voxel_mm**2 + palette.blur_mm**2) ** 0.5
    x, y, z = grid.points(fields.device).reshape(-1, 3).unbind(1)
    broad = palette.broad.on(grid, voxel_mm, fields.device)
    fine = palette.fine.on(grid, voxel_mm, fields.device)
    spongy = (fine * palette.marrow_grain).add_(broad, alpha=palette.cloud).add_(palette.marrow)
    texture = fine.mul_(palette.grain).add_(broad, alpha=palette.cloud)
    lean = torch.minimum(lean, torch.minimum(first.abs(), second.abs()).sub_((broad * 0.6 + 1).mul_(palette.septum_mm)))
    if palette.marbling_mm > 0:
        lean = lean - palette.streaks.on(grid, voxel_mm, fields.device).abs_().mul_(palette.marbling_mm)
    lean_hu = lay(lean_hu.clone(), palette.mucosa, mucosa, edge)
    lean = torch.maximum(lean, mucosa)
    hu = lay(texture + palette.fat, lean_hu + texture, lean, edge)
    if palette.bias:
        hu.add_(broad, alpha=palette.bias)
    if palette.stripes:
        hu.add_(torch.sin(x * 0.31 + y * 0.17 + z * 0.23).sign_().mul_(palette.stripes))
    if things.distractors is not None:
        things.distractors.over(hu, grid, x, y, z, edge)
    lay(hu, column_hu + texture, column, edge)
    lay(hu, texture + palette.brain, cavity, edge)
    lay(hu, palette.skin, 1.6 - skin, edge)
    lay(hu, cartilage_hu + texture, cartilage, edge)
    lay(hu, lay(spongy, palette.cortex, palette.cortex_mm - bones, edge), bones, edge)
    lay(hu, palette.enamel, enamel, edge)
    lay(hu, texture + palette.lung, lung, edge)
    lay(hu, palette.gas, gas, edge)
    return things.metal_over(lay(things.outside(x, y, z, voxel_mm), hu, skin, edge), x, y, z, voxel_mm)


def surround(things: Things, grid: Grid, voxel_mm: float, device: torch.device) -> Tensor:
    """HU [n] of a grid's voxels where there is no tissue."""
    x, y, z = grid.points(device).reshape(-1, 3).unbind(1)
    return things.metal_over(things.outside(x, y, z, voxel_mm), x, y, z, voxel_mm)
