"""A low-passed multi-resolution view of a volume, and the differentiable crop that cuts patches from it.

Patches lie on lattices along the LPS axes whatever the image's direction matrix is, so orientation can not matter.
Values are HU above air (air = 0): whatever lies outside the scan is then air by zero padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..volume import Volume

AIR_HU = -1024.0
SOFT_TISSUE_HU = 50.0
# Gaussian low-pass before down-sampling: sd as a share of the new voxel size, less what the old voxel already blurred.
SIGMA_PER_SPACING = 0.45
# Levels are kept at about half the patch spacing: trilinear interpolation between their voxels then adds little blur.
OVERSAMPLING = 2.0
SLAB = 16  # slices that are reduced at a time


def sample_lattice(
    values: Tensor, affine_lps: Tensor, centres_lps: Tensor, spacing_mm: float, shape: Sequence[int]
) -> Tensor:
    """Trilinear samples on lattices along the LPS axes; differentiable with respect to values and centres.

    values: [B, 1, K, J, I], air = 0. affine_lps: [B, 4, 4], voxel index (i, j, k, 1) -> LPS mm. centres_lps: [B, P, 3],
    the middle of each lattice. shape: (k, j, i) of a lattice. Returns [B, P, 1, k, j, i].
    """
    patches = centres_lps.shape[1]
    size = torch.tensor([values.shape[4], values.shape[3], values.shape[2]], device=values.device)
    # Inverted in float64; the rest in float32, which not every accelerator exceeds: 1e-4 mm at 1 m from the origin.
    inverse = torch.linalg.inv(affine_lps.cpu().double()).to(values.device, torch.float32)[:, :3, :3]
    origin = affine_lps[:, None, :3, 3].to(values.device, torch.float32)
    middle = (2 * mapped(inverse, centres_lps.float() - origin) + 1) / size - 1
    steps = 2 * spacing_mm * inverse / size[:, None]  # along x, y, z of the lattice, in the last dimension
    z, y, x = (torch.arange(n, device=values.device, dtype=torch.float32)[:, None] - (n - 1) / 2 for n in shape)
    # Axis by axis: half the time of a product with every offset.
    grid = middle[:, :, None] + (z * steps[:, None, :, 2])[:, None]
    grid = grid[:, :, :, None] + (y * steps[:, None, :, 1])[:, None, None]
    grid = grid[:, :, :, :, None] + (x * steps[:, None, :, 0])[:, None, None, None]
    grid = grid.to(values.dtype)
    # A patch is a grid of its own, for torch shares grids out to the cores; an expanded volume is not copied.
    return torch.stack([
        F.grid_sample(volume.expand(patches, *volume.shape), own, padding_mode="zeros", align_corners=False)
        for volume, own in zip(values, grid, strict=True)
    ])  # fmt: skip


def mapped(matrices: Tensor, points: Tensor) -> Tensor:
    """Matrices [B, 3, 3] times points [B, ..., 3].

    Not as a matrix product: autocast would round it to bfloat16, at 200 mm to whole millimetres.
    """
    matrices = matrices.reshape(len(matrices), *(1,) * (points.ndim - 2), 3, 3)
    return (matrices * points[..., None, :]).sum(-1)


@dataclass(frozen=True)
class Level:
    """One low-passed copy of a region.

    values: [K, J, I] float32, HU above air. affine_lps: [4, 4] float64 on the CPU. sigma_mm: blur along i, j, k,
    where a voxel of the scan itself counts as `SIGMA_PER_SPACING` of its size.
    """

    values: Tensor
    affine_lps: Tensor
    sigma_mm: tuple[float, float, float]

    @classmethod
    def of_scan(cls, values: Tensor, affine_lps: Tensor) -> Level:
        """The scan's own voxels."""
        i, j, k = (SIGMA_PER_SPACING * float(affine_lps[:3, axis].norm()) for axis in range(3))
        return cls(values, affine_lps, (i, j, k))

    def reduced(self, scale_mm: float) -> Level:
        """The level from which patches of spacing ``scale_mm`` are cut: low-passed and down-sampled."""
        return self.thinned(scale_mm).smoothed(scale_mm)

    def thinned(self, scale_mm: float) -> Level:
        """Means of neighbours: what they let alias falls where the Gaussian of `smoothed` leaves nothing."""
        values, affine, sigmas = self.values, self.affine_lps.clone(), list(self.sigma_mm)
        for axis in (2, 1, 0):  # rows are cheaper to add than columns
            spacing, dim = float(affine[:3, axis].norm()), 2 - axis
            factor = _factor(scale_mm, spacing, values.shape[dim])
            if factor > 1:
                values, first = _block_means(values, dim, factor)
                affine[:3, 3] += affine[:3, axis] * first
                affine[:3, axis] *= factor
                sigmas[axis] = math.sqrt(sigmas[axis] ** 2 + (factor**2 - 1) / 12 * spacing**2)
        return Level(values, affine, (sigmas[0], sigmas[1], sigmas[2]))

    def smoothed(self, scale_mm: float, axes: Sequence[int] = (2, 1, 0)) -> Level:
        """As blurred along the ``axes``, of i (0), j (1) and k (2), as patches of spacing ``scale_mm`` want it."""
        values, sigmas = self.values, list(self.sigma_mm)
        for axis in axes:
            spacing, wanted = float(self.affine_lps[:3, axis].norm()), max(sigmas[axis], SIGMA_PER_SPACING * scale_mm)
            added = math.sqrt(wanted**2 - sigmas[axis] ** 2)
            if added >= 0.3 * spacing:  # A narrower Gaussian hardly touches its neighbours: 0.4 % at 0.3 voxels.
                values, sigmas[axis] = _smoothed(values, 2 - axis, added / spacing), wanted
        return replace(self, values=values, sigma_mm=(sigmas[0], sigmas[1], sigmas[2]))

    def patches(self, centres_lps: Tensor, spacing_mm: float, shape: Sequence[int]) -> Tensor:
        """[P, 1, k, j, i] around centres [P, 3] (LPS mm)."""
        return sample_lattice(self.values[None, None], self.affine_lps[None], centres_lps[None], spacing_mm, shape)[0]


def _factor(scale_mm: float, spacing_mm: float, count: int) -> int:
    """How many of ``count`` neighbours become one."""
    return min(max(1, round(scale_mm / OVERSAMPLING / spacing_mm)), count)


def _block_means(values: Tensor, dim: int, factor: int) -> tuple[Tensor, float]:
    """Means of ``factor`` > 1 neighbours along one dimension, and where the first lies, in old voxels.

    What does not fill a block is left over at both ends.
    """
    count = values.shape[dim] // factor
    start = (values.shape[dim] - count * factor) // 2
    first, second, *others = values.narrow(dim, start, count * factor).unflatten(dim, (count, factor)).unbind(dim + 1)
    total = first + second
    for neighbour in others:
        total += neighbour
    return total.div_(factor), start + (factor - 1) / 2


def _smoothed(values: Tensor, dim: int, sigma_voxels: float) -> Tensor:
    """A Gaussian along one dimension, its weights renormalised where it hangs over an end."""
    size = values.shape[dim]
    total, out = torch.ones(size, device=values.device), values.clone()
    for step in range(1, min(size - 1, math.ceil(3 * sigma_voxels)) + 1):
        weight = math.exp(-0.5 * (step / sigma_voxels) ** 2)
        for one, other in ((0, step), (step, 0)):
            out.narrow(dim, one, size - step).add_(values.narrow(dim, other, size - step), alpha=weight)
            total[one : one + size - step] += weight
    return out.div_(total.view([-1 if axis == dim else 1 for axis in range(3)]))


class Pyramid:
    """A scan seen at several scales, for a `MultiScaleLocNet`: one volume, so every batch dimension is 1.

    The two coarsest scales need the whole scan and are reduced once, slab by slab; the finer ones are cut from
    the scan's own voxels around the points that are asked for.
    """

    def __init__(
        self,
        volume: Volume,
        scales_mm: Sequence[float],
        device: torch.device | str = "cpu",
        progress: Callable[[float], None] | None = None,
        levels: Mapping[float, Level] | None = None,
    ):
        """``levels``: those of an earlier pyramid of this scan at these scales, reduced no more."""
        self.device = torch.device(device)
        self.volume = volume
        self.affine_lps = torch.as_tensor(np.asarray(volume.affine_lps), dtype=torch.float64)
        self.scales_mm = tuple(sorted(scales_mm, reverse=True))
        self.contrast, self.finest_mm = 1.0, 0.0
        self.levels = dict(levels or self._reduced(progress))

    def whole(self, scale_mm: float, multiple: int = 1) -> tuple[Tensor, Tensor]:
        """The scan on one LPS-aligned lattice: values [1, 1, k, j, i] (air = 0) and its middle [1, 3].

        Sizes are rounded up, to a ``multiple`` where batches want one.
        """
        corners = torch.cartesian_prod(*(torch.tensor([-0.5, n - 0.5], dtype=torch.float64) for n in self.size_ijk))
        corners = corners @ self.affine_lps[:3, :3].T + self.affine_lps[:3, 3]
        low, high = corners.amin(dim=0), corners.amax(dim=0)
        shape = [max(multiple, multiple * math.ceil(float(e) / scale_mm / multiple - 1e-6)) for e in (high - low)]
        centre = ((low + high) / 2).to(self.device, torch.float32)[None]
        return self._seen(self.levels[scale_mm].patches(centre, scale_mm, shape[::-1])), centre

    def patches(self, scale_mm: float, centres_lps: Tensor, size: int) -> Tensor:
        """Cubes of ``size`` voxels around centres [1, L, P, 3]: [1, L, P, 1, size, size, size], air = 0.

        Differentiable with respect to the centres.
        """
        shape = (size, size, size)
        finest_mm = max(scale_mm, self.finest_mm)
        levels = (self.levels.get(scale_mm) or self._region(c, scale_mm * size / 2, finest_mm) for c in centres_lps[0])
        cubes = [level.patches(c, scale_mm, shape) for level, c in zip(levels, centres_lps[0], strict=True)]
        return self._seen(torch.stack(cubes)[None])

    def statistics(self, centre_lps: Tensor, radius_mm: float) -> Tensor:
        """HU values inside a sphere around one point [3], on a 1 mm lattice: [n]."""
        steps = 2 * math.ceil(radius_mm) + 1
        level = self._region(centre_lps[None], radius_mm, 1.0)
        cube = level.patches(centre_lps[None], 1.0, (steps, steps, steps))[0, 0]
        axis = torch.arange(steps, device=cube.device) - (steps - 1) / 2
        inside = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2 <= radius_mm**2
        return cube[inside] + AIR_HU

    def seen_through(self, transform_lps: Tensor) -> Pyramid:
        """The same scan moved: a point x of it is now at ``transform_lps`` [4, 4] x. No voxel is resampled.

        Augmentation lives here: rotation, scale, shear and mirroring happen in the one sampling that cuts a patch.
        """
        moved = copy(self)
        moved.affine_lps = transform_lps @ self.affine_lps
        moved.levels = {
            scale: replace(level, affine_lps=transform_lps @ level.affine_lps) for scale, level in self.levels.items()
        }
        return moved

    def enlarged(self, size: float) -> Pyramid:
        """The scan as if it were of a patient ``size`` times as large: enlarged about its middle.

        The coarsest scale is reduced from the next, as fine as for any scan; the next one stays blurred ``size`` times.
        """
        transform = torch.eye(4, dtype=torch.float64) * size
        transform[:3, 3] = torch.as_tensor(self.volume.centre_lps) * (1 - size)
        transform[3, 3] = 1.0
        larger = self.seen_through(transform)
        coarsest, following = self.scales_mm[:2]
        i, j, k = (size * sigma for sigma in self.levels[following].sigma_mm)
        larger.levels[coarsest] = replace(larger.levels[following], sigma_mm=(i, j, k)).reduced(coarsest)
        return larger

    def brightened(self, contrast: float) -> Pyramid:
        """The scan as if there were more contrast agent: what is brighter than soft tissue is so by that many times."""
        brighter = copy(self)
        brighter.contrast = contrast
        return brighter

    def smoothed(self, finest_mm: float) -> Pyramid:
        """The scan with its patches low-passed as those of spacing ``finest_mm`` at least: less detail, less noise."""
        smoother = copy(self)
        smoother.finest_mm = finest_mm
        return smoother

    @property
    def to_patient(self) -> Tensor:
        """[4, 4] float64: from where the scan was moved to (`seen_through`) back to the patient's LPS mm."""
        return torch.as_tensor(np.asarray(self.volume.affine_lps), dtype=torch.float64) @ self.affine_lps.inverse()

    @property
    def size_ijk(self) -> tuple[int, int, int]:
        return self.volume.array.shape[2], self.volume.array.shape[1], self.volume.array.shape[0]

    def _seen(self, values: Tensor) -> Tensor:
        if self.contrast == 1:
            return values
        return values + (values - (SOFT_TISSUE_HU - AIR_HU)).clamp(min=0) * (self.contrast - 1)

    def _above_air(self, part: np.ndarray) -> Tensor:
        # A copy: a float scan shares its memory with the tensor.
        writable = np.require(part, requirements=["C", "W"])  # one that is mapped from a file is not
        values = torch.as_tensor(writable).to(self.device, torch.float32, copy=True)
        return values.sub_(AIR_HU).clamp_(min=0)

    def _region(self, centres_lps: Tensor, half_mm: float, scale_mm: float) -> Level:
        """The scan's own voxels around all centres, reduced to ``scale_mm``."""
        centres = centres_lps.detach().cpu().double()
        inverse = torch.linalg.inv(self.affine_lps)
        middle = centres @ inverse[:3, :3].T + inverse[:3, 3]
        # Half a cube's reach along every image axis (the cube is turned against them) and three sigmas of the low-pass.
        reach = inverse[:3, :3].abs().sum(dim=1) * (half_mm + 3 * SIGMA_PER_SPACING * scale_mm) + 2
        low = (middle.amin(dim=0) - reach).floor().long()
        high = (middle.amax(dim=0) + reach).ceil().long() + 1
        size = torch.tensor(self.size_ijk)
        # Entirely outside the scan: one voxel is kept, and everything that is sampled is padding anyway.
        low = low.clamp(min=0).minimum(size - 1)
        high = high.minimum(size).maximum(low + 1)
        (i0, j0, k0), (i1, j1, k1) = low.tolist(), high.tolist()
        affine = self.affine_lps.clone()
        affine[:3, 3] += affine[:3, :3] @ low.double()
        part = self._above_air(self.volume.array[k0:k1, j0:j1, i0:i1])
        return Level.of_scan(part, affine).reduced(scale_mm)

    def _reduced(self, progress: Callable[[float], None] | None) -> dict[float, Level]:
        whole = self.scales_mm[:2]
        base = self._whole_scan(whole[-1], progress)
        return {scale: base if scale == whole[-1] else base.reduced(scale) for scale in whole}

    def _whole_scan(self, scale_mm: float, progress: Callable[[float], None] | None) -> Level:
        """All of the scan at ``scale_mm``, slab by slab, for a float copy of all would not fit; then blurred along k.

        Thinned along all axes first: in-plane alone, the Gaussian took twice as long.
        """
        slices = self.volume.array.shape[0]
        factor = _factor(scale_mm, float(self.affine_lps[:3, 2].norm()), slices)
        thickness, first = factor * max(1, SLAB // factor), slices % factor // 2
        last = first + slices - slices % factor
        affine, values = self.affine_lps.clone(), torch.empty(0)
        affine[:3, 3] += affine[:3, 2] * first
        for k in range(first, last, thickness):
            slab = Level.of_scan(self._above_air(self.volume.array[k : min(k + thickness, last)]), affine)
            slab = slab.thinned(scale_mm).smoothed(scale_mm, (1, 0))
            if k == first:
                base, values = slab, slab.values.new_empty((last - first) // factor, *slab.values.shape[1:])
            values[(k - first) // factor :][: len(slab.values)] = slab.values
            if progress:
                progress(min(1.0, (k + thickness) / slices))
        for j in range(0, values.shape[1], SLAB):  # in one piece it did not fit the processor's cache
            level = replace(base, values=values[:, j : j + SLAB]).smoothed(scale_mm, (2,))
            values[:, j : j + SLAB] = level.values
        return replace(level, values=values)
