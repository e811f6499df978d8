"""From fields to HU: what each tissue class looks like in one neck, plausibly or domain-randomised."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..neck import Grid
from .body import FAT, MUCOSA, MUSCLE, NODE, PAROTID, SUBMANDIBULAR, THYROID
from .fields import Dice, Waves, cover
from .things import Things

AIR_HU = -1000.0


@dataclass(frozen=True)
class Palette:
    """Mean HU of every class and how strongly each is textured (HU, one sd)."""

    cells: Tensor  # [7], by kind of cell
    fat: float
    mucosa: float
    skin: float
    disc: float
    canal: float
    brain: float
    cortex: float
    marrow: float
    cortex_mm: float
    enamel: float
    lung: float
    gas: float
    grain: float  # fine texture of soft tissue
    cloud: float  # broad texture of soft tissue
    marbling_mm: float  # how far fat runs into muscle
    marrow_grain: float
    septum_mm: float  # half thickness of the fat between muscles
    blur_mm: float
    stripes: float
    bias: float
    fine: Waves
    broad: Waves
    streaks: Waves

    @classmethod
    def draw(cls, dice: Dice, lumen: float, septum_mm: float, wild: bool) -> Palette:
        """Plausible HU of a CTA, or, where ``wild``, nearly any; soft tissue keeps 120 HU from the ``lumen``."""
        muscle = dice.normal(60, 9)
        cells = torch.zeros(7)
        cells[MUSCLE], cells[FAT] = muscle, dice.normal(-105, 9)
        cells[PAROTID], cells[SUBMANDIBULAR] = dice.uniform(-40, 60), muscle + dice.uniform(5, 45)
        cells[THYROID], cells[NODE] = dice.uniform(70, 210), muscle + dice.uniform(-10, 40)
        cells[MUCOSA] = muscle + dice.uniform(-5, 30)
        numbers = dict(
            skin=dice.uniform(0, 70),
            disc=dice.normal(90, 12),
            canal=dice.uniform(10, 35),
            brain=dice.normal(38, 5),
            cortex=dice.uniform(600, 1500),
            marrow=dice.uniform(160, 450),
            cortex_mm=dice.uniform(0.7, 2.2),
            enamel=dice.uniform(1500, 2800),
            lung=dice.normal(-850, 40),
            gas=AIR_HU,
            grain=dice.uniform(1, 7),
            cloud=dice.uniform(1, 8),
            marbling_mm=max(0.0, dice.normal(0.25, 0.4)),
            marrow_grain=dice.uniform(10, 55),
            septum_mm=septum_mm,
            blur_mm=0.0,
            stripes=0.0,
            bias=0.0,
        )
        if wild:
            cells, numbers = _randomise(dice, cells, numbers, lumen)
        return cls(
            cells=cells,
            fat=float(cells[FAT]),
            mucosa=float(cells[MUCOSA]),
            fine=Waves.draw(dice, 12, 2.5, 9, (1, 1, 1.5)),
            broad=Waves.draw(dice, 6, 14, 60),
            streaks=Waves.draw(dice, 8, 4, 14, (1, 1, 4)),
            **numbers,
        )


def _randomise(dice: Dice, cells: Tensor, numbers: dict[str, float], lumen: float) -> tuple[Tensor, dict[str, float]]:
    """Classes of any brightness, order and texture; some classes flat, some left as they are."""

    def soft() -> float:
        while True:
            value = dice.uniform(-350, 350)
            if abs(value - lumen) > 120:
                return value

    if dice.chance(0.7):
        cells = torch.tensor([value if dice.chance(0.4) else soft() for value in cells.tolist()])
    for name in ("skin", "disc", "canal", "brain"):
        if dice.chance(0.5):
            numbers[name] = soft()
    if dice.chance(0.5):
        numbers |= {"cortex": dice.uniform(-100, 2200), "marrow": dice.uniform(-300, 900)}
    if dice.chance(0.3):
        numbers |= {"gas": dice.uniform(-1000, -100), "lung": dice.uniform(-1000, 100)}
    if dice.chance(0.2):  # a cartoon
        return cells, numbers | {"grain": 0.0, "cloud": 0.0, "marbling_mm": 0.0, "marrow_grain": 0.0}
    numbers |= {
        "grain": dice.uniform(0, 40) ** 2 / 40,
        "cloud": dice.uniform(0, 60) ** 2 / 60,
        "marrow_grain": dice.uniform(0, 300),
    }
    numbers |= {
        "marbling_mm": dice.uniform(0, 2.5),
        "cortex_mm": dice.uniform(0, 5),
        "blur_mm": dice.uniform(0, 2.2) ** 2 / 2.2,
    }
    numbers["stripes"] = dice.uniform(5, 45) if dice.chance(0.25) else 0.0
    numbers["bias"] = dice.uniform(0, 60) if dice.chance(0.4) else 0.0
    return cells, numbers


def colour(palette: Palette, things: Things, grid: Grid, fields: Tensor, voxel_mm: float) -> Tensor:
    """HU [n] of a grid's voxels of about ``voxel_mm``; ``fields`` [15, n] in the order of `Carving.at`."""
    skin, lean, first, second, lean_hu, lung, bones, column, column_hu, gas, cavity, enamel, *neck = fields
    cartilage, cartilage_hu, mucosa = neck
    edge = (voxel_mm**2 + palette.blur_mm**2) ** 0.5
    x, y, z = grid.points(fields.device).reshape(-1, 3).unbind(1)
    broad = palette.broad.on(grid, voxel_mm, fields.device)
    fine = palette.fine.on(grid, voxel_mm, fields.device)
    spongy = (fine * palette.marrow_grain).add_(broad, alpha=palette.cloud).add_(palette.marrow)
    texture = fine.mul_(palette.grain).add_(broad, alpha=palette.cloud)
    lean = torch.minimum(lean, torch.minimum(first.abs(), second.abs()).sub_((broad * 0.6 + 1).mul_(palette.septum_mm)))
    if palette.marbling_mm > 0:
        lean = lean - palette.streaks.on(grid, voxel_mm, fields.device).abs_().mul_(palette.marbling_mm)
    lean_hu = torch.lerp(lean_hu, torch.full_like(lean_hu[:1], palette.mucosa), cover(mucosa, edge))
    lean = torch.maximum(lean, mucosa)
    hu = torch.lerp(texture + palette.fat, lean_hu + texture, cover(lean, edge))
    if palette.bias:
        hu.add_(broad, alpha=palette.bias)
    if palette.stripes:
        hu.add_(torch.sin(x * 0.31 + y * 0.17 + z * 0.23).sign_().mul_(palette.stripes))
    hu = things.inside(hu, grid, x, y, z, edge)
    hu.lerp_(column_hu + texture, cover(column, edge))
    hu.lerp_(texture + palette.brain, cover(cavity, edge))
    hu.lerp_(torch.full_like(hu[:1], palette.skin), cover(1.6 - skin, edge))
    hu.lerp_(cartilage_hu + texture, cover(cartilage, edge))
    bone = torch.lerp(spongy, torch.full_like(hu[:1], palette.cortex), cover(palette.cortex_mm - bones, edge))
    hu.lerp_(bone, cover(bones, edge))
    hu.lerp_(torch.full_like(hu[:1], palette.enamel), cover(enamel, edge))
    hu.lerp_(texture + palette.lung, cover(lung, edge))
    hu.lerp_(torch.full_like(hu[:1], palette.gas), cover(gas, edge))
    around = things.outside(x, y, z, voxel_mm)
    return things.metal_over(torch.lerp(around, hu, cover(skin, edge)), x, y, z, voxel_mm)


def surround(things: Things, grid: Grid, voxel_mm: float, device: torch.device) -> Tensor:
    """HU [n] of a grid's voxels where there is no tissue."""
    x, y, z = grid.points(device).reshape(-1, 3).unbind(1)
    return things.metal_over(things.outside(x, y, z, voxel_mm), x, y, z, voxel_mm)
