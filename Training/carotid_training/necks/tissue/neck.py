"""A neck made of real tissue with a vessel tree in it: what the styles "painted" and "recoloured" have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..neck import Grid
from ..solids.render import Solids, paint
from ..vessels.tree import VesselTree
from .deformation import DeformedTissue, SmoothField
from .placement import placement

Decoys = tuple[Sequence[Solids], Sequence[float]]  # and the HU of their parts
_SHEATH_LOW, _SHEATH_HIGH, _SHEATH_NODE_MM = (-72.0, -72.0, -100.0), (72.0, 36.0, 100.0), 4.0


class TissueNeck:
    """A `Neck` of deformed tissue; see `neck.Neck` for units and frames.

    ``sheath`` is the share of fat around the great vessels, ``fat_hu`` its HU. ``edge_mm`` is the standard deviation of
    the blur at the vessels' edges, so that they are as sharp as the tissue. ``decoys`` are painted under the vessels.
    """

    decoys: Decoys = ((), ())

    def __init__(
        self, seed: int, style: str, tissue: DeformedTissue, tree: VesselTree, generator: torch.Generator, metal: bool
    ):
        """Place the tree in the tissue; ``metal``: whether the background's own metal is still there."""
        self.seed, self.style, self.tissue = seed, style, tissue
        background, deformation = tissue.background, tissue.deformation
        self.tree = tree = tree.warp(placement(tree.layout, tree.tubes, background, deformation))
        self.present, self.dense, self.facts = tree.present, tree.dense, tree.facts
        share, loose, fat, edge = torch.rand(4, generator=generator).tolist()
        self.sheath = _sheath(tree, thickness=0.8 + 3.0 * loose, share=share)
        self.fat_hu, self.edge_mm = -115.0 + 70.0 * fat, 0.3 + 0.3 * edge
        own = torch.from_numpy(background.metal if metal else background.metal[:0])
        self.metal = torch.cat([tree.metal.float(), torch.cat([deformation.inverse(own[:, :3]), own[:, 3:]], 1)])
        self.lower_mm, self.upper_mm = tissue.coverage()

    def bifurcations(self, up: Tensor) -> Tensor:
        """See `Neck.bifurcations`."""
        return self.tree.bifurcations(up)

    def render(self, grids: Sequence[Grid], device: torch.device | str = "cpu") -> list[Tensor]:
        """See `Neck.render`."""
        tissue = []
        for grid in grids:
            hu, sheath = self.tissue.render(grid, device, self.sheath)
            sheath.mul_(((150 - hu) / 60).clamp_(0, 1)).mul_(((hu + 300) / 100).clamp_(0, 1))
            tissue.append(torch.lerp(hu, torch.full_like(hu, self.fat_hu), sheath))
        tissue = paint(tissue, grids, *self.decoys)
        painted = self.tree.paint(tissue, grids)
        return [
            below.add_(_blurred(above.sub_(below), self.edge_mm / grid.spacing_mm))
            for below, above, grid in zip(tissue, painted, grids, strict=True)
        ]


def _sheath(tree: VesselTree, thickness: float, share: float) -> SmoothField:
    """``share`` within ``thickness`` mm of the carotids and internal jugulars, fading over as much again."""
    names = ("common_carotid", "internal_carotid", "internal_jugular")
    tubes = [tube for tube in tree.tubes if tube.name.endswith(names)]
    points = torch.from_numpy(np.concatenate([tube.points[::2] for tube in tubes])).float()
    radii = torch.from_numpy(np.concatenate([tube.radii[::2] for tube in tubes])).float()
    axes = [
        torch.linspace(low, high, round((high - low) / _SHEATH_NODE_MM) + 1)
        for low, high in zip(_SHEATH_LOW, _SHEATH_HIGH, strict=True)
    ]
    z, y, x = torch.meshgrid(*axes[::-1], indexing="ij")
    nodes = torch.stack([x, y, z], -1)
    near = ((points > nodes[0, 0, 0] - 9) & (points < nodes[-1, -1, -1] + 9)).all(-1)
    gap = (torch.cdist(nodes.reshape(-1, 3), points[near]) - radii[near]).amin(1).reshape(z.shape)
    values = share * (2 - gap / thickness).clamp(0, 1)
    return SmoothField(values[None, None], _SHEATH_LOW, _SHEATH_HIGH)


def _blurred(values: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian of ``sigma`` [3] voxels along i, j, k by repeated averaging of neighbours; changes ``values``."""
    for axis, width in zip((2, 1, 0), sigma.tolist(), strict=True):
        variance = width * width
        passes = int(np.ceil(variance / 0.5)) if variance > 0.02 else 0
        for _ in range(passes):
            weight = variance / passes / 2
            n = values.shape[axis]
            slope = values.diff(dim=axis).mul_(weight)
            values.narrow(axis, 0, n - 1).add_(slope)
            values.narrow(axis, 1, n - 1).sub_(slope)
    return values
