"""Where things are in a neck: the spine's curve, the levels, the transverse foramina and the airway.

The frame is the neck's: LPS mm, x to the patient's left, y to the back, z up, the middle of C4's body near the origin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..dice import Dice, Points
from .paths import curve

VERTEBRAE = ("T4", "T3", "T2", "T1", "C7", "C6", "C5", "C4", "C3", "C2", "C1")
_HEIGHTS = np.array([-135.0, -113.5, -92.5, -72.0, -53.0, -35.0, -17.5, 0.0, 17.5, 36.0, 53.0])  # adult mean, mm


@dataclass(frozen=True)
class Layout:
    """``spine`` [11, 3]: body centres, T4 to C1 (C1: the middle of the ring's level, at the dens).

    ``foramina`` [6, 2, 3]: the transverse foramina from C6 to C1, left and right; ``airway`` [n, 3]: from the
    nasopharynx to the carina.

    ``size`` scales lengths along the neck, ``width`` lengths across it.
    """

    spine: Points
    foramina: Points
    airway: Points
    size: float
    width: float

    @classmethod
    def draw(cls, dice: Dice, wild: float) -> Layout:
        """``wild`` from 0 (as in patients) to 1 (anything goes)."""
        size = dice.normal(1.0, 0.06 * (1 + wild), 0.75, 1.3)
        width = dice.normal(1.0, 0.07 * (1 + wild), 0.75, 1.35)
        z = _HEIGHTS * size
        z[1:-1] += np.array([dice.normal(0, 0.6) for _ in range(9)])
        z -= z[VERTEBRAE.index("C4")]
        # mm that C4 lies in front of the C1-C7 chord, doubled
        lordosis = dice.normal(9.0, 7.0 * (1 + wild), -8.0, 28.0)
        neck = np.clip(z, -60 * size, None) / (60 * size)
        y = lordosis * neck**2 + dice.normal(-1.0, 2.5) * neck
        y += np.clip(-z - 45 * size, 0, None) * dice.uniform(0.15, 0.5)
        bend, lean = dice.normal(0, 1.5 * (1 + wild)), dice.normal(0, 1.5)
        x = bend * np.sin(z / size / 55) + lean * (z / size / 80)
        spine = np.stack([x, y, z], axis=1)
        spine -= spine[VERTEBRAE.index("C4")] - np.array([dice.normal(0, 1), dice.normal(0, 1), 0.0])

        lateral = np.array([15.5, 15.2, 15.0, 15.2, 17.5, 26.5]) * width * dice.normal(1, 0.04)
        foramina = np.repeat(spine[5:, None], 2, axis=1)
        foramina[:, 0, 0] += lateral
        foramina[:, 1, 0] -= lateral
        foramina[..., 1] += (np.array([1.5, 2.0, 2.5, 3.0, 4.0, 5.0]) * size)[:, None]
        foramina += np.array([[[dice.normal(0, 0.5) for _ in range(3)] for _ in range(2)] for _ in range(6)])

        # the airway's middle, from the vertebral bodies' centres
        behind = [-28, -21, -20, -24, -27, -29, -31, -30, -27]
        heights = np.array([62, 38, 18, 2, -18, -38, -60, -92, -140]) * size
        shift = dice.normal(0, 1.5), dice.normal(0, 2.0)
        airway = [
            [np.interp(h, z, spine[:, 0]) + shift[0] * s, np.interp(h, z, spine[:, 1]) + back * size + shift[1] * s, h]
            for back, h, s in zip(behind, heights, np.linspace(0.3, 1, len(behind)), strict=True)
        ]
        return cls(spine, foramina, curve(airway, 4.0), size, width)

    def moved(self, fn: Callable[[Points], Points]) -> Layout:
        """The layout with every point moved by ``fn``."""
        holes = fn(self.foramina.reshape(-1, 3)).reshape(self.foramina.shape)
        return replace(self, spine=fn(self.spine), foramina=holes, airway=fn(self.airway))

    def level(self, z: float) -> str:
        """The vertebra whose body is nearest to height ``z``."""
        return VERTEBRAE[int(np.argmin(np.abs(self.spine[:, 2] - z)))]

    def at(self, lateral: float, back: float, z: float, side: int = 1) -> Points:
        """A place of the mean adult's anatomy in this neck: [3] LPS mm.

        ``lateral`` is mm to the ``side`` (+1 left, -1 right) of the spine, ``back`` mm behind the centres of the
        vertebral bodies (negative: in front), ``z`` the height. Soft tissue follows the spine's curve only in part.
        """
        height = z * self.size
        x = np.interp(height, self.spine[:, 2], self.spine[:, 0])
        y = np.interp(height, self.spine[:, 2], self.spine[:, 1])
        return np.array([side * lateral * self.width + 0.7 * x, back * self.size + 0.85 * y, height])
