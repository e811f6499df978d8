"""A neck made of real tissue with a vessel tree in it: what the styles "painted" and "recoloured" have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..neck import Grid
from ..solids.render import Cones, Ellipsoids, Part, paint
from ..vessels.tree import VesselTree
from .deformation import DeformedTissue, Lattice
from .placement import placement

Decoys = tuple[Cones, Ellipsoids, tuple[Part, ...]]
_SHEATH_LOW, _SHEATH_HIGH, _SHEATH_NODE_MM = (-72.0, -72.0, -100.0), (72.0, 36.0, 100.0), 4.0


@dataclass(frozen=True, eq=False)
class TissueNeck:
    """A `Neck` of deformed tissue; see `neck.Neck` for units and frames.

    ``sheath`` is the share of fat around the great vessels, ``fat_hu`` its HU. ``edge_mm`` is the standard deviation of
    the blur at the vessels' edges, so that they are as sharp as the tissue. ``decoys`` are painted under the vessels.
    """

    seed: int
    style: str
    tissue: DeformedTissue
    tree: VesselTree
    sheath: Lattice
    fat_hu: float
    edge_mm: float
    metal: Tensor
    lower_mm: float
    upper_mm: float
    decoys: Decoys | None = None

    @classmethod
    def build(
        cls, seed: int, style: str, tissue: DeformedTissue, tree: VesselTree, generator: torch.Generator, metal: bool
    ) -> TissueNeck:
        """Place the tree in the tissue; ``metal``: whether the background's own metal is still there."""
        background, deformation = tissue.background, tissue.deformation
        tree = tree.warp(placement(tree.layout, tree.tubes, background, deformation))
        share, loose, fat, edge = torch.rand(4, generator=generator)
        sheath = _sheath(tree, thickness=0.8 + 3.0 * float(loose), share=float(share))
        own = torch.zeros(0, 4)
        if metal:
            own = torch.from_numpy(background.metal)
            own = torch.cat([deformation.inverse(own[:, :3]), own[:, 3:]], 1)
        everything = torch.cat([tree.metal.float(), own])
        fat_hu, edge_mm = -115.0 + 70.0 * float(fat), 0.3 + 0.3 * float(edge)
        return cls(seed, style, tissue, tree, sheath, fat_hu, edge_mm, everything, *tissue.coverage())

    @property
    def present(self) -> Tensor:
        return self.tree.present

    @property
    def dense(self) -> Tensor:
        return self.tree.dense

    @property
    def facts(self) -> dict[str, float | str | bool]:
        return self.tree.facts

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
        if self.decoys is not None:
            tissue = paint(tissue, grids, *self.decoys)
        painted = self.tree.paint(tissue, grids)
        return [
            below.add_(_blurred(above.sub_(below), self.edge_mm / grid.spacing_mm))
            for below, above, grid in zip(tissue, painted, grids, strict=True)
        ]


def _sheath(tree: VesselTree, thickness: float, share: float) -> Lattice:
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
    return Lattice(values[None, None], _SHEATH_LOW, _SHEATH_HIGH)


def _blurred(values: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian of ``sigma`` [3] voxels along i, j, k by repeated averaging of neighbours; changes ``values``."""
    for axis, width in zip((2, 1, 0), sigma.tolist(), strict=True):
        variance = width * width
        passes = int(np.ceil(variance / 0.5)) if variance > 0.02 else 0
        for _ in range(passes):
            weight = variance / passes / 2
            n = values.shape[axis]
            if n < 2:
                break
            slope = values.diff(dim=axis).mul_(weight)
            values.narrow(axis, 0, n - 1).add_(slope)
            values.narrow(axis, 1, n - 1).sub_(slope)
    return values
