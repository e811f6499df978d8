"""Airway, larynx, hyoid and gullet of the sculpted neck, in coordinates that run along the airway's middle."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..dice import Dice
from .fields import Lattice, Waves, any_of, both, bowl, interp, melt
from .frame import Frame


def carve_airway(dice: Dice, frame: Frame, wild: bool) -> Lattice:
    """The airway lattice over (x, y) from the airway's middle and nominal height, mm.

    Channels: air, cartilage (hyoid, thyroid, cricoid, rings), cartilage HU, mucosa (soft wall, gullet).
    """

    low, high = (-33.0, -39.0, -126.0), (33.0, 27.0, 76.0)
    return Lattice.carved(dice, low, high, (1.5, 1.5, 1.9), partial(_airway, dice, frame, wild)).closed(0, 1, 3)


def _airway(dice: Dice, frame: Frame, wild: bool, u: Tensor, v: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    """The airway lattice's channels at these nodes."""
    size = frame.size * dice.normal(1.0, 0.06)
    bend = [Waves.draw(dice, 6, 18, 60).at(u, v, z) for _ in range(2)]
    rough = Waves.draw(dice, 10, 6, 24).at(u, v, z)
    x, y = (u + 0.9 * bend[0]) / size, (v + 0.9 * bend[1]) / size
    side = x.abs()
    z = z - dice.normal(0, 6.0) * interp(z, (-60, -30, 20, 50), (0, 1, 1, 0))

    wide, calibre = dice.uniform(0.55, 1.35 if wild else 1.05), dice.uniform(0.8, 1.2)
    heights = (-130, -48, -34, -25, -22, -18, -8, 4, 20, 40, 60, 76)
    half_x = interp(z, heights, (8.5, 8.5, 8, 4.5, 2.2, 5, 9, 13, 13, 12, 13, 14))
    half_y = interp(z, heights, (8, 8, 8.5, 9, 9, 8, 7, 7, 6.5, 6, 8, 9))
    share = interp(z, (-40, -10), (calibre, wide))
    air = bowl(x, y, half_x * share * frame.airway_share, half_y * share * frame.airway_share, 0.2)
    piriform = both(bowl(side - 12 - 0.3 * (y - 5), y - 5, 2.6, 5) * wide, 9 - (z + 12).abs() - 0.5 * rough)
    vallecula = both(bowl(side - 6, y + 9 + 0.3 * (z - 2), 5, 2.5) * wide, 6 - (z - 3).abs())
    air = any_of(air + 0.4 * rough, piriform, vallecula)
    epiglottis = both(1.3 - (y + 5 + 0.45 * (z - 4) - 0.04 * x * x).abs(), 11 - (z - 5).abs(), 11 - side)
    air = both(air, -epiglottis)

    age = dice.uniform(0, 1)  # how ossified the cartilages are
    tall = dice.normal(1, 0.08)
    spread, prow = dice.uniform(0.68, 0.95), -17 + dice.normal(0, 2.5)
    lamina = 1.6 + 0.5 * age - ((y - prow) - side * spread).abs() * 0.72
    edges = 12 * tall - (z + 23 - 0.1 * y).abs()
    notch = (z + 14) * 1.0 - 0.9 * side + 4
    thyroid = both(lamina, edges, 13 - y, torch.where(notch > 0, 1.2 * side - notch, 9.0))
    off = ((side - 22 * min(1.0, 0.75 / spread)) ** 2 + (y - 12) ** 2).sqrt()
    horns = both(dice.uniform(1.4, 2.4) - off, 12 - z - 12, z + 46)
    off = ((x * x + (y - 1) ** 2).sqrt() - 11.5).abs()
    cricoid_front = both(2.0 - off, 3.5 + 0.45 * (y + 11) - (z + 39 - 0.3 * (y + 11)).abs())
    arytenoid = both(bowl(side - 5, y - 10, 2.5, 3), 6 - (z + 24).abs())
    rings = air * 0 - 9
    if dice.chance(0.3 * age + 0.05):
        rings = both(1.1 - (air + 1.4).abs(), 1.5 - (torch.remainder(z, 5.0) - 2.5).abs(), 6 - y, -50 - z)
    gap = dice.uniform(0, 5)  # between the hyoid's body and its greater horns
    tilt = z - 5 - 0.22 * (y + 20)
    arc = (y + dice.normal(24, 2.0)) - side * side / dice.uniform(12, 19)
    slope = (1 + (side / 8) ** 2).sqrt()
    hyoid = both(2.2 - (arc / slope).abs(), 4.8 - 0.14 * (y + 24).clamp_min(0) - tilt.abs(), 16 - y, 27 - side)
    hyoid = torch.where((side - 11).abs() < gap / 2, hyoid - 3, hyoid)
    triticeous = 1.8 - ((side - 21) ** 2 + (y - 12) ** 2 + (z + 3) ** 2).sqrt() - 20 * (not dice.chance(0.3))
    larynx = any_of(thyroid, horns, cricoid_front, arytenoid, rings, triticeous)
    if wild and dice.chance(0.25):
        hyoid = hyoid - 20
    cartilage = any_of(larynx, hyoid)
    patchy = Waves.draw(dice, 12, 8, 30).at(x, y, z)
    ossified = 110 + 650 * torch.sigmoid(4 * (patchy + 2.2 * age - 1.2)) * (0.35 + 0.65 * age)
    hyoid_hu = dice.uniform(350, 900)
    hu = torch.where(hyoid > larynx, hyoid_hu, ossified)

    gullet = bowl(x + dice.normal(4, 3.0), y - 15, 8, 5) - 0.5 * (z + 44).clamp_min(0)
    wall = both(air + dice.uniform(2.0, 4.0) * size, z + 40 + 0.0 * x)
    larynx = both(lamina + 8 - 0.4 * (y - prow), 15 - (z + 22).abs(), 11 - y)
    mucosa = any_of(wall, gullet, melt(larynx, both(bowl(side, y - 9, 17, 6), z + 44, 70 - z), 2.0), cartilage + 1.0)
    gas = both(2.5 - ((x + 4) ** 2 + (y - 15) ** 2).sqrt(), 6 - (torch.remainder(z + 7, 37.0) - 18).abs(), -46 - z)
    if dice.chance(0.35):
        air = any_of(air, gas)
    tube_hu = dice.uniform(120, 600)
    if dice.chance(0.12):  # intubated; the tube leaves through the mouth
        forward = (z - 22).clamp_min(0) * 1.6
        off = ((x - dice.normal(0, 2)) ** 2 + (y + forward) ** 2).sqrt()
        bore = dice.uniform(3.2, 4.5)
        tube = both(0.9 - (off - bore - 0.9).abs(), z + dice.uniform(85, 125))
        air = any_of(both(air, off - bore - 1.8), both(bore - off, z + 85))
        hu = torch.where(tube > cartilage, tube_hu, hu)
        cartilage = any_of(cartilage, tube)
    if dice.chance(0.1):  # gastric tube
        off = ((x + 4) ** 2 + (y - 14 + 6 * (z > -44)) ** 2).sqrt()
        tube = both(1.3 - (off - 1.6).abs(), 60 - z)
        hu = torch.where(tube > cartilage, tube_hu, hu)
        cartilage = any_of(cartilage, tube)
    if wild and dice.chance(0.2):
        air = air - dice.uniform(2, 9)  # nearly or wholly closed
    return air * size, cartilage * size, hu, mucosa * size
