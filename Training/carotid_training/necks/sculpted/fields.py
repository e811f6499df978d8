"""Implicit fields the sculpted neck is carved from: baked lattices, profiles along z, and plane-wave noise.

A field is signed, in millimetres, and positive inside. Fields are smooth where classes are sharp, so a lattice of 2 mm
sampled trilinearly still gives an edge far sharper than its step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dice import Dice
from ..neck import Grid

Z_LOW, Z_HIGH, Z_STEP = -236.0, 176.0, 2.0


@dataclass(frozen=True)
class Waves:
    """A smooth random field of zero mean and unit variance: a sum of plane waves, for any position on any grid."""

    wave: Tensor  # [n, 3] radians per mm
    phase: Tensor  # [n]

    @classmethod
    def draw(
        cls, dice: Dice, count: int, shortest_mm: float, longest_mm: float, stretch: Sequence[float] = (1, 1, 1)
    ) -> Waves:
        """``count`` waves with lengths log-uniform between the two, longer by ``stretch`` along x, y, z."""
        direction = F.normalize(dice.normals(count, 3), dim=1) / torch.tensor(stretch, dtype=torch.float32)
        length = torch.exp(dice.uniforms(math.log(shortest_mm), math.log(longest_mm), count))
        return cls(2 * math.pi * direction / length[:, None], dice.uniforms(0, 2 * math.pi, count))

    def at(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """The field at these points (broadcast)."""
        waves = (
            torch.sin(x * kx + (y * ky + (z * kz + phase)))
            for (kx, ky, kz), phase in zip(self.wave.tolist(), self.phase.tolist(), strict=True)
        )
        return reduce(Tensor.add_, waves).mul_(math.sqrt(2 / len(self.wave)))

    def on(self, grid: Grid, voxel_mm: float, device: torch.device) -> Tensor:
        """The field on a grid's voxels, each wave damped as by a box of ``voxel_mm``: [n].

        A plane wave on a lattice is a product over its axes, so the sum is one matrix product.
        """
        wave = self.wave.double()
        k, j, i = (torch.arange(n, dtype=torch.float64) for n in grid.shape)
        along = wave @ grid.affine[:3, :3]
        start = self.phase.double() + wave @ grid.affine[:3, 3]
        damp = torch.sinc(wave.norm(dim=1) * voxel_mm / (2 * math.pi)).clamp_min(0) * math.sqrt(2 / len(wave))
        rows = (start + k[:, None] * along[:, 2])[:, None, :] + j[None, :, None] * along[:, 1]
        columns = i[:, None] * along[:, 0]
        left = torch.cat([rows.sin() * damp, rows.cos() * damp], dim=2).float().reshape(-1, 2 * len(wave)).to(device)
        right = torch.cat([columns.cos(), columns.sin()], dim=1).float().to(device)
        return (left @ right.T).reshape(-1)


def at_heights(profiles: Tensor, z: Tensor) -> Tensor:
    """Functions of z, tabulated over `heights()` [channel, n], at ``z``: [channel, *z.shape]; beyond, the ends hold."""
    where = (z.reshape(-1) - Z_LOW) * (2 / (Z_HIGH - Z_LOW)) - 1
    place = torch.stack([where, torch.zeros_like(where)], dim=-1)[None, None]
    values = F.grid_sample(profiles[None, :, None, :], place, padding_mode="border", align_corners=True)
    return values[0, :, 0].reshape(len(profiles), *z.shape)


def heights() -> Tensor:
    """The z of every entry of a profile: [n] float32, mm."""
    return torch.arange(Z_LOW, Z_HIGH + Z_STEP / 2, Z_STEP)


def interp(x: Tensor, knots: Sequence[float] | Tensor, values: Sequence[float] | Tensor) -> Tensor:
    """Piecewise-linear interpolation at ``x``; ``knots`` ascend; constant beyond the ends."""
    knots = torch.as_tensor(knots, dtype=torch.float32).contiguous()
    values = torch.as_tensor(values, dtype=torch.float32)
    right = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
    part = ((x - knots[right - 1]) / (knots[right] - knots[right - 1])).clamp(0, 1)
    return values[right - 1] + part * (values[right] - values[right - 1])


def smooth(values: Tensor, passes: int) -> Tensor:
    """Binomial smoothing along the last axis, ends held."""
    for _ in range(passes):
        padded = F.pad(values.reshape(-1, 1, values.shape[-1]), (1, 1), mode="replicate")
        values = (padded[..., :-2] / 4 + padded[..., 1:-1] / 2 + padded[..., 2:] / 4).reshape(values.shape)
    return values


@dataclass(frozen=True)
class Lattice:
    """Fields tabulated on a small lattice of some coordinates (u, v, w).

    ``values`` is [channel, w, v, u]. Sampling stacks the w-planes into one tall picture and blends two bilinear looks,
    which torch does four times as fast on a CPU as its own trilinear one.
    """

    values: Tensor
    low: tuple[float, float, float]  # u, v, w of the first node
    step: tuple[float, float, float]

    @classmethod
    def nodes(cls, low: Sequence[float], high: Sequence[float], step: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
        """u [1, 1, n], v [1, n, 1], w [n, 1, 1] of the nodes that span ``low`` to ``high``."""
        u, v, w = (
            a + s * torch.arange(math.ceil((b - a) / s) + 1, dtype=torch.float32)
            for a, b, s in zip(low, high, step, strict=True)
        )
        return u[None, None, :], v[None, :, None], w[:, None, None]

    @classmethod
    def carved(
        cls,
        dice: Dice,
        low: tuple[float, float, float],
        high: tuple[float, float, float],
        step: tuple[float, float, float],
        carve: Callable[[Tensor, Tensor, Tensor], Sequence[Tensor]],
    ) -> Lattice:
        """The lattice of the channels that ``carve`` returns at nodes u, v, w (broadcastable).

        It is called for a few w-planes at a time, which is what a core's cache holds, with the same ``dice`` each time.
        """
        u, v, w = cls.nodes(low, high, step)
        shape = (v.numel(), u.numel())
        start = dice.generator.get_state()
        slabs = []
        for part in w.split(max(1, 50_000 // math.prod(shape))):
            dice.generator.set_state(start)
            slabs.append(torch.stack([field.expand(len(part), *shape) for field in carve(u, v, part)]))
        return cls(torch.cat(slabs, dim=1), low, step)

    def closed(self, *channels: int) -> Lattice:
        """The same lattice with these fields outside (negative) on its border, and so beyond it."""
        values = self.values.clone()
        for channel in channels:
            field = values[channel]
            for axis in range(3):
                for end in (0, field.shape[axis] - 1):
                    field.select(axis, end).clamp_(max=-6.0)
        return replace(self, values=values)

    def to(self, device: torch.device | str) -> Lattice:
        """The same lattice on another device."""
        return Lattice(self.values.to(device), self.low, self.step)

    def at(self, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """[channel, n] at points u, v, w [n]; beyond the lattice its border goes on."""
        channels, planes, rows, columns = self.values.shape
        column = ((u - self.low[0]) / self.step[0]).mul_(2 / (columns - 1)).sub_(1)
        row = ((v - self.low[1]) / self.step[1]).clamp_(0, rows - 1)
        plane = ((w - self.low[2]) / self.step[2]).clamp_(0, planes - 1)
        first = plane.floor().clamp_(max=planes - 2)
        tall = 2 / (planes * rows - 1)
        place = torch.stack([column, torch.add(row, first, alpha=rows).mul_(tall).sub_(1)], dim=-1)[None, None]
        picture = self.values.reshape(1, channels, planes * rows, columns)
        below = F.grid_sample(picture, place, padding_mode="border", align_corners=True)
        place[..., 1] += rows * tall
        above = F.grid_sample(picture, place, padding_mode="border", align_corners=True)
        return torch.lerp(below[0, :, 0], above[0, :, 0], plane.sub_(first))


def cover(field: Tensor, voxel_mm: float) -> Tensor:
    """Share of a voxel inside a field's zero surface: a box of the voxel's size across a plane at that distance."""
    return (field * (1 / voxel_mm)).add_(0.5).clamp_(0, 1)


def lay(hu: Tensor, over: Tensor | float, field: Tensor, voxel_mm: float) -> Tensor:
    """``hu`` [n] with ``over`` (HU, [n] or one number) painted where a field is positive; in place."""
    end = over if isinstance(over, Tensor) else torch.full_like(hu[:1], over)
    return hu.lerp_(end, cover(field, voxel_mm))


def both(*fields: Tensor) -> Tensor:
    """Intersection."""
    return reduce(torch.minimum, fields)


def any_of(*fields: Tensor) -> Tensor:
    """Union."""
    return reduce(torch.maximum, fields)


def melt(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """Union with a fillet of ``radius`` mm where the two surfaces meet."""
    share = ((a - b) * (0.5 / radius) + 0.5).clamp(0, 1)
    return torch.lerp(b, a, share) + radius * share * (1 - share)


def bowl(
    u: Tensor, v: Tensor, half_u: Tensor | float, half_v: Tensor | float, square: Tensor | float | None = None
) -> Tensor:
    """Ellipse of these half axes as a field in mm, exact on its boundary, roughly metric near it.

    ``square`` from 0 to 1 swells it towards a superellipse of the fourth power.
    """
    a, b = (u / half_u) ** 2, (v / half_v) ** 2
    ratio = (a + b).sqrt()
    if square is not None:
        ratio = ratio + square * ((a * a + b * b).sqrt().sqrt() - ratio)
    size = torch.as_tensor(half_u, dtype=torch.float32).minimum(torch.as_tensor(half_v, dtype=torch.float32))
    return (1 - ratio) * size
