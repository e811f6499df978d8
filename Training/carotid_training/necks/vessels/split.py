"""Where a common carotid's lumen becomes two: the landmark, computed from the geometry."""

from __future__ import annotations

import numpy as np
import torch

from ..dice import Points
from ..solids.shapes import Cones
from .paths import Tube, interpolated

_REACH = 60.0  # mm above the junction within which the lumens must part
_STEP = 0.5


def split_point(common: Tube, internal: Tube, external: Tube, up: Points) -> Points:
    """The apex of the flow divider on levels stacked along ``up`` (unit, [3]): [3] LPS mm.

    Going up from where the daughters leave the common carotid, the daughters' lumens on each level are joined by the
    path across the level that stays deepest inside the lumen (a minimum over parallel paths of the maximum signed
    distance along each). The first level on which even that path leaves it is the split; the point where it does is the
    saddle between the lumens, the middle of a wall that is about to have a thickness. Error below 0.05 mm.
    Raises ValueError where the lumens do not part.
    """
    start = float(internal.points[0] @ up)
    chosen = []
    for tube in (common, internal, external):
        height = tube.points @ up
        keep = (height[1:] > start - 20) & (height[:-1] < start + _REACH + 10)
        ends = np.flatnonzero(keep)
        chosen.append((tube.points[ends], tube.points[ends + 1], tube.radii[ends], tube.radii[ends + 1]))
    a, b, ra, rb = (torch.from_numpy(np.concatenate(column)).float() for column in zip(*chosen, strict=True))
    cones = Cones.between(torch.zeros(len(a), dtype=torch.long), a, b, ra, rb)
    bottom = torch.minimum(a @ torch.tensor(up).float() - ra, b @ torch.tensor(up).float() - rb).numpy()
    top = torch.maximum(a @ torch.tensor(up).float() + ra, b @ torch.tensor(up).float() + rb).numpy()

    def parted(levels: Points) -> tuple[Points, Points]:
        """How far outside the lumen the best path gets on each level [n], and where [n, 3]."""
        near = torch.from_numpy(np.flatnonzero((top > levels[0] - 1) & (bottom < levels[-1] + 1)))
        ours, theirs = (_crossing(tube, up, levels) for tube in (internal, external))
        along = theirs - ours
        apart = np.linalg.norm(along, axis=1, keepdims=True)
        along /= np.maximum(apart, 1e-6)
        across = np.cross(along, up)
        u0, v0 = np.broadcast_to(apart / 2, (len(levels), 1)), np.zeros((len(levels), 1))
        u_half, v_half = apart / 2, np.full((len(levels), 1), 5.0)
        rows = np.arange(len(levels))
        for zoom in range(4):
            u = u0 + u_half * np.linspace(-1, 1, 17 if zoom == 0 else 9)
            v = v0 + v_half * np.linspace(-1, 1, 21 if zoom == 0 else 9)
            where = (
                ours[:, None, None]
                + u[:, None, :, None] * along[:, None, None]
                + v[:, :, None, None] * across[:, None, None]
            )
            flat = torch.from_numpy(where.reshape(-1, 3)).float()
            value = cones.distance(flat[:, None], near).amin(1).numpy().reshape(where.shape[:3])
            ridge = value.argmax(2)
            height = np.take_along_axis(value, ridge[:, :, None], 2)[:, :, 0]
            best = height.argmin(1)
            u0, v0 = u[rows, ridge[rows, best]][:, None], v[rows, best][:, None]
            u_half, v_half = u_half / (8 if zoom == 0 else 3), v_half / (8 if zoom == 0 else 3)
        return height[rows, best], ours + u0 * along + v0 * across

    low, step = start + 0.25, _STEP
    block = 8
    levels = low + step * np.arange(block)
    while True:
        out = parted(levels)[0] > 0
        if out.any():
            break
        if levels[-1] > start + _REACH:
            raise ValueError(f"The {internal.name} and the {external.name} never part.")
        levels = levels + step * block
    high = levels[int(out.argmax())]
    for _ in range(2):
        fine = np.linspace(high - step, high, 11)
        distance, where = parted(fine)
        first = int((distance > 0).argmax())
        high, step, point = fine[first], step / 10, where[first]
    return point


def _crossing(tube: Tube, up: Points, levels: Points) -> Points:
    """Where the tube's centreline, followed from its start, first reaches each level: [n, 3]."""
    height = np.maximum.accumulate(tube.points @ up) + 1e-9 * np.arange(len(tube.points))
    place = np.interp(levels, height, np.arange(len(height)))
    points = interpolated(place, np.arange(len(height), dtype=float), tube.points)
    return points + (levels - points @ up)[:, None] * up
