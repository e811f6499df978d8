"""The veins of the neck, filled from not at all to as bright as arteries, or brighter where contrast is injected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..dice import Dice, Points
from .arteries import SIDES, Carotid
from .layout import Layout
from .paths import Place, Tube, curve


def draw_veins(dice: Dice, layout: Layout, carotids: dict[str, Carotid], artery_hu: float, wild: float) -> list[Tube]:
    """Jugular, facial, retromandibular, vertebral, subclavian and brachiocephalic veins, and the superior vena cava."""
    blood = dice.uniform(35, 60)
    phase = dice.pick(arterial=0.12, early=0.15, mixed=0.53, venous=0.2)
    typical = {"arterial": (0, 0.1), "early": (0.1, 0.45), "mixed": (0.4, 0.85), "venous": (0.7, 1.05)}[phase]
    injected = dice.pick(right=0.55, left=0.3, none=0.15)
    dense = dice.uniform(600, 2800) if dice.chance(0.6) else artery_hu * dice.uniform(0.2, 1.0)
    tubes: list[Tube] = []

    def vein(name: str, points: Sequence[Points] | Points, radius: float, fill: float, step: float = 3.0, end=None):
        """``fill``: the share of the arteries' contrast at the first point, ``end``: at the last, where it differs."""
        path = curve(points, step)
        radii = radius * (1 + dice.waves(0.10, 20, 70)(np.arange(len(path)) * step))
        hu, last = (blood + (artery_hu - blood) * share for share in (fill, fill if end is None else end))
        tubes.append(Tube(name, "vein", path, np.maximum(radii, 0.4), hu, last))

    right_larger = dice.normal(0.12, 0.25, -0.6, 0.6)
    for column, (side, sign) in enumerate(SIDES.items()):
        fill = dice.uniform(*typical)
        if dice.chance(0.15):  # one side early or late
            fill = dice.uniform(0, 1)
        carotid = carotids[side]

        def at(lateral: float, back: float, z: float, sign: int = sign) -> Points:
            return layout.at(lateral + dice.normal(0, 1.5), back + dice.normal(0, 1.5), z, sign)

        radius = dice.normal(5.2, 1.5 * (1 + wild), 1.5, 11) * (1 - sign * right_larger)
        jugular = _beside(dice, layout, carotid, sign, radius)
        top, low = fill * dice.uniform(0.85, 1.1), fill * dice.uniform(0.6, 1.1)
        # Most jugular veins are oval: two tubes side by side, along the carotid or across it.
        turn, flat = dice.uniform(0, 2 * np.pi), dice.uniform(0.0, 0.75) if dice.chance(0.75) else 0.0
        aside = flat * radius * np.array([np.cos(turn), 0.7 * np.sin(turn), 0.0])
        for half in (-0.5, 0.5) if flat > 0.1 else (0.0,):
            vein(f"{side}_internal_jugular", jugular + half * aside, radius * (1 - 0.45 * flat), top, 2.5, low)
        if dice.chance(0.35) and fill > 0.05:  # unmixed blood from a tributary runs along one wall
            off = dice.direction() * [1, 1, 0] * radius * 0.45
            stream = np.array([p + off for p in jugular[len(jugular) // 2 :]])
            vein(f"{side}_jugular_stream", stream, radius * 0.45, fill * dice.uniform(0.2, 0.7), 3.0)
        if dice.chance(0.85):
            way: list[Place] = [(52, -8, 42), (53, -8, 20), (54, -4, 0), (52, 0, -30), (48, -8, -62), (42, -22, -90)]
            radius = dice.normal(1.9, 0.7, 0.6, 4.0)
            vein(f"{side}_external_jugular", [at(*p) for p in way], radius, fill * dice.uniform(0.5, 1.1))
        if dice.chance(0.7):
            x = dice.uniform(5, 16)
            way = [(x + 3, -58, 5), (x, -56, -20), (x, -54, -50), (x + 2, -52, -75), (x + 18, -40, -92)]
            places = [at(*p) for p in way]
            vein(f"{side}_anterior_jugular", places, dice.normal(1.2, 0.5, 0.5, 2.6), fill * dice.uniform(0.3, 1))
        if dice.chance(0.9):
            meet = jugular[np.argmin(np.abs(jugular[:, 2] - dice.uniform(-8, 14)))]
            places = [at(32, -78, 46), at(42, -62, 30), at(44, -46, 16), at(42, -34, 10), meet]
            vein(f"{side}_facial_vein", places, dice.normal(1.7, 0.5, 0.6, 3.2), fill * dice.uniform(0.3, 1.1))
        if dice.chance(0.85):
            places = [at(56, -12, 80), at(50, -10, 62), at(50, -10, 42), at(48, -16, 26), at(43, -26, 14)]
            vein(f"{side}_retromandibular", places, dice.normal(1.6, 0.4, 0.6, 3.0), fill * dice.uniform(0.3, 1.1))
        holes = layout.foramina[:, column][::-1] + np.array([sign * 2.2, 1.0, 0])
        down = [holes[-1] + np.array([sign * 2.0, -3.0, -20.0]), at(30, -26, -92)]
        vein(f"{side}_vertebral_vein", [*holes, *down], dice.normal(0.9, 0.35, 0.4, 2.2), fill * dice.uniform(0.3, 1.1))

        entry = at(33, -34, -97)
        arm = [at(175, -20, -155), at(125, -28, -128), at(85, -32, -108), at(55, -34, -98), entry]
        loaded = side == injected
        level = (dense - blood) / (artery_hu - blood) if loaded else dice.uniform(0, 0.5) * fill
        vein(f"{side}_subclavian_vein", arm, dice.normal(5.0, 0.8, 3, 8), level, 4.0)
        inward = [entry, layout.at(29, -38, -125, sign), layout.at(-31, -40, -142)]
        if side == "left":
            inward[1:2] = [layout.at(20, -48, -116), layout.at(-10, -56, -128)]
        vein(f"{side}_brachiocephalic_vein", inward, dice.normal(5.8, 0.9, 4, 9), level * dice.uniform(0.6, 1.0), 4.0)
    cava = [layout.at(-32, -40, z) for z in (-138, -165, -238)]
    mixed = (dense - blood) / (artery_hu - blood) * dice.uniform(0.3, 0.9) if injected != "none" else 0.4
    vein("superior_vena_cava", cava, dice.normal(9, 1.2, 6, 12), mixed, 5.0)
    return tubes


def _beside(dice: Dice, layout: Layout, carotid: Carotid, sign: int, radius: float) -> Points:
    """The internal jugular's way: from the jugular foramen down beside the carotids to behind the clavicle."""
    trunk = np.concatenate([carotid.common.points, carotid.internal.points])
    width = np.concatenate([carotid.common.radii, carotid.internal.radii])
    way = [layout.at(28, 6, 72, sign), layout.at(29, 4, 64, sign)]
    for z in (48, 32, 16, 0, -18, -36, -54, -72):
        height = z * layout.size
        near = int(np.argmin(np.abs(trunk[:, 2] - height) + 1e-3 * np.arange(len(trunk))))
        turn = np.deg2rad(np.interp(z, [-72, 0, 40], [-25, 15, 50]) + dice.normal(0, 14))
        gap = width[near] + radius + dice.uniform(0.8, 3.0)
        way.append(trunk[near] + gap * np.array([sign * np.cos(turn), np.sin(turn), 0.0]))
        way[-1][2] = height
    way.append(layout.at(33, -34, -97, sign))
    return np.array(way)
