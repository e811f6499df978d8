"""A vessel tree put where it belongs in real tissue: by spine, foramina and airway, then out of bone and air."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..dice import Points
from ..vessels.layout import VERTEBRAE, Layout
from ..vessels.paths import Tube
from .background import CERVICAL, Background
from .deformation import Deformation, spline_weights

_SHARED = ("C6", "C5", "C4", "C3", "C2", "C1")  # from below upwards, as in Layout.foramina
_LOW, _HIGH = (-80.0, -95.0, -90.0), (80.0, 45.0, 90.0)  # the box of the moving lattice, LPS mm
_NODE_MM = 18.0
_CONTROLS = [round((high - low) / _NODE_MM) + 3 for low, high in zip(_LOW, _HIGH, strict=True)]  # along x, y, z
_STEPS = 40
_GAP_MM = 0.8  # tissue left between a lumen and bone or air


def placement(
    layout: Layout, tubes: Sequence[Tube], background: Background, deformation: Deformation
) -> Callable[[Points], Points]:
    """The smooth map (points [n, 3] -> [n, 3], float64 LPS mm) from the tree's own neck into the deformed background's.

    First the tree's levels, spine, width and depth are brought to the background's. Then a spline displacement is
    fitted that takes the vessels out of bone, air and skin into loose tissue, the vertebral arteries to their foramina.
    """
    coarse = _Fit(layout, background, deformation)
    control = _settle(background, deformation, *_samples(tubes, coarse))

    def place(points: Points) -> Points:
        first = coarse(points)
        return first + (_basis(torch.from_numpy(first).float()) @ control).double().numpy()

    return place


class _Fit:
    """The map that brings a layout's levels, width and depth to the background's: points [n, 3] -> [n, 3], float64.

    Of the deformed background, in the neck's frame: ``levels`` [6, 3] and the left and right ``foramina`` [2, m, 3].
    """

    def __init__(self, layout: Layout, background: Background, deformation: Deformation):
        def here(points: np.ndarray) -> np.ndarray:
            return deformation.inverse(torch.from_numpy(points)).double().numpy()

        self.spine = layout.spine
        self.ours = ours = layout.spine[[VERTEBRAE.index(name) for name in _SHARED]]
        self.levels = theirs = here(background.levels[[CERVICAL.index(name) for name in _SHARED]])
        foramina = here(background.foramina)
        self.foramina = foramina[::-1] if deformation.mirrored else foramina
        # Beyond the shared levels heights go on at the mean rate.
        beyond = np.array([-400.0, 400.0])
        stretch = (theirs[-1, 2] - theirs[0, 2]) / (ours[-1, 2] - ours[0, 2])
        self.knots = np.concatenate([ours[:1, 2] + beyond[0], ours[:, 2], ours[-1:, 2] + beyond[1]])
        self.heights = np.concatenate(
            [theirs[:1, 2] + stretch * beyond[0], theirs[:, 2], theirs[-1:, 2] + stretch * beyond[1]]
        )
        z = np.linspace(ours[0, 2], ours[-2, 2], 9)  # C6 to C2, where the foramina stand above one another
        there = np.interp(z, self.knots, self.heights)
        left, right = (np.interp(there, side[:, 2], side[:, 0]).mean() for side in self.foramina)
        mine = layout.foramina[:5, 0, 0].mean() - layout.foramina[:5, 1, 0].mean()
        width = float(np.clip((left - right) / mine, 0.7, 1.5))
        airway = here(background.airway)
        depth = float(np.clip(_front(theirs, airway, there) / _front(ours, layout.airway, z), 0.75, 1.35))
        self.scale = (width, depth)

    def __call__(self, points: Points) -> Points:
        z = points[:, 2]
        out = np.empty_like(points)
        for axis, scale in enumerate(self.scale):
            own = np.interp(z, self.spine[:, 2], self.spine[:, axis])
            # Beyond the shared levels the offset between the two spines stays.
            offset = np.interp(z, self.ours[:, 2], self.levels[:, axis] - self.ours[:, axis])
            out[:, axis] = own + offset + scale * (points[:, axis] - own)
        out[:, 2] = np.interp(z, self.knots, self.heights)
        return out

    def holes(self, side: int, z: Points) -> Points:
        """x and y [n, 2] of the foramina of a side at heights z [n]; nan above and below them."""
        column = self.foramina[side]
        return np.stack([np.interp(z, column[:, 2], row, left=np.nan, right=np.nan) for row in column.T[:2]], 1)


def _front(spine: Points, airway: Points, z: Points) -> float:
    """Mean distance (mm) from the airway's middle back to the spine over heights z."""
    airway = airway[np.argsort(airway[:, 2])]
    return float((np.interp(z, spine[:, 2], spine[:, 1]) - np.interp(z, airway[:, 2], airway[:, 1])).mean())


def _samples(tubes: Sequence[Tube], coarse: _Fit) -> tuple[Tensor, ...]:
    """Points [n, 3] every few mm, radii [n], how much each counts [n], and its foramen's x, y or nan [n, 2]."""
    samples = []
    for tube in tubes:
        path = coarse(np.asarray(tube.points))
        keep = np.arange(0, len(path), max(1, round(4.0 / max(np.diff(tube.arc).mean(), 0.1))))
        path, radius = path[keep], np.asarray(tube.radii)[keep]
        weight = 3.0 if "carotid" in tube.name or "internal_jugular" in tube.name else 1.0
        hole = np.full((len(path), 2), np.nan)
        if "vertebral" in tube.name:
            hole = coarse.holes(0 if "left" in tube.name else 1, path[:, 2])
            weight = 0.0
        samples.append((path, radius, np.full(len(path), weight), hole))
    return tuple(torch.from_numpy(np.concatenate(column)).float() for column in zip(*samples, strict=True))


def _basis(points: Tensor) -> Tensor:
    """Weights [n, controls] of the uniform cubic B-spline over the box; points beyond it count as on its face."""
    rows = torch.ones(len(points), 1)
    for axis, count in enumerate(_CONTROLS):
        at = ((points[:, axis] - _LOW[axis]) / (_HIGH[axis] - _LOW[axis])).clamp(0, 1) * (count - 3) + 1
        rows = (rows[:, :, None] * spline_weights(at, count)[:, None, :]).flatten(1)
    return rows


def _settle(
    background: Background, deformation: Deformation, paths: Tensor, radii: Tensor, weights: Tensor, holes: Tensor
) -> Tensor:
    """Control displacements [controls, 3] (mm) that free the vessels."""
    inside = deformation(paths)[:, 2]
    top = background.levels[0, 2]  # above the atlas vessels do pass through bone
    covered = ((inside - background.lower) / 5).clamp(0, 1) * ((top + 8 - inside) / 8).clamp(0, 1)
    weights = weights * covered
    used = (weights > 0) | (holes[:, 0].isfinite() & (covered > 0))
    paths, radii, weights, holes = paths[used], radii[used], weights[used], holes[used]
    basis = _basis(paths)
    drawn = holes[:, 0].isfinite()
    fields = torch.cat([background.on("cpu", "clearance"), background.on("cpu", "fatness")], 1)
    control = torch.zeros(basis.shape[1], 3, requires_grad=True)
    optimiser = torch.optim.Adam([control], lr=1.0)
    for step in range(_STEPS):
        optimiser.param_groups[0]["lr"] = 1.2 * (1 - step / _STEPS) + 0.1
        optimiser.zero_grad()
        moved = paths + basis @ control
        at = background.normalised(deformation(moved))
        sampled = F.grid_sample(fields, at[None, None, None], align_corners=False, padding_mode="border")
        clearance, fatness = sampled[0, :, 0, 0]
        squeeze = (radii + _GAP_MM - clearance).clamp(min=0)
        cost = (weights * (squeeze.square() - 2.0 * fatness)).sum() / weights.sum()
        cost = cost + 0.5 * (moved[drawn, :2] - holes[drawn]).square().mean() if drawn.any() else cost
        cost = cost + 0.01 * control.square().mean()
        lattice = control.view(*_CONTROLS, 3)  # neighbours move alike
        x, y, z = (lattice.diff(dim=axis).square().mean() for axis in range(3))
        cost = cost + 0.05 * (x + y + z)
        # Loose tissue drew the forks apart in height: sd of left to right 10.6 mm, with this 9.1, as drawn 8.9.
        cost = cost + 0.5 * control[:, 2].square().mean()
        cost.backward()
        optimiser.step()
    return control.detach()
