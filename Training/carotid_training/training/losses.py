"""What training minimises: distances in patient millimetres at every scale, heatmaps, presence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from CarotidLandmarkLib.nets.chain import ScaleOutput
from CarotidLandmarkLib.nets.locnet import lattice_offsets
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveFloat
from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """The loss. The defaults are ours; `configs/paper.yaml` sets the paper's.

    Args:
        distance: squared (the paper's, mm^2) or robust (pseudo-Huber in voxels: a gross error does not drown the rest).
        schedule: How scales are weighed: constant, or paper, from the coarsest to the finest as the training goes on.
        heatmap_weight: Of the heatmaps' cross-entropy against a Gaussian at the truth. 0: the paper, which has no
            heatmap target; at 0.3 its gradient in the finer nets was a tenth of the distance's, and they learnt slowly.
        heatmap_sd_voxels: Sd of that Gaussian, voxels of each scale.
        presence_weight: Of the binary cross-entropy of presence.
        teacher_until: Up to this share of the training, finer scales crop near the truth, not where the chain points.
        tied_until: Up to this share, the finer nets (of equal widths) are one net that learns from all their patches.
    """

    distance: Literal["squared", "robust"] = "robust"
    schedule: Literal["paper", "constant"] = "constant"
    heatmap_weight: NonNegativeFloat = 3.0
    heatmap_sd_voxels: PositiveFloat = 1.0
    presence_weight: NonNegativeFloat = 0.3
    teacher_until: ClosedUnitInterval = 0.5
    tied_until: ClosedUnitInterval = 0.0


def schedule_weights(schedule: str, scales: int, progress: float) -> list[float]:
    """Weight of each scale's loss, coarsest first, at ``progress`` in [0, 1].

    The paper: coarsest 1 -> 0, finest 0 -> 1, those between 0 -> 1 at half time -> 0; linear, constant within an epoch.
    """
    if schedule == "constant":
        return [1.0] * scales
    between = 1 - abs(2 * progress - 1)
    return [1 - progress] + [between] * (scales - 2) + [progress]


def distance_loss(output: ScaleOutput, truth_lps: Tensor, present: Tensor, distance: str) -> Tensor:
    """Mean over present landmarks [B, L] and passes; truth_lps [B, L, 3]. Zero where nothing is present."""
    squared = (output.position_lps - truth_lps[:, :, None].nan_to_num()).square().sum(-1)
    if distance == "robust":
        squared = (1 + squared / output.scale_mm**2).sqrt() - 1
    return _mean(squared, present[:, :, None].expand_as(squared))


def heatmap_loss(
    output: ScaleOutput, truth_lps: Tensor, present: Tensor, flipped: list[bool], sd_voxels: float
) -> Tensor:
    """Cross-entropy of softmax heatmaps against a Gaussian at the truth, where the truth lies inside the patch."""
    shape = output.logits.shape[-3:]
    sign = torch.tensor([[-1.0 if f else 1.0, 1.0, 1.0] for f in flipped], device=truth_lps.device)[:, None]
    offset = (
        truth_lps[:, :, None].nan_to_num() - output.centre_lps.detach()
    ) * sign  # [B, L, P, 3] in the net's own view
    axes = lattice_offsets(shape, output.scale_mm, truth_lps.device)  # x, y, z
    reach = torch.tensor([axis[-1] for axis in axes], device=truth_lps.device)
    inside = (offset.abs() <= reach).all(-1) & present[:, :, None]
    x, y, z = (
        (-0.5 * ((axis - offset[..., n, None]) / (sd_voxels * output.scale_mm)) ** 2).softmax(-1)
        for n, axis in enumerate(axes)
    )
    target = z[..., :, None, None] * (y[..., :, None] * x[..., None, :])[..., None, :, :]
    expected = (target * output.logits).sum((-3, -2, -1))
    return _mean(output.logits.flatten(-3).logsumexp(-1) - expected, inside)


def presence_loss(logit: Tensor, present: Tensor) -> Tensor:
    """Binary cross-entropy, [B, L]."""
    return F.binary_cross_entropy_with_logits(logit, present.float())


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)
