"""A training batch as the chain sees it: boxes around the landmarks in place of whole scans."""

from __future__ import annotations

import torch
from CarotidLandmarkLib.nets.pyramid import AIR_HU, mapped, sample_lattice
from torch import Tensor

from ..batches.batch import SampleBatch
from ..batches.stream import COARSE_MM


class BatchView:
    """`chain.View` of a `SampleBatch`, seen through one affine per sample (LPS mm to LPS mm; None: as it is).

    Outside its boxes is air, so crops must stay within their slack. No voxel is resampled before the crop. ``window``:
    middles [B, 3] and shape (k, j, i) of the part of the coarse views to look at; None: all of them.
    """

    def __init__(
        self,
        batch: SampleBatch,
        affines_lps: Tensor | None = None,
        window: tuple[Tensor, tuple[int, int, int]] | None = None,
    ):
        self.batch = batch
        self.affines_lps = affines_lps
        self.window = window

    def whole(self, scale_mm: float) -> tuple[Tensor, Tensor]:
        """The coarse views [B, 1, k, j, i], air = 0, and their middles [B, 3]. Raises ValueError on another scale."""
        coarse = self.batch.coarse
        if scale_mm != COARSE_MM:
            raise ValueError(f"Batches hold the whole scan at {COARSE_MM:g} mm.")
        if self.affines_lps is None and self.window is None:
            return above_air(coarse), self.coarse_middles()
        affine = _lattices(self.batch.coarse_origin_lps, scale_mm)
        if self.affines_lps is not None:
            affine = self.affines_lps @ affine
        middles, shape = self.window or (self.whole_middles(), coarse.shape[2:])
        return sample_lattice(above_air(coarse), affine, middles[:, None], scale_mm, shape)[:, 0], middles

    def patches(self, scale_mm: float, centres_lps: Tensor, size: int) -> Tensor:
        """Cubes around centres [B, L, P, 3]: [B, L, P, 1, size, size, size], differentiable in the centres."""
        boxes = self.batch.boxes[scale_mm]
        batch, landmarks = boxes.shape[:2]
        affine = _lattices(self.batch.box_origins_lps[scale_mm].flatten(0, 1), scale_mm)
        if self.affines_lps is not None:
            affine = self.affines_lps.repeat_interleave(landmarks, dim=0) @ affine
        cubes = sample_lattice(above_air(boxes).flatten(0, 1), affine, centres_lps.flatten(0, 1), scale_mm, (size,) * 3)
        return cubes.unflatten(0, (batch, landmarks))

    def coarse_middles(self) -> Tensor:
        """Middles of the coarse views before the affines, [B, 3]."""
        k, j, i = self.batch.coarse.shape[2:]
        last = torch.tensor([i - 1, j - 1, k - 1], device=self.batch.coarse.device)
        return self.batch.coarse_origin_lps + last * COARSE_MM / 2

    def whole_middles(self) -> Tensor:
        """Middles of the coarse views as they are seen, [B, 3]."""
        return self._moved(self.coarse_middles())

    def box_middles(self, scale_mm: float) -> Tensor:
        """Middles of the boxes as they are seen, [B, L, 1, 3]."""
        side = self.batch.boxes[scale_mm].shape[-1]
        return self._moved(self.batch.box_origins_lps[scale_mm] + (side - 1) / 2 * scale_mm)[:, :, None]

    def slack_mm(self, scale_mm: float, patch_size: int) -> float:
        """How far a patch may lie from its box's middle without leaving the box."""
        return (self.batch.boxes[scale_mm].shape[-1] - patch_size) / 2 * scale_mm

    def _moved(self, points: Tensor) -> Tensor:
        """Points [B, ..., 3] through the affines."""
        if self.affines_lps is None:
            return points
        affine = self.affines_lps.to(points.device, torch.float32)
        offset = affine[:, :3, 3].reshape(len(affine), *(1,) * (points.ndim - 2), 3)
        return mapped(affine[:, :3, :3], points) + offset


def _lattices(origins_lps: Tensor, spacing_mm: float) -> Tensor:
    """Affines [N, 4, 4] float64 on the CPU of lattices along the LPS axes with their first voxels at [N, 3]."""
    affine = torch.diag(torch.tensor([spacing_mm, spacing_mm, spacing_mm, 1.0], dtype=torch.float64))
    affine = affine.repeat(len(origins_lps), 1, 1)
    affine[:, :3, 3] = origins_lps.cpu().double()
    return affine


def above_air(hu: Tensor) -> Tensor:
    """HU -> float32 with air = 0, as the pyramid has it."""
    return (hu.float() - AIR_HU).clamp(min=0)
