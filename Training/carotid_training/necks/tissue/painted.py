"""Style "painted": real, unenhanced tissue, randomly deformed and toned, with a vessel tree painted into it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..dice import Dice
from ..vessels.tree import VesselTree
from .background import Background
from .deformation import Deformation, DeformedTissue
from .neck import TissueNeck

# HU of the tissue as scanned -> how far each may move: tones are stretched between these.
_TONES = ((-1024, 0), (-400, 40), (-105, 22), (0, 12), (55, 20), (130, 35), (400, 110), (1200, 300), (3071, 0))
_TABLE = np.arange(-1024, 3072)


def draw(seed: int, backgrounds: Sequence[Background], randomised: bool = True) -> TissueNeck:
    """A neck painted into one of the backgrounds; a pure function of its arguments.

    ``randomised``: see `VesselTree.draw`.
    """
    generator = torch.Generator().manual_seed(seed)
    background = backgrounds[int(torch.randint(len(backgrounds), (), generator=generator))]
    deformation = Deformation.draw(generator, strength=1.0)
    toning = Toning(background, generator)
    tissue = DeformedTissue(background, deformation, toning)
    tree = VesselTree.draw(generator, 0.0, randomised)
    return TissueNeck(seed, "painted", tissue, tree, generator, metal=toning.keeps_metal)


class Toning:
    """Other contrast, noise, enhancement, metal and tube for a background's tissue."""

    def __init__(self, background: Background, generator: torch.Generator):
        uniform = Dice(generator).uniforms
        self.background = background
        self.quietness = float(uniform(0.0, 1.0))
        self.keeps_metal = bool(uniform(0, 1) < 0.5)
        self.keeps_tube = bool(uniform(0, 1) < 0.3)
        shifts = uniform(-1, 1, len(_TONES)).numpy() * [reach for _, reach in _TONES]
        before = np.array([hu for hu, _ in _TONES])
        self.table = torch.from_numpy(np.interp(_TABLE, before, before + shifts).astype(np.float32))
        # Glands, mucosa and muscle take up contrast here and there: patches about 30 mm wide.
        self.uptake = F.relu(uniform(-1, 1, 1, 1, 8, 12, 12)) * uniform(0, 70)

    def __call__(self, device: torch.device | str) -> Tensor:
        """HU [1, 1, k, j, i] on the background's lattice."""
        hu = torch.lerp(self.background.on(device, "hu"), self.background.on(device, "quiet"), self.quietness)
        if not self.keeps_tube:
            hu.lerp_(torch.full_like(hu, -1000.0), self.background.on(device, "bore"))
        hu.clamp_(max=3071.0 if self.keeps_metal else 1500.0)
        soft = ((hu + 20) / 50).clamp_(0, 1).mul_(((180 - hu) / 80).clamp_(0, 1))
        toned = self.table.to(device).index_select(0, (hu + 1024.5).int().clamp_(0, len(_TABLE) - 1).view(-1))
        uptake = F.interpolate(self.uptake.to(device), size=hu.shape[2:], mode="trilinear")
        return torch.addcmul(toned.view(hu.shape), uptake, soft)
