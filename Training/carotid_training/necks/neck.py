"""What a digital neck is: the contract between the styles that build necks and the scanner that images them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Facts = dict[str, float | str | bool]


@dataclass(frozen=True)
class Grid:
    """A voxel lattice in patient space.

    ``affine`` is [4, 4] float64 on the CPU and maps a voxel index (i, j, k, 1) to LPS millimetres (any orientation);
    ``shape`` is (k, j, i).
    """

    affine: Tensor
    shape: tuple[int, int, int]

    @classmethod
    def aligned(cls, centre_lps: Tensor, spacing_mm: Sequence[float] | float, shape: tuple[int, int, int]) -> Grid:
        """A grid along the LPS axes whose middle is at ``centre_lps`` [3]; spacing for i, j, k or one for all."""
        spacing = torch.as_tensor(spacing_mm, dtype=torch.float64).expand(3)
        affine = torch.eye(4, dtype=torch.float64)
        affine[:3, :3] = torch.diag(spacing)
        last = torch.tensor(shape[::-1], dtype=torch.float64) - 1
        affine[:3, 3] = torch.as_tensor(centre_lps, dtype=torch.float64) - spacing * last / 2
        return cls(affine, shape)

    def part(self, start: Sequence[float], step: Sequence[float], shape: tuple[int, int, int]) -> Grid:
        """The lattice whose first voxel is at ``start`` and whose steps are ``step``: voxels of this one, (k, j, i).

        Both may be fractions.
        """
        affine = self.affine.clone()
        affine[:3, 3] += self.affine[:3, :3] @ torch.tensor(start[::-1], dtype=torch.float64)
        affine[:3, :3] *= torch.tensor(step[::-1], dtype=torch.float64)
        return Grid(affine, shape)

    @property
    def spacing_mm(self) -> Tensor:
        """Voxel size along i, j, k: [3] float64."""
        return self.affine[:3, :3].norm(dim=0)

    @property
    def centre_lps(self) -> Tensor:
        """The middle of the grid: [3] float64, LPS."""
        last = torch.tensor(self.shape[::-1], dtype=torch.float64) - 1
        return self.affine[:3, :3] @ (last / 2) + self.affine[:3, 3]

    def points(self, device: torch.device | str = "cpu") -> Tensor:
        """Voxel centres: [k, j, i, 3] float32, LPS millimetres."""
        k, j, i = (torch.arange(n, dtype=torch.float32, device=device) for n in self.shape)
        matrix = self.affine[:3, :3].to(device=device, dtype=torch.float32)
        offset = self.affine[:3, 3].to(device=device, dtype=torch.float32)
        row = i[None, None, :, None] * matrix[:, 0] + j[None, :, None, None] * matrix[:, 1]
        return row + k[:, None, None, None] * matrix[:, 2] + offset


class Neck(Protocol):
    """One digital neck: geometry and materials, not yet scanned. Everything follows from ``seed`` and ``style``.

    The neck's own frame is LPS millimetres (x to the patient's left, y to the back, z up), upright, with the middle of
    the C4 vertebral body near the origin. Head tilt, position on the table and orientation of the image are the
    scanner's business.

    present: [2] bool, left and right: False where surgery left no bifurcation. lower_mm, upper_mm: the range of z that
    is modelled; where nothing limits it, -230 or lower and 170 or higher. metal: dental metal, stents, clips, which
    cause streaks, [n, 4]: centre (LPS), radius of a ball of as much metal. dense: [n, 4]: centre, radius of dense
    contrast (subclavian or jugular vein) and of the shoulders' bone. facts: what the cohort tables report: bifurcation
    level, stenosis, plaque, ...
    """

    seed: int
    style: str
    present: Tensor
    lower_mm: float
    upper_mm: float
    metal: Tensor
    dense: Tensor
    facts: Facts

    def bifurcations(self, up: Tensor) -> Tensor:
        """Left and right bifurcation, [2, 3] float64 LPS, for axial levels stacked along ``up`` [3], unit, neck frame.

        The apex of the flow divider: going up level by level, on the first level at which the common carotid's lumen
        has become two separate lumens, the midpoint of the wall between them. Where `present` is False: where the
        bifurcation would have been, so that a training sample can look there.
        """
        ...

    def render(self, grids: Sequence[Grid], device: torch.device | str = "cpu") -> list[Tensor]:
        """Noise-free HU on each grid: float32 [k, j, i], with partial volume at that grid's voxel size.

        Grids may be oblique and anisotropic; the same neck on two grids shows the same anatomy. Deterministic.
        """
        ...
