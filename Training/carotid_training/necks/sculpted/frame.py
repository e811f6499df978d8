"""What the vessel tree fixes of a sculpted neck: spine, levels, foramina and airway as functions of height."""

from __future__ import annotations

import torch

from ..vessels.layout import Layout
from .fields import heights, interp, smooth

# Height of the middle of each vertebra in the tables of anatomy: C1 to T9 (mm).
NOMINAL = (56, 38, 19, 0, -18, -36, -55, -76, -98, -120, -143, -167, -191, -215)
_LOWER = (23.0, 24.0, 24.0)  # spacing of the vertebrae below those that the tree gives, mm


class Frame:
    """Curves over `heights()`: [n] float32 each, LPS mm."""

    def __init__(self, layout: Layout, airway_share: float):
        self.airway_share = airway_share
        self.girth = layout.width / layout.size  # how wide the layout is, lengths along the neck apart
        self.z = z = heights()
        levels = torch.as_tensor(layout.spine, dtype=torch.float32)
        self.size = size = float((levels[-1, 2] - levels[4, 2]) / 106)
        below = levels[0] - torch.tensor([[0.0, 0.25, 1.0]]) * torch.tensor(_LOWER).cumsum(0)[:, None] * size
        levels = torch.cat([below.flip(0), levels])
        nominal = interp(z, levels[:, 2], torch.tensor(NOMINAL, dtype=torch.float32).flip(0))
        # the height in the tables of anatomy
        self.nominal = nominal + (z - levels[-1, 2]).clamp_min(0) / size - (levels[0, 2] - z).clamp_min(0) / size
        self.spine_x, self.spine_y = (smooth(interp(z, levels[:, 2], levels[:, a]), 12) for a in (0, 1))
        self.slope = smooth(torch.gradient(self.spine_y, spacing=float(z[1] - z[0]))[0], 6)  # of the spine: dy / dz
        course = torch.as_tensor(layout.airway, dtype=torch.float32)
        course = course[torch.argsort(course[:, 2])]
        self.airway_x, self.airway_y = (smooth(interp(z, course[:, 2], course[:, a]), 4) for a in (0, 1))
        self.level_z = levels[:, 2].flip(0).contiguous()  # [14]: C1 to T9, descending
        self.top_x, self.top_y = (float(interp(self.level_z[:1], z, row)) for row in (self.spine_x, self.spine_y))
        holes = torch.as_tensor(layout.foramina, dtype=torch.float32)
        middle = holes.mean(1)
        half = (holes[:, 0, 0] - holes[:, 1, 0]).abs() / 2
        behind = middle[:, 1] - interp(middle[:, 2], z, self.spine_y)
        # [6, 3]: height, mean distance to the side and behind the body's middle, ascending
        self.foramina = torch.stack([middle[:, 2], half, behind], 1)
