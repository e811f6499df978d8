"""A crude neck for tests of the scanner: a cylinder of tissue, two ball markers, and nothing else."""

from __future__ import annotations

import torch

BODY_MM, MARKER_MM = 60.0, 7.0
TISSUE_HU, MARKER_HU = 40.0, 400.0


class StandInNeck:
    """Markers of 400 HU at the bifurcations, in a cylinder of tissue along z; the left marker is the larger one."""

    style = "stand-in"
    lower_mm, upper_mm = -230.0, 170.0

    def __init__(self, seed=0, present=(True, True), metal=None, facts=None):
        self.seed = seed
        self.present = torch.tensor(present)
        self.metal = torch.zeros(0, 4) if metal is None else metal
        self.dense = torch.zeros(0, 4)
        self.facts = facts or {}
        generator = torch.Generator().manual_seed(seed)
        spread = torch.rand(2, 3, generator=generator, dtype=torch.float64) * 10 - 5
        self.points = torch.tensor([[28.0, -5.0, 4.0], [-28.0, -5.0, -4.0]], dtype=torch.float64) + spread

    def bifurcations(self, up):
        return self.points.clone()

    def render(self, grids, device="cpu"):
        return [self._render(grid, torch.device(device)) for grid in grids]

    def _render(self, grid, device):
        points = grid.points(device)
        width = float(grid.spacing_mm.mean())
        body = ((BODY_MM - points[..., :2].norm(dim=-1)) / width + 0.5).clamp(0, 1)
        hu = -1000 + body * (TISSUE_HU + 1000)
        for side, point in enumerate(self.points):
            radius = MARKER_MM - side
            distance = (points - point.to(device, torch.float32)).norm(dim=-1)
            ball = ((radius - distance) / width + 0.5).clamp(0, 1)
            hu = hu + ball * (MARKER_HU - hu)
        return hu
