"""Round cones and ellipsoids, and their signed distances: point by point, and on whole blocks of voxels.

Positions within a block are integer steps of the grid, so a squared distance is a quadratic polynomial in (i, j, k)
whose coefficients cost nothing per voxel: grids of any orientation cost the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

SIDE = 8  # voxels along a block
TESTS_PER_CHUNK = 1 << 20  # pairs of a point and a shape that are looked at together


Some = TypeVar("Some", bound="Shapes")


@dataclass(frozen=True)
class Shapes:
    """Shapes of one kind, one a row of every field; LPS mm, float32. ``part`` [n]: the index of what they are made of.

    What the kinds have in common, for points or blocks and the rows ``shape`` of the shapes they are held against:
    ``distance`` (signed, mm), ``bound`` (no more than it outside, no less inside), ``gap`` and ``on_block``.
    """

    part: Tensor

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self: Some, rows: Tensor) -> Some:
        return type(self)(**{name: own[rows] for name, own in vars(self).items()})

    def to(self: Some, device: torch.device | str) -> Some:
        return type(self)(**{name: own.to(device) for name, own in vars(self).items()})


@dataclass(frozen=True)
class Cones(Shapes):
    """Round cones: a sphere that moves from ``a`` [n, 3] along ``axis`` while its radius goes linearly from ``ra`` on.

    ``lean`` [n]: the nearest sphere's centre lies this many times a point's distance from the axis further back.
    """

    a: Tensor
    axis: Tensor  # unit vectors
    length: Tensor
    ra: Tensor
    taper: Tensor  # loss of radius per mm of axis
    lean: Tensor

    @classmethod
    def between(cls, part: Tensor, a: Tensor, b: Tensor, ra: Tensor, rb: Tensor) -> Cones:
        """From spheres around ``a`` [n, 3] of radius ``ra`` [n] to those around ``b`` of radius ``rb``."""
        span = b - a
        length = span.norm(dim=-1)
        taper = (ra - rb) / length.clamp(min=1e-6)
        sine = taper.clamp(-0.999, 0.999)
        axis = span / length.clamp(min=1e-6)[:, None]
        return cls(part, a, axis, length, ra, taper, sine / (1 - sine * sine).sqrt())

    @classmethod
    def chain(cls, points: Tensor, radii: Tensor, part: int) -> Cones:
        """A tube through ``points`` [n, 3] with ``radii`` [n]: n - 1 cones."""
        points, radii = points.float(), radii.float()
        parts = torch.full((len(points) - 1,), part)
        return cls.between(parts, points[:-1], points[1:], radii[:-1], radii[1:])

    def _nearest(self, points: Tensor, shape: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Points from ``a``, how far along and beside the axis they are, and how far along the nearest sphere is."""
        from_a = points - self.a[shape]
        along = (from_a * self.axis[shape]).sum(-1)
        aside = (from_a.square().sum(-1) - along * along).clamp_(min=0).sqrt_()
        foot = torch.minimum((along - self.lean[shape] * aside).clamp_(min=0), self.length[shape])
        return from_a, along, aside, foot

    def distance(self, points: Tensor, shape: Tensor) -> Tensor:
        """Exact signed distance; points [..., 3] broadcast against shape [...]."""
        _, along, aside, foot = self._nearest(points, shape)
        return torch.hypot(aside, along - foot) - self.ra[shape] + self.taper[shape] * foot

    bound = distance

    def gap(self, centre: Tensor, half: Tensor, shape: Tensor) -> Tensor:
        """No more than the distance between shapes and boxes: [n]; ``half`` [n, 3, 3]: half edges, as columns.

        A plane touches the shape where it is nearest to the box's ``centre`` [n, 3]; the box begins so far beyond it.
        """
        from_a, _, _, foot = self._nearest(centre, shape)
        away = from_a - foot[:, None] * self.axis[shape]
        far = away.norm(dim=-1).clamp_(min=1e-6)
        extent = torch.einsum("nx,nxi->ni", away, half).abs_().sum(-1) / far
        return far - self.ra[shape] + self.taper[shape] * foot - extent

    def on_block(self, centre: Tensor, matrix: Tensor, spacing: Tensor, shape: Tensor) -> Tensor:
        """Distances on the voxels of the block at ``centre`` [n, 3]: [n, 8, 8, 8]; thin shapes dimmed."""
        axis, ra, taper = self.axis[shape], self.ra[shape], self.taper[shape]
        from_a = centre - self.a[shape]
        steps = torch.einsum("nxi,nx->ni", matrix, axis)
        along_centre = (from_a * axis).sum(-1)
        along = _linear(along_centre, steps)
        # Everything across the axis, so that far ends of long cones do not cost digits.
        across = from_a - along_centre[:, None] * axis
        sideways = matrix - axis[:, :, None] * steps[:, None, :]
        aside2 = _quadratic(
            across.square().sum(-1),
            2 * torch.einsum("nxi,nx->ni", sideways, across),
            torch.einsum("nxi,nxj->nij", sideways, sideways),
        ).clamp_(min=0)
        foot = torch.addcmul(along, aside2.sqrt(), _wide(-self.lean[shape])).clamp_(min=0)
        foot = torch.minimum(foot, _wide(self.length[shape]))
        distance = along.sub_(foot).square_().add_(aside2).sqrt_().sub_(_wide(ra)).addcmul_(foot, _wide(taper))
        span = spacing.norm(dim=-1) * (SIDE / 2)
        width = (spacing * (1 - (steps / spacing).square()).clamp(min=0).sqrt()).sum(-1) / 2
        ends = (along_centre[:, None] + span[:, None] * span.new_tensor([-1.0, 1.0])).clamp(min=0)
        thickest = (ra[:, None] - taper[:, None] * ends.minimum(self.length[shape, None])).amax(-1)
        return _dimmed(distance, _dimming(thickest.clamp(min=1e-3), width, 2), width)


@dataclass(frozen=True)
class Ellipsoids(Shapes):
    """Images of the unit ball; ``inverse`` [n, 3, 3] maps an offset from ``centre`` [n, 3], a row, back to it."""

    centre: Tensor
    inverse: Tensor
    semi: Tensor  # [n, 3] semi-axes, smallest first

    @classmethod
    def of(cls, part: Tensor, centre: Tensor, axes: Tensor) -> Ellipsoids:
        """The rows of ``axes`` [n, 3, 3] are the images of the unit vectors: semi-axes where they are orthogonal."""
        return cls(part, centre, torch.linalg.inv(axes), torch.linalg.svdvals(axes).flip(-1))

    def bound(self, points: Tensor, shape: Tensor) -> Tensor:
        """No more than the distance outside, no less than minus the depth inside."""
        offset = points - self.centre[shape]
        radius = torch.einsum("...x,...xq->...q", offset, self.inverse[shape]).norm(dim=-1)
        return torch.maximum((radius - 1) * self.semi[shape, 0], offset.norm(dim=-1) - self.semi[shape, 2])

    def gap(self, centre: Tensor, half: Tensor, shape: Tensor) -> Tensor:
        """No more than the distance between shapes and boxes [n]; see `Cones.gap`."""
        return self.bound(centre, shape) - half.square().sum((1, 2)).sqrt()

    def distance(self, points: Tensor, shape: Tensor) -> Tensor:
        """First-order signed distance; points [..., 3] broadcast against shape [...]."""
        ball = torch.einsum("...x,...xq->...q", points - self.centre[shape], self.inverse[shape])
        radius = ball.norm(dim=-1)
        slope = torch.einsum("...q,...xq->...x", ball, self.inverse[shape]).norm(dim=-1)
        return (radius - 1) * radius.clamp(min=1e-6) / slope.clamp(min=1e-6 / self.semi[shape, 0])

    def on_block(self, centre: Tensor, matrix: Tensor, spacing: Tensor, shape: Tensor) -> Tensor:
        """Distances on the voxels of the block at ``centre`` [n, 3]: [n, 8, 8, 8]; thin shapes dimmed."""
        inverse = self.inverse[shape]
        ball = torch.einsum("nx,nxq->nq", centre - self.centre[shape], inverse)
        steps = torch.einsum("nxi,nxq->nqi", matrix, inverse)
        normal = torch.einsum("nq,nxq->nx", ball, inverse)
        normal_steps = torch.einsum("nqi,nxq->nxi", steps, inverse)
        radius = _norm(ball, steps)
        distance = (radius - 1).mul_(radius).div_(_norm(normal, normal_steps))
        semi, width = self.semi[shape], spacing.mean(-1)
        share = torch.stack([_dimming(semi[:, :axes].log().mean(-1).exp(), width, axes) for axes in (1, 2, 3)]).amin(0)
        return _dimmed(distance, share, width)


def signed_distance(points: Tensor, *shapes: Cones | Ellipsoids) -> Tensor:
    """Distance in mm from ``points`` [..., 3] (LPS) to the nearest shape's surface, negative inside: [...].

    Exact for cones outside and inside each cone, of first order for ellipsoids; parts and blending play no role.
    """
    flat = points.reshape(-1, 3).float()
    best = torch.full((len(flat),), math.inf, device=flat.device)
    for own in filter(len, shapes):
        here, every = own.to(flat.device), torch.arange(len(own), device=flat.device)
        step = max(1, TESTS_PER_CHUNK // len(own))
        for chunk, least in zip(flat.split(step), best.split(step), strict=True):
            torch.minimum(least, here.distance(chunk[:, None], every).amin(1), out=least)
    return best.reshape(points.shape[:-1])


def _wide(values: Tensor) -> Tensor:
    """A number for each block [n], to broadcast over its voxels."""
    return values[:, None, None, None]


def _steps(like: Tensor) -> Tensor:
    return torch.arange(SIDE, dtype=torch.float32, device=like.device) - (SIDE - 1) / 2


def _linear(constant: Tensor, slope: Tensor) -> Tensor:
    """constant [n] + slope [n, 3] . (i, j, k) on a block: [n, 8, 8, 8]."""
    x = _steps(slope)
    i, j, k = (slope[:, axis, None] * x for axis in range(3))
    return (constant[:, None, None] + k[:, :, None] + j[:, None, :])[..., None] + i[:, None, None, :]


def _quadratic(constant: Tensor, linear: Tensor, square: Tensor) -> Tensor:
    """constant + linear . x + x . square x (symmetric [n, 3, 3]) for x = (i, j, k) on a block: [n, 8, 8, 8]."""
    x = _steps(linear)
    k = linear[:, 2, None] * x + square[:, 2, 2, None] * x * x + constant[:, None]
    j = linear[:, 1, None] * x + square[:, 1, 1, None] * x * x
    plane = k[:, :, None] + j[:, None, :] + 2 * square[:, 1, 2, None, None] * (x[:, None] * x)
    slope = (
        linear[:, 0, None, None]
        + 2 * (square[:, 0, 2, None] * x)[:, :, None]
        + 2 * (square[:, 0, 1, None] * x)[:, None]
    )
    i = square[:, 0, 0, None] * x * x
    return torch.addcmul(plane[..., None] + i[:, None, None, :], slope[..., None], x)


def _norm(constant: Tensor, slope: Tensor) -> Tensor:
    """Length of constant [n, q] + slope [n, q, 3] (i, j, k) on a block: [n, 8, 8, 8]."""
    squared = _quadratic(
        constant.square().sum(-1),
        2 * torch.einsum("nqi,nq->ni", slope, constant),
        torch.einsum("nqi,nqj->nij", slope, slope),
    )
    return squared.clamp_(min=1e-12).sqrt_()


def _dimming(radius: Tensor, width: Tensor, thin_axes: int) -> Tensor:
    """How much a shape thinner than a voxel is dimmed, so that its volume is kept.

    Without dimming, the occupancy clamp(1/2 - d / w) of a shape of radius r < w / 2 is a cone of base r + w / 2 and
    height 1/2 + r / w: its integral in ``thin_axes`` dimensions is compared with the shape's own. Full from r = w on.
    """
    reach = radius + width / 2
    share = (thin_axes + 1) * (radius / reach) ** thin_axes * width / reach
    at_half = (thin_axes + 1) * 0.5**thin_axes
    ramp = torch.lerp(torch.full_like(share, at_half), torch.ones_like(share), (2 * radius / width - 1).clamp(0, 1))
    return torch.where(radius < width / 2, share, ramp).clamp(max=1.0)


def _dimmed(distance: Tensor, share: Tensor, width: Tensor) -> Tensor:
    """Distances [n, 8, 8, 8] such that voxels of ``width`` [n] get the ``share`` [n] of what they would."""
    return distance.mul_(_wide(share)).add_(_wide((1 - share) * width / 2))
