"""A training batch as the chain sees it: boxes around the landmarks in place of whole scans."""

from __future__ import annotations

import torch
from CarotidLandmarkLib.pyramid import AIR_HU, sample_lattice
from torch import Tensor

from .stream import COARSE_MM, SampleBatch


class BatchView:
    """`multiscale.View` of a `SampleBatch`. Outside its boxes is air, so crops must stay within their slack."""

    def __init__(self, batch: SampleBatch):
        self.batch = batch

    def whole(self, scale_mm: float, multiple: int) -> tuple[Tensor, Tensor]:
        """The coarse views [B, 1, k, j, i], air = 0, and their middles [B, 3]. Raises ValueError on another scale."""
        coarse = self.batch.coarse
        if scale_mm != COARSE_MM or any(n % multiple for n in coarse.shape[2:]):
            raise ValueError(f"Batches hold the whole scan at {COARSE_MM:g} mm, in multiples that the net can halve.")
        k, j, i = coarse.shape[2:]
        last = torch.tensor([i - 1, j - 1, k - 1], device=coarse.device)
        return above_air(coarse), self.batch.coarse_origin_lps + last * scale_mm / 2

    def patches(self, scale_mm: float, centres_lps: Tensor, size: int) -> Tensor:
        """Cubes around centres [B, L, P, 3]: [B, L, P, 1, size, size, size], differentiable in the centres."""
        boxes = self.batch.boxes[scale_mm]
        batch, landmarks = boxes.shape[:2]
        origins = self.batch.box_origins_lps[scale_mm].flatten(0, 1)
        affine = torch.diag(torch.tensor([scale_mm, scale_mm, scale_mm, 1.0])).repeat(len(origins), 1, 1)
        affine[:, :3, 3] = origins.cpu()
        cubes = sample_lattice(above_air(boxes).flatten(0, 1), affine, centres_lps.flatten(0, 1), scale_mm, (size,) * 3)
        return cubes.unflatten(0, (batch, landmarks))

    def box_middles(self, scale_mm: float) -> Tensor:
        """[B, L, 1, 3] LPS mm."""
        side = self.batch.boxes[scale_mm].shape[-1]
        return (self.batch.box_origins_lps[scale_mm] + (side - 1) / 2 * scale_mm)[:, :, None]

    def slack_mm(self, scale_mm: float, patch_size: int) -> float:
        """How far a patch may lie from its box's middle without leaving the box."""
        return (self.batch.boxes[scale_mm].shape[-1] - patch_size) / 2 * scale_mm


def above_air(hu: Tensor) -> Tensor:
    """HU -> float32 with air = 0, as the pyramid has it."""
    return (hu.float() - AIR_HU).clamp(min=0)
