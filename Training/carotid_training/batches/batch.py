"""A batch of training samples, as the chain of Loc-Nets sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from CarotidLandmarkLib.errors import UserError
from torch import Tensor

from ..scans.scanner import AIR_HU


@dataclass(frozen=True)
class SampleBatch:
    """B necks, as the chain sees them. HU as float16; outside the scan is air (-1024).

    coarse: [B, 1, K, J, I] at 4 mm on a lattice along the LPS axes; coarse_origin_lps: [B, 3], the middle of voxel 0.
    boxes: scale in mm -> [B, L, 1, N, N, N] around each of the L landmarks (of whole fields one for all);
    box_origins_lps: scale -> [B, L, 3]. landmarks_lps: [B, L, 3] float32, NaN where absent; present: [B, L] bool.
    """

    index: int
    coarse: Tensor
    coarse_origin_lps: Tensor
    boxes: dict[float, Tensor]
    box_origins_lps: dict[float, Tensor]
    landmarks_lps: Tensor
    present: Tensor

    def to(self, device: torch.device) -> SampleBatch:
        def moved(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: moved(each) for key, each in value.items()}
            return value.to(device, non_blocking=device.type == "cuda") if isinstance(value, Tensor) else value

        return SampleBatch(**{name: moved(value) for name, value in vars(self).items()})


def share_memory(batch: SampleBatch) -> SampleBatch:
    """The batch, in memory that processes share, as a worker hands it over. Raises UserError where that is full.

    Torch would do it in a thread whose errors are printed and forgotten, and training would wait for ever.
    """
    tensors = (batch.coarse, batch.coarse_origin_lps, batch.landmarks_lps, batch.present)
    try:
        for tensor in (*tensors, *batch.boxes.values(), *batch.box_origins_lps.values()):
            tensor.share_memory_()
    except RuntimeError as error:
        raise UserError(
            "The memory that processes share (/dev/shm) is too small for the batches of a training; give it more, as "
            "with docker run --shm-size=2g."
        ) from error
    return batch


def joined(batches: Sequence[SampleBatch], index: int) -> SampleBatch:
    """Several batches of boxes of the same sizes as one; coarse views are padded with air at their far ends."""
    largest = [max(batch.coarse.shape[dim] for batch in batches) for dim in (2, 3, 4)]

    def grown(coarse: Tensor) -> Tensor:
        k, j, i = (large - size for large, size in zip(largest, coarse.shape[2:], strict=True))
        return F.pad(coarse, (0, i, 0, j, 0, k), value=AIR_HU) if i or j or k else coarse

    def along(name: str) -> dict[float, Tensor]:
        parts = [getattr(batch, name) for batch in batches]
        return {scale: torch.cat([part[scale] for part in parts]) for scale in parts[0]}

    return SampleBatch(
        index=index,
        coarse=torch.cat([grown(batch.coarse) for batch in batches]),
        coarse_origin_lps=torch.cat([batch.coarse_origin_lps for batch in batches]),
        boxes=along("boxes"),
        box_origins_lps=along("box_origins_lps"),
        landmarks_lps=torch.cat([batch.landmarks_lps for batch in batches]),
        present=torch.cat([batch.present for batch in batches]),
    )
