"""Augmentation of a batch on its device: geometry as affines that the sampling lattice sees through, and intensity."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.nets.pyramid import AIR_HU, mapped
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveInt
from torch import Tensor

from ..batches.batch import SampleBatch
from ..batches.stream import COARSE_MM

WINDOW_MARGIN_MM = 16.0
# Beyond it nothing is like a scan any more; a shear of 0.5 turns one in a thousand inside out.
WILDEST = {
    "rotation_degrees": 180.0, "scale": 1.0, "shear": 0.3, "shift_mm": 1000.0, "gain": 2.0, "offset_hu": 3000.0,
    "noise_hu": 3000.0,
}  # fmt: skip


@dataclass(frozen=True)
class Augmentation:
    """How far samples are moved and recoloured; a number is the bound of a uniform draw, and 0 switches it off.

    Args:
        rotation_degrees: Turn about each axis, degrees.
        scale: Stretch along each axis, a share (of its logarithm).
        shear: Shear, a share.
        shift_mm: Shift along each axis, mm.
        mirror_share: Probability that left and right are exchanged.
        gain: Contrast above -50 HU, a share (of its logarithm).
        offset_hu: Brightness of all that is no air, HU.
        noise_hu: Largest sd of noise at 0.5 mm, HU; coarser views average it.
        coarse_window: No augmentation: voxels (k, j, i) of the coarse view that a step sees at most, somewhere around
            the landmarks (the arch-to-vertex scan whole would cost seven times as much), and at least half as many
            along the body, for short scans are scans, too.
    """

    rotation_degrees: NonNegativeFloat = 12.0
    scale: NonNegativeFloat = 0.12
    shear: NonNegativeFloat = 0.05
    shift_mm: NonNegativeFloat = 12.0
    mirror_share: ClosedUnitInterval = 0.5
    gain: NonNegativeFloat = 0.25
    offset_hu: NonNegativeFloat = 25.0
    noise_hu: NonNegativeFloat = 25.0
    coarse_window: tuple[PositiveInt, PositiveInt, PositiveInt] = (64, 56, 64)

    def __post_init__(self) -> None:
        """Raises UserError on what is beyond `WILDEST`."""
        for name, most in WILDEST.items():
            if not getattr(self, name) <= most:
                raise UserError(f"The augmentation's {name} is {most:g} at most, and not {getattr(self, name):g}.")


def draw_affines(how: Augmentation, middles_lps: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random affines about ``middles_lps`` [B, 3]: [B, 4, 4] float64 on the CPU, and which of them mirror [B] bool."""
    batch = len(middles_lps)

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand((batch, *shape), generator=generator, dtype=torch.float64) - 1

    matrix = _rotations(uniform(3) * math.radians(how.rotation_degrees))
    matrix = matrix @ (torch.eye(3, dtype=torch.float64) + how.shear * uniform(3, 3))
    mirrored = (uniform() + 1) / 2 < how.mirror_share
    stretch = (how.scale * uniform(3)).exp()
    stretch[:, 0] *= torch.where(mirrored, -1.0, 1.0)
    matrix = matrix @ torch.diag_embed(stretch)
    affine = torch.eye(4, dtype=torch.float64).repeat(batch, 1, 1)
    affine[:, :3, :3] = matrix
    middles = middles_lps.cpu().double()
    shift = how.shift_mm * uniform(3)
    affine[:, :3, 3] = middles + shift - torch.einsum("bxy,by->bx", matrix, middles)
    return affine, mirrored


def move_truth(batch: SampleBatch, affines: Tensor, mirrored: Tensor, counterpart: list[int]) -> SampleBatch:
    """The batch with landmarks where the affines put them; mirroring a scan exchanges left and right.

    Boxes and their origins are exchanged with the landmarks that they belong to, but stay in the unmoved frame: a
    `BatchView` sees them through the affines.
    """
    device = batch.landmarks_lps.device
    matrix = affines.to(device, torch.float32)
    moved = mapped(matrix[:, :3, :3], batch.landmarks_lps) + matrix[:, None, :3, 3]
    swap = torch.tensor(counterpart, device=device)
    straight = torch.arange(len(counterpart), device=device)
    order = torch.where(mirrored.to(device)[:, None], swap, straight)  # [B, L]
    row = torch.arange(len(order), device=device)[:, None]
    return replace(
        batch,
        landmarks_lps=moved[row, order],
        present=batch.present[row, order],
        boxes={scale: box[row, order] for scale, box in batch.boxes.items()},
        box_origins_lps={scale: origin[row, order] for scale, origin in batch.box_origins_lps.items()},
    )


def draw_window(
    how: Augmentation, middles_lps: Tensor, truth_lps: Tensor, shape: tuple[int, int, int], generator: torch.Generator
) -> tuple[Tensor, tuple[int, int, int]]:
    """A window of the coarse views: middles [B, 3] and its shape (k, j, i).

    middles_lps [B, 3] and shape (k, j, i): the whole views. The window holds every landmark (truth_lps [B, L, 3],
    NaN if absent), longer than drawn where they are farther apart, and lies inside the view where that is possible.
    """
    absent = truth_lps.isnan()
    lowest, highest = torch.where(absent, torch.inf, truth_lps), torch.where(absent, -torch.inf, truth_lps)
    apart = (highest.amax(dim=1) - lowest.amin(dim=1)).amax(dim=0).clamp(min=0)  # [3]; -inf where all are absent
    needed = [8 * math.ceil((float(mm) + 2 * WINDOW_MARGIN_MM) / (8 * COARSE_MM)) for mm in apart.flip(0)]  # k, j, i
    length = how.coarse_window[0] - 8 * int(torch.randint(how.coarse_window[0] // 16 + 1, (), generator=generator))
    wanted = (max(drawn, least) for drawn, least in zip((length, *how.coarse_window[1:]), needed, strict=True))
    k, j, i = (min(size, limit) for size, limit in zip(shape, wanted, strict=True))
    half = torch.tensor([i, j, k], device=middles_lps.device) * COARSE_MM / 2
    room = torch.tensor([shape[2] - i, shape[1] - j, shape[0] - k], device=middles_lps.device) * COARSE_MM / 2
    u = (2 * torch.rand(middles_lps.shape, generator=generator) - 1).to(middles_lps.device)
    middles = middles_lps + u * room
    inner = (half - WINDOW_MARGIN_MM).clamp(min=0)
    least = highest.amax(dim=1) - inner  # up to the highest landmark
    most = lowest.amin(dim=1) + inner  # down to the lowest
    return torch.minimum(torch.maximum(middles, least), torch.maximum(least, most)), (k, j, i)


def recolour(how: Augmentation, batch: SampleBatch, generator: torch.Generator) -> SampleBatch:
    """Another contrast, offset and noise per sample; the same at every scale. Air stays air."""
    size = len(batch.present)
    device = batch.coarse.device

    def uniform() -> Tensor:
        return (2 * torch.rand(size, generator=generator) - 1).to(device)

    gain, offset = (how.gain * uniform()).exp(), how.offset_hu * uniform()
    noise = how.noise_hu * uniform().abs() ** 2
    seed = int(torch.randint(2**31, (), generator=generator))
    random = torch.Generator(device).manual_seed(seed)

    def changed(hu: Tensor, scale_mm: float) -> Tensor:
        shape = (size,) + (1,) * (hu.ndim - 1)
        values = hu.float()
        brighter = values + (gain.view(shape) - 1) * (values + 50).clamp(min=0) + offset.view(shape)
        sd = noise.view(shape) * (0.5 / scale_mm) ** 1.5
        brighter = brighter + sd * torch.randn(hu.shape, generator=random, device=device)
        return torch.where(values > AIR_HU + 200, brighter, values).clamp(AIR_HU, 3071).half()

    return replace(
        batch,
        coarse=changed(batch.coarse, 4.0),
        boxes={scale: changed(box, scale) for scale, box in batch.boxes.items()},
    )


def _rotations(angles: Tensor) -> Tensor:
    """Rotations about x, y, z by angles [B, 3] in radians: [B, 3, 3] float64."""
    generators = torch.zeros(3, 3, 3, dtype=torch.float64)
    generators[0, 1, 2], generators[0, 2, 1] = -1, 1
    generators[1, 0, 2], generators[1, 2, 0] = 1, -1
    generators[2, 0, 1], generators[2, 1, 0] = -1, 1
    x, y, z = (torch.matrix_exp(angles[:, n, None, None] * generators[n]) for n in range(3))
    return z @ y @ x
