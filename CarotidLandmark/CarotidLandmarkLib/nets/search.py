"""The search in a scan turned upright, smoothed, brighter, enlarged, as need be: like the necks that the nets know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .chain import MultiScaleLocNet, ScaleOutput
from .noise import noise_hu
from .pyramid import AIR_HU, Pyramid
from .roll import roll_to_undo, turn

# More noise than training draws. Such a scan is seen as if its patches were of so many mm, that is blurred by 0.8 mm
# (docs/results/views.md).
NOISY_HU, SMOOTH_MM = 45.0, 1.8
# Mean peaks from which there is no other view.
CLEAR = 14.0
# Of what is brighter than soft tissue. Of 458 places in ten cohorts of digital necks 44 are over 10 mm off in the plain
# upright scans, 32 as taken with this view and the enlarged one (docs/results/views.md).
CONTRAST = 1.6
ENLARGEMENT = 1.5
# Where a body is nowhere narrower it is no child's, and not looked at enlarged, which takes twice as long. Of 100
# adults' digital necks 90 were wider, of 12 children's none (docs/results/body-width.md).
WIDEST_CHILD_MM2 = 8000.0
TISSUE_HU = -300.0
# Of an enlarged scan at the coarsest scale; a larger one is left as it is: it would take longer than all the rest, and
# shows more than the neck of a child.
LARGEST_LATTICE = 2_000_000


@dataclass(frozen=True)
class SearchResult:
    """What `MultiScaleLocNet.search` found in the view of one scan (B = 1) in which its landmarks are clearest.

    ``outputs`` and ``looks`` are in the millimetres of the ``view``, of a patient who lies upright (``rolled`` degrees
    onto the left side are undone) and may be enlarged; `in_patient` and `covariance_in_patient` lead back.
    ``noise_hu``: that of the scan, which was smoothed for it; 0: it was not. ``others``: what was found in less clear
    views.
    """

    view: Pyramid
    outputs: list[ScaleOutput]
    looks: ScaleOutput
    rolled: float = 0.0
    noise_hu: float = 0.0
    others: tuple[SearchResult, ...] = ()

    def places(self) -> tuple[Tensor, Tensor]:
        """Where the looks in all views ended, in the patient [B, L, K, 3], and their peaks [B, L, K].

        Views that disagree are a reason for doubt; the place that was taken is the first of the highest peak.
        """
        highest = self.looks.peak.amax(-1, keepdim=True)
        places = [each.in_patient(each.looks.position_lps) for each in (self, *self.others)]
        peaks = [self.looks.peak, *(other.looks.peak.minimum(highest) for other in self.others)]
        return torch.cat(places, dim=2), torch.cat(peaks, dim=2)

    @property
    def clearness(self) -> float:
        """The mean over the landmarks of the peaks that were taken."""
        return float(self.outputs[-1].peak.float().mean())

    def in_patient(self, positions_lps: Tensor) -> Tensor:
        """Positions [..., 3] of the view in patient millimetres."""
        to_patient = self.view.to_patient.to(positions_lps)
        return positions_lps @ to_patient[:3, :3].T + to_patient[:3, 3]

    def covariance_in_patient(self, covariance_mm2: Tensor) -> Tensor:
        """Covariances [..., 3, 3] of the view in square millimetres of the patient."""
        linear = self.view.to_patient[:3, :3].to(covariance_mm2)
        return linear @ covariance_mm2 @ linear.T


def seek(net: MultiScaleLocNet, pyramid: Pyramid, step: Callable[[str, float], None]) -> SearchResult:
    """Search the scan, turned upright and, if noisy, smoothed; where its peaks are not clear, in other views, too.

    The highest peaks are kept.

    Other views: as if there were more contrast agent; enlarged, if it may be a child's. A net that does not search sees
    the scan as it is. ``step`` is told the name of each search before it, and which share of the work is done.
    """
    step("coarse", 0.0)
    if not net.architecture.searches:
        return SearchResult(pyramid, *net.search(pyramid))
    rolled = roll_to_undo(pyramid)
    upright = pyramid.seen_through(turn(torch.as_tensor(pyramid.volume.centre_lps), -rolled)) if rolled else pyramid
    noise = noise_hu(pyramid.volume)
    noise = noise if noise > NOISY_HU else 0.0
    upright = upright.smoothed(SMOOTH_MM) if noise else upright
    results = [SearchResult(upright, *net.search(upright), rolled, noise)]
    if results[0].clearness >= CLEAR:
        return results[0]
    views = [("brighter", upright.brightened(CONTRAST))]
    if _lattice(pyramid) * ENLARGEMENT**3 <= LARGEST_LATTICE and narrowest_mm2(pyramid) <= WIDEST_CHILD_MM2:
        views.append(("enlarged", upright.enlarged(ENLARGEMENT)))
    for done, (name, view) in enumerate(views, start=1):
        step(name, done / (len(views) + 1))
        results.append(SearchResult(view, *net.search(view), rolled, noise))
    # One view for all landmarks: with a view for each, wrong places in adults won.
    clearest = max(results, key=lambda each: each.clearness)
    return replace(clearest, others=tuple(each for each in results if each is not clearest))


def narrowest_mm2(pyramid: Pyramid) -> float:
    """The body's cross-section where it is narrowest, but for a twentieth of the slices: the crown of a head."""
    level = pyramid.levels[pyramid.scales_mm[0]]
    steps = level.affine_lps[:3, :3]
    up = int(steps[2].abs().argmax())  # the image axis nearest to the patient's
    slice_voxels = (level.values > TISSUE_HU - AIR_HU).movedim(2 - up, 0).flatten(1).sum(1)
    voxel_mm2 = float(steps.det().abs() / steps[:, up].norm())
    return float(slice_voxels.cpu().double().quantile(0.05)) * voxel_mm2  # MPS has no float64


def _lattice(pyramid: Pyramid) -> float:
    """Voxels of the scan at the coarsest scale."""
    i, j, k = pyramid.size_ijk
    return i * j * k * float(pyramid.affine_lps[:3, :3].det().abs()) / pyramid.scales_mm[0] ** 3
