"""What the vessel tree fixes of a sculpted neck: spine, levels, foramina and airway as functions of height."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .fields import heights, interp, smooth

# Height of the middle of each vertebra in the tables of anatomy: C1 to T9 (mm).
NOMINAL = (56, 38, 19, 0, -18, -36, -55, -76, -98, -120, -143, -167, -191, -215)
_LOWER = (23.0, 24.0, 24.0)  # spacing of the vertebrae below those that the tree gives, mm


@dataclass(frozen=True)
class Frame:
    """Curves over `heights()`: [n] float32 each, LPS mm. ``level_z`` [14]: C1 to T9, descending."""

    z: Tensor
    nominal: Tensor  # the height in the tables of anatomy
    spine_x: Tensor
    spine_y: Tensor
    slope: Tensor  # of the spine: dy / dz
    airway_x: Tensor
    airway_y: Tensor
    level_z: Tensor
    foramina: Tensor  # [6, 3]: height, mean distance to the side and behind the body's middle, ascending
    size: float
    girth: float  # how wide the layout is, lengths along the neck apart
    airway_share: float

    @classmethod
    def of(
        cls,
        spine: NDArray[np.floating[Any]],
        foramina: NDArray[np.floating[Any]],
        airway: NDArray[np.floating[Any]],
        girth: float,
        airway_share: float,
    ) -> Frame:
        """From ``spine`` [11, 3] (T4 up to C1), ``foramina`` [6, 2, 3] (C6 up to C1), ``airway`` [m, 3]."""
        z = heights()
        levels = torch.as_tensor(spine, dtype=torch.float32)
        size = float((levels[-1, 2] - levels[4, 2]) / 106)
        below = levels[0] - torch.tensor([[0.0, 0.25, 1.0]]) * torch.tensor(_LOWER).cumsum(0)[:, None] * size
        levels = torch.cat([below.flip(0), levels])
        nominal = interp(z, levels[:, 2], torch.tensor(NOMINAL, dtype=torch.float32).flip(0))
        nominal = nominal + (z - levels[-1, 2]).clamp_min(0) / size - (levels[0, 2] - z).clamp_min(0) / size
        spine_x, spine_y = (smooth(interp(z, levels[:, 2], levels[:, a]), 12) for a in (0, 1))
        slope = smooth(torch.gradient(spine_y, spacing=float(z[1] - z[0]))[0], 6)
        course = torch.as_tensor(airway, dtype=torch.float32)
        course = course[torch.argsort(course[:, 2])]
        airway_x, airway_y = (smooth(interp(z, course[:, 2], course[:, a]), 4) for a in (0, 1))
        holes = torch.as_tensor(foramina, dtype=torch.float32)
        middle = holes.mean(1)
        half = (holes[:, 0, 0] - holes[:, 1, 0]).abs() / 2
        behind = middle[:, 1] - interp(middle[:, 2], z, spine_y)
        return cls(
            z,
            nominal,
            spine_x,
            spine_y,
            slope,
            airway_x,
            airway_y,
            levels[:, 2].flip(0).contiguous(),
            torch.stack([middle[:, 2], half, behind], 1),
            size,
            girth,
            airway_share,
        )

    @property
    def top_y(self) -> float:
        """The spine's y at C1."""
        return float(interp(self.level_z[:1], self.z, self.spine_y))

    @property
    def top_x(self) -> float:
        """The spine's x at C1."""
        return float(interp(self.level_z[:1], self.z, self.spine_x))

    def foramen(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """How far to the side and behind the vertebral body's middle the foramina lie at heights ``z``, mm."""
        aside, behind = (interp(z, self.foramina[:, 0], self.foramina[:, column]) for column in (1, 2))
        return aside, behind
