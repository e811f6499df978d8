"""The style "anatomical": a neck built organ by organ from explicit shapes, around the vessel tree of its seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from . import anatomical_bones as bones
from . import anatomical_soft as soft
from .anatomical_body import Dice, Person, Point, Sketch, Warp, local_frames
from .anatomical_muscles import draw_muscles
from .anatomical_tissue import Outline, Texture
from .neck import Grid
from .render import paint
from .vessels import VesselTree

_SLAB_VOXELS = 12_000_000  # largest piece rendered at once: keeps a 448^3 scan within 4 GB
_AIRWAY_POINTS = 18
_FORAMINA = ("C6", "C5", "C4", "C3", "C2", "C1")


def draw(seed: int, randomised: bool = True) -> AnatomicalNeck:
    """The anatomical neck of a seed; ``randomised``: a third of the seeds give one that is wilder than any patient."""
    return AnatomicalNeck(seed, randomised)


class AnatomicalNeck:
    """A `Neck` of round cones, ellipsoids and a closed-form outline; see `neck.Neck` for members, units and frame."""

    style = "anatomical"
    lower_mm = -235.0
    upper_mm = 175.0

    def __init__(self, seed: int, randomised: bool) -> None:
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        dice = Dice(generator)
        # Thrown either way: what follows is drawn with the same dice.
        wild = (dice.uniform(0, 1) if dice.chance(0.35) else 0.0) * randomised
        self._tree = tree = VesselTree.draw(generator, wild, randomised)
        self.person = person = Person.draw(dice, wild)
        levels = tree.layout.spine[::-1]
        course = tree.layout.airway[np.argsort(-tree.layout.airway[:, 2])]
        course = course[np.linspace(0, len(course) - 1, _AIRWAY_POINTS).round().astype(int)]
        warp = Warp(dice, person, levels, course, wild)
        inner, outer = Sketch(warp), Sketch(warp)
        step = (levels[-1] - levels[-2]) * 1.05
        spine = np.concatenate(
            [levels, levels[-1] + step * np.arange(1, 5)[:, None]]
        )  # the tree knows the spine down to T4
        frames = local_frames(spine, person)
        foramina = {name: tree.layout.foramina[index] for index, name in enumerate(_FORAMINA)}

        soft.chest_viscera(inner, dice, person)
        draw_muscles(inner, dice, person)
        soft.vessel_sheaths(
            inner, dice, person, [(t.points, t.radii) for t in tree.tubes if t.role in ("vein", "lumen")]
        )
        soft.glands(inner, dice, person)
        soft.nodes(inner, dice, person)
        heads, limbs = bones.arms(inner, dice, person)
        bones.chest(inner, dice, person)
        bones.skull(inner, dice, person)
        soft.tongue_and_palate(inner, dice, person)
        soft.airway(inner, dice, person, course, soft.bore(dice, person, course))
        fillings = bones.jaws(inner, dice, person)
        bones.hyoid_and_larynx(inner, dice, person)
        bones.vertebrae(inner, dice, person, frames, foramina)
        bones.canal(inner, dice, person, frames)
        bones.ears(outer, dice)
        devices = soft.devices(outer, dice, person, course)

        if wild:
            inner.omit([name for name in inner.names if dice.chance(0.12 * wild)])
            inner.recolour(dice, 60 * wild)
        arms = np.array([[*start, *end, wide, narrow] for start, end, wide, narrow in limbs])
        arms[:, :3], arms[:, 3:6] = warp(arms[:, :3]), warp(arms[:, 3:6])
        self._outline = Outline(dice, person, warp, arms, np.concatenate([tree.arteries, tree.veins]))
        self._texture = Texture(dice, wild)
        self._inner, self._outer = ((sketch.cones, sketch.ellipsoids, sketch.parts) for sketch in (inner, outer))

        self.present = tree.present
        self.metal = torch.cat([tree.metal, _spheres(warp, fillings, 2.5)])
        self.dense = torch.cat([tree.dense, _spheres(warp, heads, 23.0)])
        self.facts = tree.facts | self._own_facts(devices, len(fillings))

    def bifurcations(self, up: Tensor) -> Tensor:
        """Left and right bifurcation, [2, 3] float64 LPS; see `neck.Neck.bifurcations`."""
        return self._tree.bifurcations(up)

    def render(self, grids: Sequence[Grid], device: torch.device | str = "cpu") -> list[Tensor]:
        """Noise-free HU on each grid, float32 [k, j, i]; see `neck.Neck.render`."""
        if all(math.prod(grid.shape) <= _SLAB_VOXELS for grid in grids):
            return self._render(grids, device)
        return [torch.cat([self._render([slab], device)[0] for slab in _slabs(grid)]) for grid in grids]

    def _render(self, grids: Sequence[Grid], device: torch.device | str) -> list[Tensor]:
        layers = [self._outline.layers(grid, device) for grid in grids]
        organs = paint([layer.deep for layer in layers], grids, *self._inner)
        whole = [self._texture.add(layer.wrap(hu), grid) for layer, hu, grid in zip(layers, organs, grids, strict=True)]
        return paint(self._tree.paint(whole, grids), grids, *self._outer)

    def _own_facts(self, devices: list[str], fillings: int) -> dict[str, float | str | bool]:
        person, (left, right) = self.person, self.bifurcations(torch.tensor([0.0, 0.0, 1.0])).tolist()
        level = self._tree.layout.level
        return {
            "age": person.age,
            "sex": "female" if person.female else "male",
            "fat_mm": person.fat_mm,
            "thyroid": person.thyroid,
            "arms": person.arms,
            "edentulous": person.edentulous,
            "laryngectomy": person.laryngectomy,
            "operated_spine": person.operated_spine,
            "dental_fillings": float(fillings),
            "devices": ", ".join(devices) or "none",
            "left_bifurcation_z": left[2],
            "right_bifurcation_z": right[2],
            "left_bifurcation_level": level(left[2]),
            "right_bifurcation_level": level(right[2]),
            "bifurcation_distance_mm": math.dist(left, right),
        }


def _spheres(warp: Warp, centres: Sequence[Point], radius: float) -> Tensor:
    """Template points in the patient with a radius: [n, 4] float32."""
    placed = warp(np.array(centres, dtype=np.float64).reshape(-1, 3))
    return torch.tensor(np.column_stack([placed, np.full(len(placed), radius)]), dtype=torch.float32)


def _slabs(grid: Grid) -> list[Grid]:
    """The grid cut along k into pieces of at most `_SLAB_VOXELS`."""
    step = max(1, _SLAB_VOXELS // (grid.shape[1] * grid.shape[2]))
    slabs = []
    for first in range(0, grid.shape[0], step):
        affine = grid.affine.clone()
        affine[:3, 3] += first * affine[:3, 2]
        slabs.append(Grid(affine, (min(step, grid.shape[0] - first), grid.shape[1], grid.shape[2])))
    return slabs
