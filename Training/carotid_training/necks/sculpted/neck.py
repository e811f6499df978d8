"""The sculpted style: a neck carved from implicit fields on stacked, warped cross-sections, not built organ by organ.

Tissue classes are drawn first and coloured afterwards, in the spirit of SynthSeg (Billot et al. 2023,
doi 10.1016/j.media.2023.102789); smooth random warps follow SynthMorph (Hoffmann et al. 2022,
doi 10.1109/TMI.2021.3116879).
Only the vessel tree is shared with the other styles.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dice import Dice
from ..neck import Grid
from ..vessels.tree import VesselTree
from .airway import carve_airway
from .blocks import FINEST_MM, Block, blocks
from .body import Habitus, Outline, carve_body
from .bones import Mouth, carve_head, carve_spine
from .fields import Lattice, any_of, at_heights
from .frame import Frame
from .paint import Palette, colour, surround
from .things import Distractors, Things

RANDOMISED_SHARE = 1 / 3
CPU_BLOCK = 1 << 15  # voxels at a time: what a core's cache holds
GPU_BLOCK = 1 << 23


@dataclass(frozen=True)
class Carving:
    """The baked fields of one neck. ``curves`` [9, n]: functions of height; ``top`` [3]: the middle of C1, LPS mm."""

    body: Lattice
    spine: Lattice
    head: Lattice
    airway: Lattice
    warp: Lattice
    curves: Tensor
    top: Tensor

    def to(self, device: torch.device) -> Carving:
        """The same fields on another device."""
        return Carving(**{name: own.to(device) for name, own in vars(self).items()})

    def at(self, points: Tensor) -> Tensor:
        """The fields that `paint.colour` takes, at ``points`` [n, 3]: [channel, n]."""
        px, py, pz = points.unbind(1)
        shift = self.warp.at(px, py, pz)
        x, y, z = px + shift[0], py + shift[1], pz + shift[2]
        half_x, half_y, middle, nominal, spine_x, spine_y, slope, airway_x, airway_y = at_heights(self.curves, z)
        behind = y - spine_y
        body = self.body.at(x / half_x, (y - middle) / half_y, z)
        spine = self.spine.at(x - spine_x, behind * (1 + slope * slope).rsqrt(), z + slope * behind.clamp(-60, 60))
        head = self.head.at(*(place - top for place, top in zip((x, y, z), self.top, strict=True)))
        neck = self.airway.at(x - airway_x, y - airway_y, nominal)
        *soft, girdle = body
        bone, *column = spine
        skull, hollow, *inside = head
        air, *throat = neck
        return torch.stack([*soft, any_of(bone, skull, girdle), *column, any_of(air, hollow), *inside, *throat])


class SculptedNeck:
    """A digital neck of the sculpted style; see `Neck` for what the attributes mean."""

    style = "sculpted"
    lower_mm, upper_mm = -230.0, 170.0

    def __init__(self, seed: int, randomised: bool = True):
        """``randomised``: a third of the seeds give a neck wilder than any patient (``facts["randomised"]``)."""
        self.seed = seed
        dice = Dice(torch.Generator().manual_seed(seed), torch.float32, torch.float32, most_sd=2.5)
        wild = dice.chance(RANDOMISED_SHARE) and randomised
        self.tree = tree = VesselTree.draw(dice.generator, dice.uniform(0.2, 1.0) if wild else 0.0, randomised)
        self.present = tree.present
        arteries, veins = (torch.from_numpy(tree.spheres(role)).float() for role in ("lumen", "vein"))
        lumen = float(tree.facts["arterial_hu"])
        frame = Frame(tree.layout, dice.uniform(0.8, 1.15))
        habitus = Habitus(dice, wild)
        depths = [F.pad(rows, (0, 1), value=depth) for rows, depth in ((arteries, 5.0), (veins, 2.0))]
        outline = Outline(dice, frame, habitus, torch.cat(depths), wild)
        self.palette = palette = Palette(dice, lumen, habitus.septum_mm, wild)
        mouth = Mouth(dice, outline)
        spine = (frame.nominal, frame.spine_x, frame.spine_y, frame.slope)
        self.carving = Carving(
            body=carve_body(dice, outline, palette.cells, torch.cat([arteries, veins])),
            spine=carve_spine(dice, frame, palette.disc, palette.canal, wild),
            head=carve_head(dice, outline, mouth),
            airway=carve_airway(dice, frame, wild),
            warp=_warp(dice, frame, arteries[:, :3], dice.uniform(1.0, 4.0) * (2 if wild else 1)),
            curves=torch.stack([*outline.box(), *spine, frame.airway_x, frame.airway_y]),
            top=torch.tensor([frame.top_x, frame.top_y, float(frame.level_z[0])]),
        )
        teeth = mouth.metal(dice)
        splits = tree.bifurcations(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
        distractors = Distractors(dice, lumen, splits) if wild else None
        self.things = Things(dice, outline, teeth, distractors)
        self.facts = {**tree.facts, "randomised": wild, "fat_mm": habitus.fat_mm, "size": frame.size}
        self.metal = torch.cat([tree.metal.float(), teeth])
        self.dense = torch.cat([tree.dense.float(), self.things.shoulders])
        self._moved: dict[torch.device, Carving] = {}

    def bifurcations(self, up: Tensor) -> Tensor:
        """See `Neck.bifurcations`."""
        return self.tree.bifurcations(up)

    def render(self, grids: Sequence[Grid], device: torch.device | str = "cpu") -> list[Tensor]:
        """See `Neck.render`."""
        device = torch.device(device)
        if device not in self._moved:
            self._moved[device] = self.carving.to(device)
        pictures = [torch.empty(grid.shape, device=device) for grid in grids]
        jobs = [
            (block, picture)
            for grid, picture in zip(grids, pictures, strict=True)
            for block in blocks(grid, GPU_BLOCK if device.type == "cuda" else CPU_BLOCK)
        ]
        # Operations on one block are too small for torch's own threads, so blocks are shared out among as many.
        with ThreadPoolExecutor(torch.get_num_threads() if device.type == "cpu" else 1) as pool:
            list(pool.map(lambda job: self._fill(self._moved[device], *job), jobs))
        return self.tree.paint(pictures, grids)

    def _fill(self, carving: Carving, block: Block, picture: Tensor) -> None:
        """Render a block into its picture."""
        fields = carving.at(block.coarse.points(picture.device).reshape(-1, 3))
        if not picture.is_cuda and fields[0].max() < -2 * max(block.voxel_mm, FINEST_MM):  # nothing but air
            values = surround(self.things, block.fine, block.voxel_mm, picture.device)
        else:
            values = colour(self.palette, self.things, block.fine, block.refine(fields), block.voxel_mm)
        picture[block.place] = block.pool(values)


def _warp(dice: Dice, frame: Frame, arteries: Tensor, strength_mm: float) -> Lattice:
    """A smooth random displacement (mm) that dies out around arteries and spine, where the vessel tree rules."""
    step = (14.0, 14.0, 14.0)
    low, high = (-224.0, -168.0, -238.0), (224.0, 168.0, 182.0)
    x, y, z = Lattice.nodes(low, high, step)
    knots = dice.normals(1, 3, 9, 8, 10)
    size = (z.numel(), y.numel(), x.numel())
    field = F.interpolate(knots, size=size, mode="trilinear", align_corners=True)[0]
    field = F.avg_pool3d(F.pad(field[None], (1,) * 6, mode="replicate"), 3, 1)[0] * strength_mm * 1.6
    column = z.flatten().clamp(float(frame.z[0]), float(frame.z[-1]))
    at = ((column - frame.z[0]) / (frame.z[1] - frame.z[0])).round().long()
    sx, sy = frame.spine_x[at][:, None, None], frame.spine_y[at][:, None, None]
    near = ((x - sx) ** 2 + (y - sy - 8) ** 2).sqrt() / 34
    free = 1 - 0.9 * torch.exp(-(near**4))
    nodes = torch.stack(torch.broadcast_tensors(x, y, z), -1).reshape(-1, 3)
    distance = torch.cdist(nodes, arteries[:: max(1, len(arteries) // 150)]).amin(1).reshape(size)
    free = free * (1 - 0.8 * torch.exp(-((distance / 14) ** 2)))
    return Lattice(field * free, low, step)
