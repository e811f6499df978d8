"""The sculpted style: a neck carved from implicit fields on stacked, warped cross-sections, not built organ by organ.

Tissue classes are drawn first and coloured afterwards, in the spirit of SynthSeg (Billot et al. 2023,
doi 10.1016/j.media.2023.102789); smooth random warps follow SynthMorph (Hoffmann et al. 2022,
doi 10.1109/TMI.2021.3116879).
Only the vessel tree is shared with the other styles.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..neck import Grid
from ..vessels.tree import VesselTree
from .airway import carve_airway
from .blocks import FINEST_MM, Block, blocks
from .body import Habitus, Outline, carve_body
from .bones import Mouth, carve_head, carve_spine
from .fields import Dice, Lattice, Profiles
from .frame import Frame
from .paint import Palette, colour, surround
from .things import Distractors, Things

LOWER_MM, UPPER_MM = -230.0, 170.0
RANDOMISED_SHARE = 1 / 3
CPU_BLOCK = 1 << 15  # voxels at a time: what a core's cache holds
GPU_BLOCK = 1 << 23


@dataclass(frozen=True)
class Carving:
    """The baked fields of one neck."""

    body: Lattice
    spine: Lattice
    head: Lattice
    airway: Lattice
    warp: Lattice
    curves: Profiles
    top_x: float
    top_y: float
    top_z: float

    def to(self, device: torch.device | str) -> Carving:
        """The same fields on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("body", "spine", "head", "airway", "warp")}
        return replace(self, curves=Profiles(self.curves.values.to(device)), **moved)

    def at(self, points: Tensor) -> Tensor:
        """The fields of `FIELDS` at ``points`` [n, 3]: [channel, n]."""
        px, py, pz = points.unbind(1)
        shift = self.warp.at(px, py, pz)
        x, y, z = px + shift[0], py + shift[1], pz + shift[2]
        half_x, half_y, middle, nominal, spine_x, spine_y, slope, airway_x, airway_y = self.curves.at(z)
        behind = y - spine_y
        body = self.body.at(x / half_x, (y - middle) / half_y, z)
        spine = self.spine.at(x - spine_x, behind * (1 + slope * slope).rsqrt(), z + slope * behind.clamp(-60, 60))
        head = self.head.at(x - self.top_x, y - self.top_y, z - self.top_z)
        neck = self.airway.at(x - airway_x, y - airway_y, nominal)
        skin, lean, first, second, lean_hu, lung, girdle = body
        bone, column, column_hu = spine
        skull, hollow, cavity, enamel = head
        air, cartilage, cartilage_hu, mucosa = neck
        bones = torch.maximum(torch.maximum(bone, skull), girdle)
        gas = torch.maximum(air, hollow)
        soft = [skin, lean, first, second, lean_hu, lung]
        return torch.stack([*soft, bones, column, column_hu, gas, cavity, enamel, cartilage, cartilage_hu, mucosa])


@dataclass(frozen=True, eq=False)
class SculptedNeck:
    """A digital neck of the sculpted style; see `Neck` for what the attributes mean."""

    seed: int
    tree: VesselTree
    palette: Palette
    carving: Carving
    things: Things
    facts: dict[str, float | str | bool]
    metal: Tensor
    dense: Tensor
    present: Tensor
    style: str = "sculpted"
    lower_mm: float = LOWER_MM
    upper_mm: float = UPPER_MM
    _moved: dict[str, Carving] = field(default_factory=dict)

    def bifurcations(self, up: Tensor) -> Tensor:
        """See `Neck.bifurcations`."""
        return self.tree.bifurcations(up)

    def render(self, grids: Sequence[Grid], device: torch.device | str = "cpu") -> list[Tensor]:
        """See `Neck.render`."""
        device = torch.device(device)
        if str(device) not in self._moved:
            self._moved[str(device)] = self.carving.to(device)
        carving = self._moved[str(device)]
        pictures = [torch.empty(grid.shape, device=device) for grid in grids]
        jobs = [
            (block, picture)
            for grid, picture in zip(grids, pictures, strict=True)
            for block in blocks(grid, GPU_BLOCK if device.type == "cuda" else CPU_BLOCK)
        ]
        # Operations on one block are too small for torch's own threads, so blocks are shared out among as many.
        with ThreadPoolExecutor(torch.get_num_threads() if device.type == "cpu" else 1) as pool:
            list(pool.map(lambda job: self._fill(carving, *job), jobs))
        return self.tree.paint(pictures, grids)

    def _fill(self, carving: Carving, block: Block, picture: Tensor) -> None:
        """Render a block into its picture."""
        fields = carving.at(block.coarse.points(picture.device).reshape(-1, 3))
        if not picture.is_cuda and fields[0].max() < -2 * max(block.voxel_mm, FINEST_MM):  # nothing but air
            values = surround(self.things, block.fine, block.voxel_mm, picture.device)
        else:
            values = colour(self.palette, self.things, block.fine, block.refine(fields), block.voxel_mm)
        picture[block.place] = block.pool(values)


def draw(seed: int, randomised: bool = True) -> SculptedNeck:
    """The sculpted neck of this seed; ``randomised``: a third of the seeds give one that is wilder than any patient
    (``facts["randomised"]``)."""
    dice = Dice(seed)
    wild = dice.chance(RANDOMISED_SHARE) and randomised
    tree = VesselTree.draw(dice.generator, dice.uniform(0.2, 1.0) if wild else 0.0, randomised)
    arteries, veins = (torch.as_tensor(rows, dtype=torch.float32) for rows in (tree.arteries, tree.veins))
    lumen = float(tree.facts["arterial_hu"])
    layout = tree.layout
    frame = Frame.of(layout.spine, layout.foramina, layout.airway, layout.width / layout.size, dice.uniform(0.8, 1.15))
    habitus = Habitus.draw(dice, wild)
    depths = [F.pad(rows, (0, 1), value=depth) for rows, depth in ((arteries, 5.0), (veins, 2.0))]
    outline = Outline.draw(dice, frame, habitus, torch.cat(depths), wild)
    palette = Palette.draw(dice, lumen, habitus.septum_mm, wild)
    mouth = Mouth.draw(dice, frame, outline)
    curves = (
        *outline.box(),
        frame.nominal,
        frame.spine_x,
        frame.spine_y,
        frame.slope,
        frame.airway_x,
        frame.airway_y,
    )
    carving = Carving(
        body=carve_body(dice, frame, outline, habitus, palette.cells, torch.cat([arteries, veins])),
        spine=carve_spine(dice, frame, palette.disc, palette.canal, wild),
        head=carve_head(dice, frame, outline, mouth),
        airway=carve_airway(dice, frame, wild),
        warp=_warp(dice, frame, arteries[:, :3], dice.uniform(1.0, 4.0) * (2 if wild else 1)),
        curves=Profiles(torch.stack(curves)),
        top_x=frame.top_x,
        top_y=frame.top_y,
        top_z=float(frame.level_z[0]),
    )
    teeth = mouth.metal(dice, frame)
    splits = tree.bifurcations(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    distractors = Distractors.draw(dice, lumen, splits) if wild else None
    things = Things.draw(dice, frame, outline, teeth, distractors)
    facts = {**tree.facts, "randomised": wild, "fat_mm": habitus.fat_mm, "size": frame.size}
    return SculptedNeck(
        seed,
        tree,
        palette,
        carving,
        things,
        facts,
        metal=torch.cat([tree.metal.float(), teeth]),
        dense=torch.cat([tree.dense.float(), things.shoulders]),
        present=tree.present,
    )


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
    if len(arteries):
        nodes = torch.stack(torch.broadcast_tensors(x, y, z), -1).reshape(-1, 3)
        distance = torch.cdist(nodes, arteries[:: max(1, len(arteries) // 150)]).amin(1).reshape(size)
        free = free * (1 - 0.8 * torch.exp(-((distance / 14) ** 2)))
    return Lattice(field * free, low, step)
