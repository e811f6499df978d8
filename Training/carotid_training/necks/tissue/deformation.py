"""Smooth random maps between a neck and the real tissue it is made from; real tissue rendered through such a map."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dice import Dice
from ..neck import Grid
from .background import Background, pooling

_LOW = (-180.0, -180.0, -260.0)  # the box of the displacement lattice, LPS mm
_HIGH = (180.0, 180.0, 196.0)
_NODE_MM = 8.0
_LARGEST_SLOPE = 0.7  # of the displacement: below 1 the map can not fold and its inverse is found by iteration
_CONTINUED_MM = 25.0  # tissue made up beyond the ends of the scan ...
_BACK_MM = 8.0  # ... out of its last slices
_SMOOTH_STEP_MM = 2.0  # smooth fields are evaluated this densely and interpolated between
_SLAB_VOXELS = 3_000_000


def spline_weights(at: Tensor, count: int) -> Tensor:
    """Weights [n, count] of the controls 0, 1, ... of a uniform cubic B-spline at places ``at`` [n]."""
    distance = (at[:, None] - torch.arange(count)).abs()
    near, far = 2 / 3 - distance**2 + distance**3 / 2, (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far)


@dataclass(frozen=True, eq=False)
class SmoothField:
    """A field on evenly spaced nodes along the LPS axes: ``values`` [1, channels, k, j, i], trilinear between.

    The first and the last node lie at the corners ``low`` and ``high`` (x, y, z mm); beyond, the edge's value holds.
    """

    values: Tensor
    low: tuple[float, float, float] = _LOW
    high: tuple[float, float, float] = _HIGH

    @classmethod
    def spline(cls, control: Tensor) -> SmoothField:
        """The uniform cubic B-spline with control values [channels, k, j, i] over the neck, on nodes 8 mm apart."""
        weights = []
        for axis, count in zip((2, 1, 0), control.shape[1:], strict=True):
            length = _HIGH[axis] - _LOW[axis]
            at = torch.linspace(0, 1, round(length / _NODE_MM) + 1) * (count - 3) + 1
            weights.append(spline_weights(at, count))
        return cls(torch.einsum("ckji,zk,yj,xi->czyx", control, *weights)[None])

    @classmethod
    def random(cls, generator: torch.Generator, channels: int, node_mm: float) -> SmoothField:
        """Control values uniform in [-1, 1], about ``node_mm`` apart."""
        size = [math.ceil((high - low) / node_mm) + 3 for low, high in zip(_LOW, _HIGH, strict=True)]
        return cls.spline(torch.rand(channels, *size[::-1], generator=generator) * 2 - 1)

    def __call__(self, points: Tensor) -> Tensor:
        """The field at points [..., 3] (LPS mm): [channels, ...]."""
        low, high = (torch.tensor(corner, device=points.device) for corner in (self.low, self.high))
        at = ((points - low) * (2 / (high - low)) - 1).reshape(1, -1, 1, 1, 3)
        channels = self.values.shape[1]
        if not points.numel():
            return points.new_zeros(channels, *points.shape[:-1])
        values = F.grid_sample(self.values.to(points.device), at, padding_mode="border", align_corners=True)
        return values.reshape(channels, *points.shape[:-1])

    def steepest(self) -> float:
        """The largest norm of the field's Jacobian on the nodes, per mm."""
        total = torch.zeros(())
        for axis in (2, 3, 4):
            step = self.values.diff(dim=axis).square().sum(1).amax(dim=axis - 1) / _NODE_MM**2
            total = total + step.amax()
        return float(total.sqrt())


@dataclass(frozen=True, eq=False)
class Deformation:
    """The invertible map p -> matrix @ (p + displacement(p)) from a neck to the background it is made from, LPS mm."""

    matrix: Tensor
    displacement: SmoothField

    @classmethod
    def draw(cls, generator: torch.Generator, strength: float) -> Deformation:
        """Size, proportions, rotation, shear, a mirrored half, and bending; ``strength`` 1 stays a plausible neck."""

        uniform = Dice(generator).uniforms
        size = torch.exp((uniform(-0.12, 0.12) + uniform(-0.07, 0.07, 3)) * strength)
        angle = uniform(-0.10, 0.10, 3) * strength
        zero = torch.zeros(())
        turn = torch.stack([zero, -angle[2], angle[1], angle[2], zero, -angle[0], -angle[1], angle[0], zero])
        shear = torch.eye(3) + torch.triu(uniform(-0.08, 0.08, 3, 3) * strength, 1)
        mirror = torch.tensor([1.0 if torch.rand((), generator=generator) < 0.5 else -1.0, 1.0, 1.0])
        matrix = torch.diag(mirror) @ torch.matrix_exp(turn.reshape(3, 3)) @ shear @ torch.diag(1 / size)
        wide = SmoothField.random(generator, 3, 90.0).values * uniform(10, 42).mul(strength)
        local = SmoothField.random(generator, 3, 42.0).values * uniform(2, 15).mul(strength)
        displacement = SmoothField(wide + local)
        displacement = SmoothField(displacement.values * min(1.0, _LARGEST_SLOPE / displacement.steepest()))
        anchored = displacement.values - displacement(torch.zeros(3)).reshape(1, 3, 1, 1, 1)  # C4 stays at the origin
        return cls(matrix, SmoothField(anchored))

    @property
    def mirrored(self) -> bool:
        """Whether the background's left is the neck's right."""
        return bool(torch.linalg.det(self.matrix) < 0)

    def __call__(self, points: Tensor) -> Tensor:
        """Neck -> background, points [..., 3]."""
        moved = points + self.displacement(points).movedim(0, -1)
        return moved @ self.matrix.T.to(points.device)

    def inverse(self, points: Tensor) -> Tensor:
        """Background -> neck, points [..., 3], to better than 0.01 mm."""
        target = points @ torch.linalg.inv(self.matrix).T
        source = target
        for _ in range(40):
            source = target - self.displacement(source).movedim(0, -1)
        return source


@dataclass(frozen=True, eq=False)
class DeformedTissue:
    """A background's voxels, recoloured, seen through a deformation.

    ``colour`` gives, on a device, the HU [1, 1, k, j, i] float32 on the background's lattice. Above and below the scan
    its last slices go on, for 25 mm counted as covered; beside it, and below it in front of the neck, there is air.
    """

    background: Background
    deformation: Deformation
    colour: Callable[[torch.device | str], Tensor]
    _pooled: dict = field(default_factory=dict, repr=False)

    def coverage(self) -> tuple[float, float]:
        """The range of z (mm, neck frame) in which the middle of the neck shows tissue, scanned or continued."""
        low, high = self.background.lower - _CONTINUED_MM, self.background.upper + _CONTINUED_MM
        x, y = torch.meshgrid(torch.linspace(-40, 40, 5), torch.linspace(-40, 40, 5), indexing="ij")
        ends = [torch.stack([x, y, torch.full_like(x, z)], -1) for z in (low, high)]
        lower, upper = (self.deformation.inverse(end)[..., 2] for end in ends)
        return float(lower.amax()), float(upper.amin())

    def render(self, grid: Grid, device: torch.device | str, field: SmoothField) -> tuple[Tensor, Tensor]:
        """HU [k, j, i] at the grid's resolution, and a further smooth one-channel field on the same voxels."""
        spacing = grid.spacing_mm
        finest = float(spacing.min())
        parts = [max(1, round(float(s) / max(finest, 1.0))) for s in spacing.flip(0)]  # thick voxels are averaged
        slab = max(1, _SLAB_VOXELS // (math.prod(grid.shape[1:]) * math.prod(parts)))
        pieces: list[list[Tensor]] = []
        for start in range(0, grid.shape[0], slab):
            count = min(slab, grid.shape[0] - start)
            shape = (count * parts[0], grid.shape[1] * parts[1], grid.shape[2] * parts[2])
            corner = [0.5 / part - 0.5 + first for part, first in zip(parts, (start, 0, 0), strict=True)]
            fine = grid.part(corner, [1 / part for part in parts], shape)
            pieces.append([F.avg_pool3d(own[None], parts)[0] for own in self._sample(fine, finest, device, field)])
        hu, extra = (torch.cat(own) for own in zip(*pieces, strict=True))
        return hu, extra

    def _sample(self, grid: Grid, finest: float, device, field: SmoothField) -> tuple[Tensor, Tensor]:
        sparse = _thinned(grid)
        points = sparse.points(device)
        at = self._continued(self.background.normalised(self.deformation(points)))
        smooth = torch.cat([at.movedim(-1, 0), field(points)])
        if sparse.shape != grid.shape:
            smooth = F.interpolate(smooth[None], size=grid.shape, mode="trilinear", align_corners=True)[0]
        at, extra = smooth[:3], smooth[3]
        volume = self._level(finest, device)
        at[2].clamp_(1 / volume.shape[2] - 1, 1 - 1 / volume.shape[2])
        hu = F.grid_sample(volume, at.movedim(0, -1)[None], align_corners=False)[0, 0]
        return hu.sub_(1000), extra

    def _continued(self, at: Tensor) -> Tensor:
        """Normalised positions [..., 3], those above and below the scan led softly back into its last slices."""
        mm = (self.background.upper - self.background.lower) / 2
        over = (at[..., 2].abs() - 1).clamp(min=0) * mm
        back = (1 - torch.cos(over * (math.pi / _CONTINUED_MM))) * (_BACK_MM / 2 / mm)
        height = (at[..., 2].abs().clamp(max=1) - back) * at[..., 2].sign()
        # Below the scan goes on what is neck: not the chin, which may hang there.
        flat = at[..., :2].reshape(1, -1, 1, 2)
        neck = F.grid_sample(self.background.on(at.device, "neck_below")[0], flat, mode="nearest", align_corners=False)
        ended = (at[..., 2] < -1) & (neck.reshape(height.shape) < 0.5)
        depth = torch.where(ended, at[..., 1] - 3, at[..., 1])
        return torch.stack([at[..., 0], depth, height], -1)

    def _level(self, spacing: float, device: torch.device | str) -> Tensor:
        """The volume plus 1000 HU, averaged over blocks of about the target's voxel size, so that nothing aliases."""
        factors = tuple(pooling(self.background.spacing, spacing)[::-1].tolist())
        key = (factors, str(device))
        if key not in self._pooled:
            plain = ((1, 1, 1), str(device))
            if plain not in self._pooled:
                self._pooled[plain] = self.colour(device) + 1000
            if max(factors) > 1:
                self._pooled[key] = F.avg_pool3d(self._pooled[plain], factors)
        return self._pooled[key]


def _thinned(grid: Grid) -> Grid:
    """A grid with the same corner voxels and steps of at most about 2 mm."""
    strides = [max(1, int(_SMOOTH_STEP_MM / float(mm) + 1e-6)) for mm in grid.spacing_mm.flip(0)]
    k, j, i = (math.ceil((n - 1) / stride) + 1 for n, stride in zip(grid.shape, strides, strict=True))
    steps = [(n - 1) / max(nodes - 1, 1) or 1.0 for n, nodes in zip(grid.shape, (k, j, i), strict=True)]
    return grid.part((0, 0, 0), steps, (k, j, i))
