"""Style "recoloured": a real CT's tissue classes, strongly deformed, with random HU, texture and blur for its own.

Domain randomisation after SynthSeg (Billot et al., doi 10.1016/j.media.2023.102789) and SynthMorph (Hoffmann et al.,
doi 10.1109/TMI.2021.3116879): what the net should not rely on is drawn far wider than plausible.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .background import AIR, BONE, FAT, SOFT, Background
from .deformation import Deformation, DeformedTissue
from .tissue_neck import TissueNeck
from .vessels import VesselTree

_REGIONS = 8  # every class is split into as many sub-regions, by the signs of three smooth fields
# Lowest and highest HU outside, of air, fat, soft tissue and bone.
_PLAUSIBLE = ((-1024.0, -980.0), (-1010.0, -930.0), (-140.0, 0.0), (-20.0, 130.0), (150.0, 1400.0))
_WILD = ((-1024.0, -800.0), (-1024.0, -300.0), (-400.0, 350.0), (-300.0, 500.0), (-300.0, 2500.0))
_OWN_MIDDLE = torch.tensor((-120.0, -120.0, -80.0, 50.0, 130.0))
_MARGIN_HU = 110.0  # soft sub-regions stay this far from the lumen's HU


def draw(seed: int, backgrounds: Sequence[Background]) -> TissueNeck:
    """A neck of recoloured tissue classes; a pure function of the seed and the backgrounds."""
    generator = torch.Generator().manual_seed(seed)
    background = backgrounds[int(torch.randint(len(backgrounds), (), generator=generator))]
    deformation = Deformation.draw(generator, strength=1.7)
    tree = VesselTree.draw(generator, wild=float(torch.rand((), generator=generator)))
    colouring = Colouring(background, generator, tree.facts["arterial_hu"])
    tissue = DeformedTissue(background, deformation, colouring)
    return TissueNeck.build(seed, "recoloured", tissue, tree, generator, metal=False)


class Colouring:
    """Random HU for the sub-regions of a background's classes; soft ones keep away from ``lumen_hu``."""

    def __init__(self, background: Background, generator: torch.Generator, lumen_hu: float):
        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return torch.rand(shape, generator=generator) * (high - low) + low

        def chance(share: float) -> bool:
            return bool(uniform(0, 1) < share)

        self.background = background
        ranges = torch.tensor(_WILD if chance(0.3) else _PLAUSIBLE)
        low, high = ranges[:, :1], ranges[:, 1:]
        middle = torch.lerp(low, high, uniform(0, 1, 5, 1))
        spread = (high - low) * uniform(0, 0.5, 5, 1)
        hu = (middle + spread * uniform(-1, 1, 5, _REGIONS)).clamp(-1024, 3071)
        for lost, other in ((BONE, SOFT), (FAT, SOFT), (AIR, SOFT), (AIR, FAT)):  # anatomy left out
            if chance(0.1):
                hu[lost] = hu[other]
        apart = hu - lumen_hu
        away = torch.where(apart < 0, -1.0, 1.0) * apart.abs().clamp(min=_MARGIN_HU)
        self.table = torch.where(
            torch.tensor([[False], [False], [True], [True], [False]]), lumen_hu + away, hu
        ).reshape(-1)
        self.regions = uniform(-1, 1, 1, 3, 9, 12, 12)
        self.own = float(uniform(-0.3, 1.0)) * chance(0.7)  # how much of the tissue's own structure shows
        self.grain = uniform(-1, 1, 1, 1, 36, 60, 60) * uniform(0, 40)
        self.blurred = chance(0.4)

    def __call__(self, device: torch.device | str) -> Tensor:
        """HU [1, 1, k, j, i] on the background's lattice."""
        hu, classes = self.background.on(device, "quiet"), self.background.on(device, "classes")
        shape = hu.shape[2:]
        signs = F.interpolate(self.regions.to(device), size=shape, mode="trilinear")[0] > 0
        index = classes.int().mul_(2).add_(signs[0]).mul_(2).add_(signs[1]).mul_(2).add_(signs[2]).view(-1)
        colour = self.table.to(device).index_select(0, index).view(hu.shape)
        # Fat and soft tissue lie between -120 and 130 HU: their own structure, and nothing of air or bone.
        own = hu.clamp(-120, 130).sub_(_OWN_MIDDLE.to(device).index_select(0, classes.int().view(-1)).view(hu.shape))
        colour.add_(own, alpha=self.own)
        colour += F.interpolate(self.grain.to(device), size=shape, mode="trilinear")
        return F.avg_pool3d(colour, 3, stride=1, padding=1, count_include_pad=False) if self.blurred else colour
