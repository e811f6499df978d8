"""Parts of a scan's lattice, and its slices cut into finer ones and averaged again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """A part of a lattice.

    to_gantry: [4, 4] float64, window index (i, j, k, 1) -> gantry mm; start, shape, step_mm are in the order (k, j, i);
    level_mm is the pyramid level it stands for, 0 for the scan's own voxels.
    """

    to_gantry: Tensor
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    step_mm: tuple[float, float, float]
    level_mm: float
    target: tuple[slice, slice, slice] | None = None  # where the wanted grid lies in it, if it need not be resampled

    @property
    def upright(self) -> bool:
        """Slices are axial planes of the gantry."""
        return bool(self.to_gantry[2, :2].abs().max() < 1e-9)


def coordinates(affine: Tensor, shape: tuple[int, int, int], device: torch.device) -> list[Tensor]:
    """x, y, z, float32 mm, of a lattice's voxels; of shapes that broadcast to [k, j, i]. ``affine``: index to mm."""
    i, j, k = (torch.arange(n, dtype=torch.float32, device=device) for n in shape[::-1])
    index = (i[None, None, :], j[None, :, None], k[:, None, None])
    out = []
    for row in affine[:3].tolist():
        parts = [index[a] * row[a] for a in range(3) if abs(row[a]) > 1e-9]
        out.append(sum(parts[1:], parts[0]) + row[3])
    return out


def finer(window: Window, count: int, half: list[float]) -> Window:
    """The window cut into ``count`` (odd) sub-slices per slice, with the extra ones that the slice profile reaches."""
    extra = len(half) - 1
    affine = window.to_gantry.clone()
    affine[:3, 2] /= count
    affine[:3, 3] -= affine[:3, 2] * extra
    k, j, i = window.shape
    step = (window.step_mm[0] / count, *window.step_mm[1:])
    return Window(affine, window.start, ((k - 1) * count + 1 + 2 * extra, j, i), step, window.level_mm)


def average_slices(x: Tensor, slices: int, count: int, half: list[float]) -> Tensor:
    """Sub-slices averaged by the slice profile: every count-th one, [slices, j, i]."""
    extra = len(half) - 1
    if extra == 0 and count == 1:
        return x.clone()
    out = x[extra::count][:slices] * half[0]
    for o in range(1, extra + 1):
        out.add_(x[extra - o :: count][:slices], alpha=half[o])
        out.add_(x[extra + o :: count][:slices], alpha=half[o])
    return out
