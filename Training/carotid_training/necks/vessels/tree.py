"""The vessel tree of one neck, with its layout, its disease, its contrast, and the truth about its bifurcations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..dice import Dice, Points
from ..neck import Facts, Grid
from ..solids.render import paint
from ..solids.shapes import Cones, signed_distance
from .arteries import SIDES, Carotid, carotid_branches, draw_carotid, great_vessels, vertebral_arteries
from .disease import treat
from .layout import Layout
from .paths import Tube, resampled
from .split import split_point
from .veins import draw_veins

_ROLES = ("vein", "wall", "plaque", "calcium", "thrombus", "lumen", "metal")  # painted in this order
_HU_STEP = 20.0  # contrast along a vessel is painted in steps of this size


@dataclass(frozen=True)
class VesselTree:
    """All vessels of a neck, in the neck's frame (see `neck.Neck`): geometry, contrast and truth.

    ``layout`` is the anatomy that the vessels were drawn around. ``carotids`` are left and right as they are after
    disease; where ``present`` [2] is False, as before surgery. ``metal`` and ``dense`` are [n, 4]: centre, radius.
    An occluded internal carotid keeps a stump above the flow divider: the wall shows, so the landmark is present.
    """

    layout: Layout
    tubes: tuple[Tube, ...]
    carotids: tuple[Carotid, Carotid]
    present: Tensor
    metal: Tensor
    dense: Tensor
    facts: Facts

    @classmethod
    def draw(cls, generator: torch.Generator, wild: float = 0.0, randomised: bool = True) -> VesselTree:
        """Draw a tree; every number comes from ``generator`` (CPU).

        ``wild`` goes from 0 (as in patients) to 1 (domain randomisation: every spread about doubled). ``randomised``:
        what is rare in patients (bifurcations far apart, or behind the pharynx) is frequent, also where ``wild`` is 0.
        """
        dice = Dice(generator)
        layout = Layout.draw(dice, wild)
        hu = _arterial_contrast(dice, wild)
        # Forks lie between C3 and C4 in four of five patients, each level alike; one in twenty anywhere.
        common_height = 8.6 + dice.uniform(-16, 16) + dice.normal(0, 0.5 + 5 * wild)
        if dice.chance(0.05):
            common_height = dice.normal(8.75, 16, -26, 32)
        # More than half of the patients have both at one level, the others at quite different ones.
        near, far = dice.uniform(-2, 2), dice.uniform(8.5, 18)
        apart = near if dice.chance(0.65) else far * (1 if dice.chance(0.5) else -1) * (1 + 0.4 * wild)
        # The published sd of the distance is 10 mm; differences between the sides and real tissue add their own.
        sd, least, most = (5.0 * (1 + 0.8 * wild), 17, 46) if randomised else (4.8, 19, 41)
        width = dice.normal(28.5, sd, least, most)
        carotids, treated = {}, {}
        for side, sign in SIDES.items():
            height = common_height + sign * apart / 2 + dice.normal(0, 3 * wild)
            height = min(max(height, -40.0), 38.0) * layout.size  # C6 to C2
            lateral = width + dice.normal(0, 2.2 * (1 + wild))
            carotids[side] = draw_carotid(dice, layout, side, height, lateral, hu[side], wild, randomised)
        great = great_vessels(dice, layout, carotids, max(hu.values()))
        subclavian = {side: next(t for t in great if t.name == f"{side}_subclavian") for side in SIDES}
        up = np.array([0.0, 0.0, 1.0])
        tubes = [*draw_veins(dice, layout, carotids, max(hu.values()), wild), *great]
        tubes += vertebral_arteries(dice, layout, subclavian, hu)
        facts: Facts = {"arterial_hu": max(hu.values()), "wild": wild}
        for side, carotid in carotids.items():
            split = split_point(*carotid.lumens, up)
            below = float(carotid.internal.arc[np.argmin(np.linalg.norm(carotid.internal.points - split, axis=1))])
            treated[side] = one = treat(dice, layout, carotid, below, subclavian[side].points, wild)
            tubes += [*carotid_branches(dice, layout, carotid, hu[side]), *one.layers, *one.lumens]
            facts |= {f"{side}_{name}": value for name, value in one.facts.items()}
            facts[f"{side}_level"] = layout.level(split[2])
        if wild and dice.chance(0.3 * wild):
            tubes = [t for t in tubes if t.role != "vein"]
        return cls(
            layout,
            tuple(_sparse(t) for t in tubes),
            (treated["left"].carotid, treated["right"].carotid),
            torch.tensor([treated["left"].present, treated["right"].present]),
            torch.tensor([ball for one in treated.values() for ball in one.metal], dtype=torch.float32).reshape(-1, 4),
            torch.tensor(_dense(tubes, max(hu.values())), dtype=torch.float32),
            facts,
        )

    def paint(self, hu: Sequence[Tensor], grids: Sequence[Grid]) -> list[Tensor]:
        """Paint veins, walls, plaque, lumens, metal over ``hu`` (float32 [k, j, i], one per grid); returns new ones."""
        cones, parts = _materials(self.tubes)
        return paint(hu, grids, [cones], parts)

    def lumen_distance(self, points: Tensor) -> Tensor:
        """Signed distance in mm from ``points`` [..., 3] to the nearest artery's lumen, negative inside: [...]."""
        cones, _ = _materials([t for t in self.tubes if t.role == "lumen"])
        return signed_distance(points, cones)

    def bifurcations(self, up: Tensor) -> Tensor:
        """Left and right bifurcation, [2, 3] float64 LPS, for axial levels stacked along ``up``; see `neck.Neck`."""
        along = np.asarray(up, dtype=np.float64)
        along = along / np.linalg.norm(along)
        return torch.from_numpy(np.stack([split_point(*c.lumens, along) for c in self.carotids]))

    def spheres(self, role: str) -> Points:
        """Centres and radii along the tubes of a role, [n, 4] mm."""
        return _along([tube for tube in self.tubes if tube.role == role])

    def warp(self, move: Callable[[Points], Points]) -> VesselTree:
        """The same tree with every point moved by the smooth map ``move`` ([n, 3] -> [n, 3] float64 LPS); radii stay.

        The bifurcations follow, because they are computed from the moved geometry.
        """

        def moved(spheres: Tensor) -> Tensor:
            return torch.cat([torch.from_numpy(move(spheres[:, :3].double().numpy())).float(), spheres[:, 3:]], 1)

        left, right = (
            replace(c, common=c.common.moved(move), internal=c.internal.moved(move), external=c.external.moved(move))
            for c in self.carotids
        )
        return replace(
            self,
            layout=self.layout.moved(move),
            tubes=tuple(t.moved(move) for t in self.tubes),
            carotids=(left, right),
            metal=moved(self.metal),
            dense=moved(self.dense),
        )


def _arterial_contrast(dice: Dice, wild: float) -> dict[str, float]:
    """HU of the arteries on either side: mostly equal, seldom one side early or late."""
    mean = dice.normal(285, 48 * (1 + 2 * wild), 130, 900)
    if dice.chance(0.12):
        mean = dice.uniform(330, 560)  # a low voltage or a fast bolus
    if dice.chance(0.08):
        mean = dice.uniform(110, 220)  # poor bolus
    hu = {side: mean * dice.normal(1, 0.02) for side in SIDES}
    if dice.chance(0.06 + 0.1 * wild):
        hu["left" if dice.chance(0.5) else "right"] *= dice.uniform(0.45, 0.85)
    if dice.chance(0.03):  # unenhanced blood: there is a bifurcation, but nobody can see it
        hu = dict.fromkeys(SIDES, dice.uniform(36, 58))
    return hu


def _sparse(tube: Tube) -> Tube:
    """Veins far from the landmark need fewer points than they were drawn with."""
    if tube.role != "vein" or len(tube.points) < 4:
        return tube
    points, radii = resampled(tube.points, tube.radii, float(np.clip(tube.radii.mean(), 2.5, 6.0)))
    return replace(tube, points=points, radii=radii)


def _materials(tubes: Sequence[Tube]) -> tuple[Cones, list[float]]:
    """The tubes as cones; the HU of a part for every role and step of HU, in painting order."""
    keys: list[tuple[int, int]] = []
    pieces = []
    for tube in tubes:
        count = len(tube.points) - 1
        hu = np.linspace(tube.hu, tube.hu if tube.hu_end is None else tube.hu_end, count)
        rank = _ROLES.index(tube.role)
        keys += [(rank, int(step)) for step in np.round(hu / _HU_STEP)]
        pieces.append((tube.points[:-1], tube.points[1:], tube.radii[:-1], tube.radii[1:]))
    order = sorted(set(keys))
    index = {key: n for n, key in enumerate(order)}
    a, b, ra, rb = (torch.from_numpy(np.concatenate(column)).float() for column in zip(*pieces, strict=True))
    cones = Cones.between(torch.tensor([index[key] for key in keys]), a, b, ra, rb)
    return cones, [step * _HU_STEP for _, step in order]


def _along(tubes: Sequence[Tube], step: int = 1) -> Points:
    """Centres and radii at every ``step``-th point of tubes: [n, 4] mm."""
    rows = (np.column_stack([tube.points, tube.radii])[::step] for tube in tubes)
    return np.concatenate([np.empty((0, 4)), *rows])


def _dense(tubes: Sequence[Tube], arterial: float) -> Points:
    """Where veins are so full of contrast that they cast streaks: centre and radius, [n, 4] mm."""
    least = max(700.0, 1.3 * arterial)
    return _along([tube for tube in tubes if tube.role == "vein" and max(tube.hu, tube.hu_end or 0) > least], 4)
