"""The lumens of a segmented vessel, level by level: which one goes on as which when you go up through the patient."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from ..geometry import Geometry

STEP_MM = 0.8  # levels farther apart are interpolated


@dataclass(frozen=True, eq=False)
class Lumens:
    """Every lumen of every axial level, numbered from 1, from feet to head.

    ``labels`` [k, j, i] int32: the number of the lumen that a voxel is in, 0 outside; its axes lead up, to the back and
    to the left (`geometry`). Indexed by number (0 is nobody): ``level``, ``area_mm2``, ``above`` and ``below``, the
    numbers of the lumens on the next levels that share a column of voxels.
    """

    labels: np.ndarray
    geometry: Geometry
    level: np.ndarray
    area_mm2: np.ndarray
    above: tuple[tuple[int, ...], ...]
    below: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, mask: np.ndarray, geometry: Geometry) -> Lumens:
        """The lumens of a mask [k, j, i] of any orientation."""
        mask, geometry = upright(mask, geometry)
        labels, count = islands(mask)
        voxels = np.bincount(labels.ravel(), minlength=count + 1)
        level = np.zeros(count + 1, dtype=np.int64)
        k = np.nonzero(labels)[0]
        level[labels[labels > 0]] = k
        both = (labels[:-1] > 0) & (labels[1:] > 0)
        pairs = np.unique(np.stack([labels[:-1][both], labels[1:][both]], axis=1), axis=0)
        above: list[list[int]] = [[] for _ in range(count + 1)]
        below: list[list[int]] = [[] for _ in range(count + 1)]
        for lower, upper in pairs.tolist():
            above[lower].append(upper)
            below[upper].append(lower)
        pixel = float(np.prod(geometry.spacing_mm[:2]))
        return cls(labels, geometry, level, voxels * pixel, tuple(map(tuple, above)), tuple(map(tuple, below)))

    @property
    def step_mm(self) -> float:
        """From level to level."""
        return float(self.geometry.spacing_mm[2])

    @property
    def last_level(self) -> int:
        return len(self.labels) - 1

    @cached_property
    def rise_mm(self) -> np.ndarray:
        """How far one can go up from each lumen without going down: [n + 1]; infinite where the scan's end cuts it."""
        return self._reach(self.above, np.argsort(-self.level, kind="stable"), self.last_level)

    @cached_property
    def depth_mm(self) -> np.ndarray:
        """The same downwards."""
        return self._reach(self.below, np.argsort(self.level, kind="stable"), 0)

    def voxels(self, lumen: int) -> np.ndarray:
        """The voxels (i, j) of a lumen: [n, 2]."""
        return np.argwhere(self.labels[self.level[lumen]] == lumen)[:, ::-1]

    def within_mm(self, lumen: int) -> np.ndarray:
        """How deep each pixel [j, i] of a lumen's level lies inside it, mm; 0 outside."""
        import SimpleITK as sitk

        mask = np.pad(self.labels[self.level[lumen]] == lumen, 1).astype(np.uint8)
        image = sitk.GetImageFromArray(1 - mask)
        image.SetSpacing(self.geometry.spacing_mm[:2].tolist())
        distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
        inside = sitk.GetArrayFromImage(distance) - self.geometry.spacing_mm[:2].mean() / 2
        return np.where(mask > 0, inside, 0.0)[1:-1, 1:-1]

    def centre_lps(self, lumen: int) -> np.ndarray:
        """The middle of a lumen, LPS millimetres: [3]."""
        return self.geometry.to_lps([*self.voxels(lumen).mean(axis=0), self.level[lumen]])

    def upwards(self, lumens: Iterable[int], reach_mm: float) -> list[set[int]]:
        """Level by level, what one comes to going up from ``lumens`` (all of one level), themselves first."""
        return self._walk(self.above, lumens, reach_mm)

    def downwards(self, lumens: Iterable[int], reach_mm: float) -> list[set[int]]:
        """The same downwards."""
        return self._walk(self.below, lumens, reach_mm)

    def _walk(self, links: tuple[tuple[int, ...], ...], lumens: Iterable[int], reach_mm: float) -> list[set[int]]:
        levels = [set(lumens)]
        while levels[-1] and len(levels) * self.step_mm <= reach_mm:
            levels.append({other for lumen in levels[-1] for other in links[lumen]})
        return levels if levels[-1] else levels[:-1]

    def _reach(self, links: tuple[tuple[int, ...], ...], order: np.ndarray, end: int) -> np.ndarray:
        reach = np.where(self.level == end, np.inf, 0.0)
        for lumen in order.tolist():
            for other in links[lumen]:
                reach[lumen] = max(reach[lumen], reach[other] + self.step_mm)
        return reach


def upright(mask: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
    """What is not empty of a mask [k, j, i], with i to the left, j to the back, k up, levels `STEP_MM` apart at most.

    Axes are exchanged and turned round. An oblique mask is resampled, for a level is a plane across the patient, not
    across the scanner; so are thick slices, between which a narrow lumen could seem to end.
    """
    where = np.argwhere(mask)
    first, last = where.min(axis=0), where.max(axis=0)
    mask = mask[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))]
    affine = geometry.affine_lps.astype(float)
    affine[:3, 3] = geometry.to_lps(first[::-1])
    order = [int(np.abs(axis).argmax()) for axis in geometry.axes_lps]  # which of i, j, k leads along x, y, z
    affine[:3, :3] = affine[:3, order]
    mask = mask.transpose([2 - axis for axis in order[::-1]])
    for axis in range(3):
        if affine[axis, axis] < 0:
            mask = np.flip(mask, 2 - axis)
            affine[:3, 3] += affine[:3, axis] * (mask.shape[2 - axis] - 1)
            affine[:3, axis] *= -1
    k, j, i = mask.shape
    geometry = Geometry(affine, (i, j, k))
    if geometry.orientation == "LPS" and geometry.spacing_mm[2] <= STEP_MM:
        return np.ascontiguousarray(mask), geometry
    return _resampled(mask, geometry)


def _resampled(mask: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
    """Onto a grid along the patient's axes, by the distance to the surface: lumens keep their size."""
    import SimpleITK as sitk

    padded = np.pad(mask, 1).astype(np.uint8)

    def distance(array: np.ndarray) -> sitk.Image:
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(geometry.spacing_mm.tolist())
        image.SetDirection(geometry.axes_lps.ravel().tolist())
        image.SetOrigin(geometry.to_lps((-1, -1, -1)).tolist())
        return sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)

    surface = distance(padded) - distance(1 - padded)  # each is 0 in its own outermost voxels
    i, j, k = geometry.size
    spacing = geometry.spacing_mm.copy()
    spacing[2] /= np.ceil(spacing[2] / STEP_MM - 1e-6)
    corners = geometry.to_lps(list(product((0, i - 1), (0, j - 1), (0, k - 1))))
    low, high = corners.min(axis=0), corners.max(axis=0)
    i, j, k = (int(n) + 1 for n in np.floor((high - low) / spacing + 1e-6))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = low
    outside = float(geometry.spacing_mm.max())
    moved = sitk.Resample(
        surface, (i, j, k), sitk.Transform(), sitk.sitkLinear, low.tolist(), spacing.tolist(),
        np.eye(3).ravel().tolist(), outside,
    )  # fmt: skip
    return sitk.GetArrayFromImage(moved) < 0, Geometry(affine, (i, j, k))


def islands(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Numbers, from 1, for the connected areas of each level (neighbours share a side), in the order of levels.

    Returns int32 [k, j, i], 0 outside, and how many there are.
    """
    import SimpleITK as sitk

    apart = np.zeros((2 * len(mask), *mask.shape[1:]), dtype=np.uint8)  # an empty level between any two
    apart[::2] = mask
    labels = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(apart)))[::2].astype(np.int32)
    return labels, int(labels.max(initial=0))
