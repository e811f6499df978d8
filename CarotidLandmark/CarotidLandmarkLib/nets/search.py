"""The search in a scan as it is and enlarged: a child's neck, enlarged, looks like the necks that the nets know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .chain import MultiScaleLocNet, ScaleOutput
from .pyramid import AIR_HU, Pyramid

ENLARGEMENT = 1.5
# Where a body is nowhere narrower it is no child's, and not looked at enlarged, which is two thirds of the search. Of
# 100 adults' digital necks 90 were wider, of 12 children's one (docs/results/body-width.md).
WIDEST_CHILD_MM2 = 8000.0
TISSUE_HU = -300.0
# Of an enlarged scan at the coarsest scale; a larger one is left as it is: it would take longer than all the rest, and
# shows more than the neck of a child.
LARGEST_LATTICE = 2_000_000


@dataclass(frozen=True)
class Sought:
    """What `MultiScaleLocNet.search` found in the view of one scan (B = 1) in which its landmarks are clearest.

    ``view``, ``outputs`` and ``looks`` are in the millimetres of a patient ``size`` times as large; `in_patient` and
    `covariance_in_patient` lead back.
    """

    size: float
    view: Pyramid
    outputs: list[ScaleOutput]
    looks: ScaleOutput

    def in_patient(self, positions_lps: Tensor) -> Tensor:
        """Positions [..., 3] of the view in patient millimetres."""
        middle = torch.as_tensor(self.view.volume.centre_lps).to(positions_lps)
        return middle + (positions_lps - middle) / self.size

    def covariance_in_patient(self, covariance_mm2: Tensor) -> Tensor:
        """Covariances [..., 3, 3] of the view in square millimetres of the patient."""
        return covariance_mm2 / self.size**2


def seek(net: MultiScaleLocNet, pyramid: Pyramid, step: Callable[[str, float], None]) -> Sought:
    """Search the scan as it is and, if it may be a child's, enlarged, and keep that with the higher peaks.

    A net that does not search sees the scan as it is. ``step`` is told the name of each search before it, and which
    share of the work is done.
    """
    step("coarse", 0.0)
    plain = Sought(1.0, pyramid, *net.search(pyramid))
    too_large = _lattice(pyramid) * ENLARGEMENT**3 > LARGEST_LATTICE
    if not net.searches or too_large or narrowest_mm2(pyramid) > WIDEST_CHILD_MM2:
        return plain
    step("enlarged", 0.3)
    enlarged = pyramid.enlarged(ENLARGEMENT)
    other = Sought(ENLARGEMENT, enlarged, *net.search(enlarged))
    # One size for all landmarks: with a size for each, wrong places in adults won.
    lead = (other.outputs[-1].peak - plain.outputs[-1].peak).mean()
    return other if lead > 0 else plain


def narrowest_mm2(pyramid: Pyramid) -> float:
    """The body's cross-section where it is narrowest, but for a twentieth of the slices: the crown of a head."""
    level = pyramid.levels[pyramid.scales_mm[0]]
    steps = level.affine_lps[:3, :3]
    up = int(steps[2].abs().argmax())  # the image axis nearest to the patient's
    slice_voxels = (level.values > TISSUE_HU - AIR_HU).movedim(2 - up, 0).flatten(1).sum(1)
    voxel_mm2 = float(steps.det().abs() / steps[:, up].norm())
    return float(slice_voxels.double().quantile(0.05)) * voxel_mm2


def _lattice(pyramid: Pyramid) -> float:
    """Voxels of the scan at the coarsest scale."""
    i, j, k = pyramid.size_ijk
    return i * j * k * float(pyramid.affine_lps[:3, :3].det().abs()) / pyramid.scales_mm[0] ** 3
