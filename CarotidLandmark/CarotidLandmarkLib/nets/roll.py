"""How far a patient is rolled about the long axis: turned back by as much, the left side mirrors the right one."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .pyramid import AIR_HU, Pyramid

SPACING_MM = 8.0
ANGLES = torch.arange(-75.0, 76.0, 7.5, dtype=torch.float64)
# Air counts nothing, enamel no more than bone.
HU_WINDOW = (-200.0, 600.0)
# The nets know patients who are rolled less, and near 90 degrees front and back look like sides. A roll is undone where
# that makes the sides more alike by so much of 1: in 90 of 92 real scans turned by 30 degrees, in none as they are, in
# one of 92 half necks (docs/results/roll.md).
LEAST_ROLL_DEGREES, LARGEST_ROLL_DEGREES = 15.0, 65.0
LEAST_GAIN = 0.15


def roll_to_undo(pyramid: Pyramid) -> float:
    """The roll in degrees, positive onto the left side, where it is large and plain to see; else 0."""
    roll, gain = roll_degrees(pyramid)
    return roll if LEAST_ROLL_DEGREES <= abs(roll) <= LARGEST_ROLL_DEGREES and gain >= LEAST_GAIN else 0.0


def roll_degrees(pyramid: Pyramid) -> tuple[float, float]:
    """The roll, in degrees up to 75, positive onto the left side; and by how much its undoing adds to the symmetry.

    Symmetry, 0 to 1: the scan's product with its mirror image across the best sagittal plane, as a share of its square.
    """
    symmetry = _symmetry(_slices(pyramid))
    best = int(symmetry.argmax().clamp(1, len(ANGLES) - 2))
    before, there, after = symmetry[best - 1 : best + 2].tolist()  # of the parabola through the three the vertex
    bend = before - 2 * there + after
    off = 0.5 * (before - after) / bend if bend < 0 else 0.0
    roll = float(ANGLES[best]) + max(-1.0, min(1.0, off)) * float(ANGLES[1] - ANGLES[0])
    return roll, float(symmetry.max() - symmetry[len(ANGLES) // 2])


def _slices(pyramid: Pyramid) -> Tensor:
    """The scan as axial slices [k, j, i] of `SPACING_MM`, 0 to 1, square and large enough to be turned in."""
    edges_mm = pyramid.affine_lps[:3, :3].abs() @ torch.tensor(pyramid.size_ijk).double()
    i, j, k = (float(edge) / SPACING_MM for edge in edges_mm)
    level, across = pyramid.levels[pyramid.scales_mm[0]].reduced(SPACING_MM), math.ceil(math.hypot(i, j))
    middle = torch.as_tensor(pyramid.volume.centre_lps).to(level.values)[None]
    low, high = HU_WINDOW
    values = level.patches(middle, SPACING_MM, (math.ceil(k), across, across))[0, 0]
    return ((values + (AIR_HU - low)) / (high - low)).clamp(0, 1)


def _symmetry(slices: Tensor) -> Tensor:
    """Of the slices, turned back by each of the angles."""
    across, origin = slices.shape[-1], torch.zeros(3, dtype=torch.float64)
    lying = torch.stack([turn(origin, float(angle))[:2, [0, 1, 3]] for angle in ANGLES])
    with torch.autocast(slices.device.type, enabled=False):  # bfloat16 would round where a slice is turned to
        grid = F.affine_grid(lying.to(slices), [len(ANGLES), 1, across, across], align_corners=False)
    turned = F.grid_sample(slices.expand(len(ANGLES), *slices.shape), grid, align_corners=False)
    # The product with the mirror image, across every plane at once: a convolution of each row with itself.
    rows = torch.fft.rfft(turned, n=2 * across)
    products = torch.fft.irfft(rows.square().sum((1, 2)), n=2 * across)
    return (products.amax(-1) / turned.square().sum((1, 2, 3)).clamp(min=1e-9)).cpu().double()


def turn(middle_lps: Tensor, degrees: float) -> Tensor:
    """[4, 4] float64: a turn about the long axis through a point, from the patient's left towards the back."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    transform = torch.eye(4, dtype=torch.float64)
    transform[:2, :2] = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    transform[:3, 3] = middle_lps - transform[:3, :3] @ middle_lps
    return transform
