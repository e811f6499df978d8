"""Style "recoloured": a real CT's tissue classes, strongly deformed, with random HU, texture and blur for its own.

Domain randomisation after SynthSeg (Billot et al., doi 10.1016/j.media.2023.102789) and SynthMorph (Hoffmann et al.,
doi 10.1109/TMI.2021.3116879): what the net should not rely on is drawn far wider than plausible.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dice import Dice
from ..solids.shapes import Cones, Ellipsoids
from ..vessels.tree import VesselTree
from .background import AIR, BONE, FAT, SOFT, Background
from .deformation import Deformation, DeformedTissue
from .neck import Decoys, TissueNeck

_REGIONS = 8  # every class is split into as many sub-regions, by the signs of three smooth fields
# Lowest and highest HU outside, of air, fat, soft tissue and bone.
_PLAUSIBLE = ((-1024.0, -980.0), (-1010.0, -930.0), (-140.0, 0.0), (-20.0, 130.0), (150.0, 1400.0))
_WILD = ((-1024.0, -800.0), (-1024.0, -300.0), (-400.0, 350.0), (-300.0, 500.0), (-300.0, 2500.0))
_OWN_MIDDLE = torch.tensor((-120.0, -120.0, -80.0, 50.0, 130.0))
_MARGIN_HU = 110.0  # soft sub-regions stay this far from the carotids' HU
_LEAST_CONTRAST_HU = 100.0  # below it a carotid means that no contrast was given: no place for other tissue colours


def draw(seed: int, backgrounds: Sequence[Background]) -> TissueNeck:
    """A neck of recoloured tissue classes; a pure function of the seed and the backgrounds."""
    generator = torch.Generator().manual_seed(seed)
    background = backgrounds[int(torch.randint(len(backgrounds), (), generator=generator))]
    deformation = Deformation.draw(generator, strength=1.7)
    tree = enhanced_tree(generator)
    colouring = Colouring(background, generator, [carotid.common.hu for carotid in tree.carotids])
    tissue = DeformedTissue(background, deformation, colouring)
    neck = TissueNeck(seed, "recoloured", tissue, tree, generator, metal=False)
    neck.decoys = _decoys(neck.tree, generator)
    return neck


def enhanced_tree(generator: torch.Generator) -> VesselTree:
    """A tree, more or less wild, with contrast in both carotids."""
    while True:
        tree = VesselTree.draw(generator, wild=float(torch.rand((), generator=generator)))
        if min(carotid.common.hu for carotid in tree.carotids) >= _LEAST_CONTRAST_HU:
            return tree


def _decoys(tree: VesselTree, generator: torch.Generator) -> Decoys:
    """Tubes and blobs as bright as vessels, beside the arteries but never touching them."""

    uniform = Dice(generator).uniforms
    shapes: list[Cones | Ellipsoids] = []
    parts: list[float] = []
    for _ in range(int(torch.randint(0, 9, (), generator=generator))):
        start = uniform(-1, 1, 3) * torch.tensor([70.0, 60.0, 90.0]) - torch.tensor([0.0, 15.0, 0.0])
        heading = F.normalize(uniform(-1, 1, 3), dim=0)
        path = [start]
        for turn in uniform(-0.45, 0.45, 24, 3):
            heading = F.normalize(heading + turn, dim=0)
            path.append(path[-1] + 4.0 * heading)
        radii = uniform(0.8, 5.0) * uniform(0.85, 1.15, len(path))
        clear = (tree.lumen_distance(torch.stack(path)) - radii) > 4.0
        shapes.append(Cones.chain(torch.stack(path), radii, len(parts))[clear[1:] & clear[:-1]])
        parts.append(float(uniform(100, 700)))
    count = int(torch.randint(0, 13, (), generator=generator))
    centre = uniform(-1, 1, count, 3) * torch.tensor([75.0, 65.0, 90.0]) - torch.tensor([0.0, 15.0, 0.0])
    axes = torch.diag_embed(uniform(1.5, 12.0, count, 3)) @ torch.linalg.qr(uniform(-1, 1, count, 3, 3))[0]
    clear = tree.lumen_distance(centre) - axes.norm(dim=-1).amax(-1) > 2.0
    shapes.append(Ellipsoids.of(len(parts) + torch.arange(count), centre, axes)[clear])
    return shapes, parts + uniform(-200, 900, count).tolist()


class Colouring:
    """Random HU for the sub-regions of a background's classes; soft ones keep away from the HU in ``lumens``."""

    def __init__(self, background: Background, generator: torch.Generator, lumens: Sequence[float]):
        uniform = Dice(generator).uniforms

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
        hu[[FAT, SOFT]] = _apart(hu[[FAT, SOFT]], lumens)
        self.table = hu.reshape(-1)
        self.regions = uniform(-1, 1, 1, 3, 9, 12, 12)
        self.own = float(uniform(-0.3, 1.0)) * chance(0.7)  # how much of the tissue's own structure shows
        self.grain = uniform(-1, 1, 1, 1, 36, 60, 60) * uniform(0, 40)
        self.blurred = chance(0.4) and not background.coarse

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


def _apart(hu: Tensor, lumens: Sequence[float]) -> Tensor:
    """Values moved to the nearest that is at least the margin from every lumen's HU."""
    barred: list[list[float]] = []
    for lumen in sorted(lumens):
        if barred and lumen - _MARGIN_HU < barred[-1][1]:
            barred[-1][1] = lumen + _MARGIN_HU
        else:
            barred.append([lumen - _MARGIN_HU, lumen + _MARGIN_HU])
    for low, high in barred:
        nearest = torch.where(hu - low < high - hu, low, high)
        hu = torch.where((hu > low) & (hu < high), nearest, hu)
    return hu
